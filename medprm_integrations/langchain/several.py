"""Several samples from one call of a chat model that takes `n`, as OpenAI's does: the prompt is billed once.

The choices of the call are dealt out: the model keeps them in a cache of its own, and gives one at a time. So every
sample is asked for as any other one is: as a run of its own, through whatever is wrapped around the model, or by an
agent that knows nothing of this.
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
    """How to ask for several samples in one call; None if that is not wanted, or cannot be done.

    Args:
        settings: Whether it is wanted.
        llm: The model.
        ask: Gives one sample of the model that it is given.
        awaited: Whether that is awaited, as what comes back is then.

    Returns:
        From how many samples to these, or as many as the call gives; an error in place of one that failed by itself.
        It raises what the call does.
    """
    if not settings.several_per_call or not _takes_n(llm):
        return None
    return partial(_atogether if awaited else _together, llm, ask)


def _together(llm: Any, ask: Callable[[Any], Any], count: int) -> list[Any]:
    hand = _Hand(llm, count)
    while hand.goes_on:
        try:
            outcome = ask(hand.llm)
        except Exception as error:  # noqa: BLE001 - the choices that are there are not lost
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
    """What has come of one call so far."""

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
        """Take in a sample, or why there is none."""
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
    """The choices of one call, the first of which has been given by the call itself."""

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
            InputError: It is asked for something else, of which these are no answers; nothing is paid for.
        """
        if self._asked is None:
            return None
        if self._asked != (prompt, llm_string) or not self.left:
            raise InputError("the choices of a call are for that call alone")
        self.given += 1
        return [self.left.pop(0)]

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Take in the choices of the call.

        Each says the usage of the whole call, which stays on the first alone. None says the model's name, as one does
        that comes alone, and who counts tokens goes by it.
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
