"""A framework's language model as the policy of a search: it continues the beginning of an answer (prefill).

Each continuation is a separate call. A step ends where the label of the next one would begin, at which every provider
can stop; the default prompt asks for such labels. Whether a call ended there or by itself is read, if possible, from
the stop string at the end of the text (vLLM shows it on request) or from the provider's finish reason. If neither says,
the model is called again: a finished answer gets an empty continuation.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from copy import copy
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from typing_extensions import Self

from medprm_integrations.shared.settings import DEFAULT_CONCURRENCY
from medprm_integrations.shared.truncation import is_cut_off
from medprm_scorer.errors import InputError, PolicyError
from medprm_scorer.search import Continuation, GrowingChain
from medprm_scorer.search.continuing import (
    TRIAL_QUESTION,
    TRIAL_TOKENS,
    Trial,
    next_labels,
    trial,
    without_stop,
)
from medprm_scorer.search.evidence import LABEL
from medprm_scorer.search.policy import seed_of
from medprm_scorer.text.policy import policy_messages

_INSTEAD = "a model whose provider does (vLLM, or one that takes a last message of the assistant), or a ServerPolicy"
_REFUSED = (400, 404, 422)
_ENDED = ("end_turn", "eos", "end")
"""The finish reasons of providers for a model that ended by itself, if they distinguish that from a stop."""

LLM = TypeVar("LLM")
"""The framework's name for a language model."""


@dataclass(frozen=True, repr=False)
class Request:
    """One call.

    Args:
        begun: The beginning of the answer, without blanks at its end; "" for a new one.
        stops: Stop strings that end the step.
        max_tokens: Most tokens to write.
        seed: For providers that sample with a seed; None in a trial, which requests the most likely text.
    """

    begun: str
    stops: Sequence[str]
    max_tokens: int
    seed: int | None


@dataclass(frozen=True, repr=False)
class Reply:
    """The output of a model.

    Args:
        text: The new text.
        said: The provider's metadata, in any form that `is_cut_off` reads.
        tokens: How many tokens were generated; None if not reported.
    """

    text: str
    said: Sequence[object] = ()
    tokens: int | None = None


class _Seen:
    """The result of the trial of a provider."""

    tried = shows_stops = False


