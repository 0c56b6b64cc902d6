"""Runs a search: passes its requests to the policy, the session and the retriever, with or without an event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

from medprm_scorer.scorer import MedPRM
from medprm_scorer.search.evidence import Gathering, Retrieve, aretrieved, retrieved
from medprm_scorer.search.growth import Asking, Extend, Grow, Growth, Score
from medprm_scorer.search.options import Settings
from medprm_scorer.search.policy import AsyncPolicy, Policy, check_policy
from medprm_scorer.search.tree import SearchRanking

if TYPE_CHECKING:
    from medprm_scorer.session import Session


class Method(Protocol):
    """A search method with its settings: `Beam`, `Dvts` or `EarlyRejection`."""

    @property
    def name(self) -> str:
        """A readable name, with the settings."""
        ...

    def check(self, settings: Settings) -> None:
        """Refuse options that the method does not allow.

        Raises:
            InputError: One of the options is not allowed.
        """
        ...

    def steps(self, growth: Growth, settings: Settings) -> Asking[SearchRanking]:
        """What it does."""
        ...


def prepared(
    kind: type[Any],
    policy: Policy | AsyncPolicy,
    prm: MedPRM,
    question: str,
    documents: Sequence[str],
    given: Mapping[str, Any],
) -> "Search":
    """Make a search from the arguments of a call.

    Args:
        kind: The method's class.
        policy: Writes the steps.
        prm: Gives them their rewards.
        question: The question.
        documents: Its documents.
        given: The method's settings and the search options, by name.

    Raises:
        InputError: One of them is out of its range.
        TypeError: One is unknown, as for any function.
    """
    numbers, options = ([one.name for one in fields(of)] for of in (kind, Settings))
    for name in given:
        if name not in numbers and name not in options:
            raise TypeError(f"this search has no option {name!r}: it takes {', '.join([*numbers, *options])}")
    method = kind(**{name: value for name, value in given.items() if name in numbers})
    settings = Settings(**{name: value for name, value in given.items() if name in options})
    return Search(policy, prm, question, documents, method, settings)


class Search:
    """A search that can be run once.

    Args:
        policy: Writes the steps.
        prm: Gives them their rewards.
        question: The question.
        documents: Its documents.
        method: What it does.
        settings: Its options.

    Raises:
        InputError: The method and the options do not go together.
    """

    def __init__(
        self,
        policy: Policy | AsyncPolicy,
        prm: MedPRM,
        question: str,
        documents: Sequence[str],
        method: Method,
        settings: Settings,
    ) -> None:
        method.check(settings)
        self._policy, self._prm, self._settings = policy, prm, settings
        self._question, self._documents = question, list(documents)
        gathering = None
        if settings.retriever is not None:
            gathering = Gathering(settings.retriever, settings.max_documents, documents, prm.count_tokens)
        self._growth = Growth(
            method.name,
            settings.limits,
            settings.seed,
            prm.count_tokens,
            settings.on_progress,
            settings.stop_when,
            gathering,
        )
        self._steps = method.steps(self._growth, settings)
        self._told: tuple[str, ...] = ()

    def run(self) -> SearchRanking:
        """Run the search and return its result."""
        for found in self.events():
            if isinstance(found, SearchRanking):
                return found
        raise AssertionError("a search ends with its ranking")

    async def arun(self) -> SearchRanking:
        """`run`, without blocking the event loop; cancelling ends the search and frees its memory."""
        async with aclosing(self.aevents()) as events:
            async for found in events:
                if isinstance(found, SearchRanking):
                    return found
        raise AssertionError("a search ends with its ranking")

    def events(self) -> Generator[str | SearchRanking, None, None]:
        """Yield the steps of the answer, each as soon as it is final, and then the result."""
        check_policy(self._policy, awaited=False)
        begun = time.perf_counter()
        with self._prm.session(self._question, self._documents) as session:
            step = self._first()
            while not isinstance(step, SearchRanking):
                yield from self._final(step)
                asked = time.perf_counter()
                try:
                    answer = self._answer(step, session)
                except Exception as error:  # noqa: BLE001 - the search says what each means
                    step = self._failed(step, error, asked, session)
                else:
                    step = self._answered(step, answer, asked, session)
        yield from self._final(step)
        yield step.model_copy(update={"seconds": time.perf_counter() - begun})

    async def aevents(self) -> AsyncGenerator[str | SearchRanking, None]:
        """`events`, without blocking the event loop; cancelling ends the search and frees its memory."""
        check_policy(self._policy, awaited=True)
        begun = time.perf_counter()
        session = await asyncio.to_thread(self._prm.session, self._question, self._documents)
        with session:
            step = self._first()
            while not isinstance(step, SearchRanking):
                for final in self._final(step):
                    yield final
                asked = time.perf_counter()
                try:
                    answer = await self._aanswer(step, session)
                except Exception as error:  # noqa: BLE001 - the search says what each means
                    step = self._failed(step, error, asked, session)
                else:
                    step = self._answered(step, answer, asked, session)
        for final in self._final(step):
            yield final
        yield step.model_copy(update={"seconds": time.perf_counter() - begun})

    def _final(self, step: Any) -> list[str]:
        """The steps that have become final since the last call, as parts of the answer's text."""
        final = self._told
        if isinstance(step, SearchRanking):
            final = self._growth.chosen(step)
        elif isinstance(step, Extend):
            final = self._growth.final_steps()
        new, first = final[len(self._told) :], not self._told
        self._told = final
        parts = [one if first and not place else f"\n{one}" for place, one in enumerate(new)]
        if self._settings.on_step is not None:
            for part in parts:
                self._settings.on_step(part)
        return parts

    def _answer(self, ask: Any, session: "Session") -> Any:
        if isinstance(ask, Extend):
            assert isinstance(self._policy, Policy)
            return self._policy.extend(self._question, self._documents, ask.chains, ask.n)
        if isinstance(ask, Retrieve):
            return retrieved(ask)
        return self._grown(ask, session) if isinstance(ask, Grow) else self._rewarded(ask, session)

    async def _aanswer(self, ask: Any, session: "Session") -> Any:
        if isinstance(ask, Extend):
            if isinstance(self._policy, AsyncPolicy):
                return await self._policy.aextend(self._question, self._documents, ask.chains, ask.n)
            return await asyncio.to_thread(self._answer, ask, session)
        if isinstance(ask, Retrieve):
            return await aretrieved(ask)
        if isinstance(ask, Grow):
            return self._grown(ask, session)
        if isinstance(ask, Score):
            return await session.ascore(ask.candidates, answers=False)
        return await session.arank(ask.candidates, truncated=ask.truncated, **self._settings.choice)

    def _rewarded(self, ask: Any, session: "Session") -> Any:
        if isinstance(ask, Score):
            return session.score(ask.candidates, answers=False)
        return session.rank(ask.candidates, truncated=ask.truncated, **self._settings.choice)

    def _grown(self, ask: Grow, session: "Session") -> None:
        session.add_documents(ask.documents)
        self._documents += ask.documents

    def _first(self) -> Any:
        return self._next(lambda: next(self._steps))

    def _answered(self, ask: Any, answer: Any, asked: float, session: "Session") -> Any:
        self._note(ask, asked, session)
        return self._next(lambda: self._steps.send(answer))

    def _failed(self, ask: Any, error: Exception, asked: float, session: "Session") -> Any:
        self._note(ask, asked, session)
        if isinstance(ask, Extend | Retrieve):
            return self._next(lambda: self._steps.send(error))
        return self._next(lambda: self._steps.throw(error))

    def _note(self, ask: Any, asked: float, session: "Session") -> None:
        self._growth.seconds[type(ask)] = self._growth.seconds.get(type(ask), 0.0) + time.perf_counter() - asked
        self._growth.reward_tokens = session.tokens_run

    def _next(self, go_on: Callable[[], Any]) -> Any:
        """The search's next request, or its result."""
        try:
            return go_on()
        except StopIteration as end:
            return end.value
