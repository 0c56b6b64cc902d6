"""Several samples from one call of a chat model that takes `n`, as OpenAI's does: the prompt is billed once.

The choices of the call are handed out one at a time: the model keeps them in its own cache. So every sample is
requested like any other one: as a separate run, through all wrappers around the model, or by an agent that does not
know about this.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration
from typing_extensions import override

from medprm_integrations.langchain.sampler import is_interrupt
from medprm_integrations.langchain.wrapped_models import changed, inside
from medprm_integrations.shared.settings import SamplingSettings
from medprm_scorer.errors import InputError


def _takes_n(llm: object) -> bool:
    found = inside(llm)
    return isinstance(found, BaseChatModel) and "n" in type(found).model_fields


def in_one_call(
    settings: SamplingSettings, llm: Any, ask: Callable[[Any], Any], *, awaited: bool
) -> Callable[[int], Any] | None:
    """A function that requests several samples in one call; None if that is not wanted or not possible.

    Args:
        settings: The settings, which say whether it is wanted.
        llm: The model.
        ask: Gets one sample of the given model.
        awaited: Whether `ask` is awaited; the returned function is then async, too.

    Returns:
        A function from a number of samples to these, or to as many as the call returns; an error replaces a sample that
        failed. It raises the errors of the call.
    """
    if not settings.several_per_call or not _takes_n(llm):
        return None
    return partial(_atogether if awaited else _together, llm, ask)


def _together(llm: Any, ask: Callable[[Any], Any], count: int) -> list[Any]:
    hand = _Hand(llm, count)
    while hand.goes_on:
        try:
            outcome = ask(hand.llm)
        except Exception as error:  # noqa: BLE001 - the choices already received are kept
            outcome = error
        hand.take(outcome)
    return hand.samples


async def _atogether(llm: Any, ask: Callable[[Any], Awaitable[Any]], count: int) -> list[Any]:
    hand = _Hand(llm, count)
    while hand.goes_on:
        try:
            outcome = await ask(hand.llm)
        except Exception as error:  # noqa: BLE001 - as above
            outcome = error
        hand.take(outcome)
    return hand.samples


class _Hand:
    """The results of one call so far."""

    def __init__(self, llm: Any, count: int) -> None:
        self._deal = _Deal(count)
        self._seen = 0
        self.samples: list[Any] = []
        self.goes_on = True

        def dealt(model: BaseLanguageModel[Any]) -> dict[str, Any]:
            if not _takes_n(model):
                return {}
            name = getattr(model, "model_name", None) or getattr(model, "model", None)
            self._deal.names = {"model_name": name} if isinstance(name, str) else {}
            return {"n": count, "cache": self._deal}

        self.llm = changed(llm, dealt)

    def take(self, outcome: Any) -> None:
        """Add a sample, or its error."""
        failed, nothing_new = isinstance(outcome, Exception), self._deal.given == self._seen
        self._seen = self._deal.given
        if failed and (nothing_new or is_interrupt(outcome)):
            if not self.samples:
                raise outcome
            self.goes_on = False
            return
        self.samples.append(outcome)
        self.goes_on = bool(self._deal.left)


class _Deal(BaseCache):
    """The choices of one call; the first was returned by the call itself."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._asked: tuple[str, str] | None = None
        self.left: list[ChatGeneration] = []
        self.given = 0
        self.names: dict[str, Any] = {}

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """The next choice; None before the call.

        Raises:
            InputError: The request is a different one, to which these are not the answers; nothing is paid for.
        """
        if self._asked is None:
            return None
        if self._asked != (prompt, llm_string) or not self.left:
            raise InputError("the choices of a call are for that call alone")
        self.given += 1
        return [self.left.pop(0)]

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store the choices of the call.

        Each reports the usage of the whole call, which is kept only on the first. None has the model's name, unlike a
        single answer, and token counters need it.
        """
        self._asked, self.given = (prompt, llm_string), 1
        choices: list[Any] = list(return_val)[: self._count]
        for place, choice in enumerate(choices):
            message = choice.message
            message.response_metadata = {**self.names, **message.response_metadata}
            if place:
                message.usage_metadata = UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)
        self.left = choices[1:]

    @override
    def clear(self, **kwargs: Any) -> None:
        """Deal no more."""
        self.left = []

    @override
    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """`lookup`, in the event loop."""
        return self.lookup(prompt, llm_string)

    @override
    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """`update`, in the event loop."""
        self.update(prompt, llm_string, return_val)