class PrefillPolicy(ABC, Generic[LLM]):
    """Continues chains with a framework's language model; a trial first checks whether the provider does.

    A subclass implements access to the model (`take`) and calls of it (`ask`, `aask`).

    Args:
        llm: The model, with a temperature above 0.
        max_step_tokens: A step that has not ended after so many tokens is cut off, if the model takes `max_tokens`.
        concurrency: Most simultaneous calls.
        check: False skips the trial.

    Raises:
        InputError: It is not a language model, or one that already has stop sequences.
    """

    def __init__(
        self,
        llm: LLM,
        *,
        max_step_tokens: int = 256,
        concurrency: int = DEFAULT_CONCURRENCY,
        check: bool = True,
    ) -> None:
        model, arguments = self.take(llm)
        if arguments.get("stop") or arguments.get("stop_sequences"):
            raise InputError("a search stops the llm after each step: use an llm without its own stop sequences")
        self._max_step_tokens, self._concurrency, self._check = max_step_tokens, concurrency, check
        self._who, self._fields = type(model).__name__, set(type(model).model_fields)
        self._extra: Mapping[str, Any] = arguments.get("extra_body") or {}
        self._seen = _Seen()
        self._messages: Callable[[str, Sequence[str]], Any] = policy_messages
        self.replies: list[Any] = []
        """The model's outputs, for their usage."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._who})"

    def asking(self, messages: Callable[[str, Sequence[str]], Any]) -> Self:
        """The same policy with another prompt.

        Args:
            messages: Turns the question and its documents into the model's messages; awaited if needed.
        """
        other = copy(self)
        other._messages, other.replies = messages, []
        return other

    @abstractmethod
    def take(self, llm: LLM) -> tuple[BaseModel, Mapping[str, Any]]:
        """Store the language model.

        Args:
            llm: As in the class.

        Returns:
            The language model itself, and the arguments that each of its calls always has.

        Raises:
            InputError: It is no language model.
        """

    @abstractmethod
    def ask(self, messages: Any, request: Request) -> Reply:
        """One call."""

    @abstractmethod
    async def aask(self, messages: Any, request: Request) -> Reply:
        """`ask`, awaited."""

    def extend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> list[list[Continuation]]:
        """Continue each chain by one step, in `n` ways; see `medprm_scorer.search.Policy`.

        Raises:
            PolicyError: The provider does not continue the beginning of an answer.
            Exception: The first error of a call, unchanged.
        """
        self._try()
        messages = self._messages(question, documents)
        requests = self._requests(chains, n)
        pool = ThreadPoolExecutor(min(len(requests), self._concurrency), thread_name_prefix="medprm")
        try:
            futures = [pool.submit(copy_context().run, partial(self.ask, messages, one)) for one in requests]
            return self._read([one.result() for one in futures], requests, chains, n)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    async def aextend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> list[list[Continuation]]:
        """`extend`, with calls as tasks; if one fails or the search is cancelled, the others are cancelled."""
        await self._atry()
        messages = self._messages(question, documents)
        messages = await messages if isawaitable(messages) else messages
        requests = self._requests(chains, n)
        free = asyncio.Semaphore(self._concurrency)

        async def one(request: Request) -> Reply:
            async with free:
                return await self.aask(messages, request)

        tasks = [asyncio.ensure_future(one(request)) for request in requests]
        try:
            return self._read(await asyncio.gather(*tasks), requests, chains, n)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _requests(self, chains: Sequence[GrowingChain], n: int) -> list[Request]:
        return [
            Request(
                chain.text.rstrip(),
                next_labels(len(chain.steps)),
                self._max_step_tokens,
                seed_of(chain.seed, place) % 2**31,
            )
            for chain in chains
            for place in range(n)
        ]

    def _read(
        self, replies: Sequence[Reply], requests: Sequence[Request], chains: Sequence[GrowingChain], n: int
    ) -> list[list[Continuation]]:
        found = [
            self._continuation(reply, request, chains[place // n])
            for place, (reply, request) in enumerate(zip(replies, requests, strict=True))
        ]
        return [found[start : start + n] for start in range(0, len(found), n)]

    def _continuation(self, reply: Reply, request: Request, chain: GrowingChain) -> Continuation:
        text = without_stop(reply.text, request.stops)
        shown, text = text is not None, reply.text if text is None else text
        if chain.text and not chain.text[-1].isspace() and LABEL.match(text.lstrip("*# ")) and not text[0].isspace():
            text = f"\n{text}"  # the line break between the steps was trimmed
        if shown:
            return Continuation(text, tokens=reply.tokens)
        if any(map(is_cut_off, reply.said)):
            return Continuation(text, cut_off=True, tokens=reply.tokens)
        stopped = next((told for one in reply.said if (told := _stopped(one, request.stops)) is not None), None)
        if stopped is None:
            stopped = not self._seen.shows_stops and bool(text.strip())
        return Continuation(text, finished=not stopped, tokens=reply.tokens)

    def _try(self) -> None:
        """The trial, once."""
        if self._seen.tried or not self._check:
            return
        asking = trial(self._who, _INSTEAD)
        messages = policy_messages(TRIAL_QUESTION)
        try:
            asked = next(asking)
            while True:
                asked = asking.send(self.ask(messages, _likeliest(asked)).text)
        except StopIteration as end:
            self._keep(end.value)
        except Exception as error:
            raise self._refused(error) from error

    async def _atry(self) -> None:
        """`_try`, awaited."""
        if self._seen.tried or not self._check:
            return
        asking = trial(self._who, _INSTEAD)
        messages = policy_messages(TRIAL_QUESTION)
        try:
            asked = next(asking)
            while True:
                asked = asking.send((await self.aask(messages, _likeliest(asked))).text)
        except StopIteration as end:
            self._keep(end.value)
        except Exception as error:
            raise self._refused(error) from error

    def _keep(self, shows_stops: bool) -> None:
        self._seen.shows_stops, self._seen.tried = shows_stops, True

    def _refused(self, error: Exception) -> Exception:
        """The meaning of an error in the trial; a refused request gets its own message."""
        if getattr(error, "status_code", None) in _REFUSED:
            return PolicyError(
                f"{self._who} refuses to continue the beginning of an answer (status "
                f"{error.status_code}). Use {_INSTEAD}"  # type: ignore[attr-defined]
            )
        return error


def _likeliest(asked: Trial) -> Request:
    return Request(asked.begun, asked.stop, TRIAL_TOKENS, None)


def _stopped(said: object, stops: Sequence[str]) -> bool | None:
    """Whether a provider reports that a stop string ended the text; None if it does not say.

    Example:
        >>> _stopped({"stop_reason": "stop_sequence"}, ["|"]), _stopped({"choices": [{"stop_reason": "|"}]}, ["|"])
        (True, True)
        >>> _stopped({"stop_reason": "end_turn"}, ["|"]), _stopped({"finish_reason": "stop"}, ["|"])
        (False, None)
    """
    choices = _get(said, "choices")
    if isinstance(choices, list | tuple) and choices:
        said = choices[0]
    reason = _get(said, "stop_reason")
    if reason == "stop_sequence" or reason in stops:
        return True
    if reason in _ENDED or (reason is None and _has(said, "stop_reason")):
        return False
    return None


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _has(holder: Any, name: str) -> bool:
    return name in holder if isinstance(holder, Mapping) else hasattr(holder, name)
