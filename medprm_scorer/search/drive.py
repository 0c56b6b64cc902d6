"""Runs a search: the policy and the session answer what it asks for, with or without an event loop."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict

from medprm_scorer.aggregate import Aggregate
from medprm_scorer.errors import InputError
from medprm_scorer.scorer import MedPRM
from medprm_scorer.search.growth import Asking, Extend, Growth, Limits, Score
from medprm_scorer.search.policy import AsyncPolicy, Policy, check_policy
from medprm_scorer.search.tree import SearchRanking, SearchTree
from medprm_scorer.selection import Strategy, check_settings
from medprm_scorer.text.answers import Options
from medprm_scorer.text.answers.callers_functions import AnswerFunction, GroupFunction

if TYPE_CHECKING:
    from medprm_scorer.session import Session


class SearchOptions(TypedDict, total=False):
    """What every search takes beside its own numbers.

    Args:
        strategy: How the winner is chosen among the finished chains, as in `MedPRM.rank`; `weighted_vote`.
        aggregate: How step rewards become a chain reward there; `min`.
        seed: A whole number; the same seed gives the same search with a policy that draws from it. 0 if left out.
        limits: What the search may cost: a `Limits`.
        on_progress: Called with the `SearchTree` after each call of the policy, in the thread of the search.
        stop_when: Asked before each call of the policy: a search ends, with what is finished, when it gives True.
        id: As in `MedPRM.rank`, like those below.
        answer: Reads a chain's answer.
        options: The answers to choose from.
        group: Says which answers are equal.
    """

    strategy: Strategy
    aggregate: Aggregate
    seed: int
    limits: Limits
    on_progress: Callable[[SearchTree], object] | None
    stop_when: Callable[[], bool] | None
    id: str | int | None
    answer: AnswerFunction | None
    options: Options | None
    group: GroupFunction | None


@dataclass(frozen=True)
class Settings:
    """The options of one search, with their defaults; see `SearchOptions`.

    Raises:
        InputError: One of them is unknown or out of range.
    """

    strategy: Strategy = "weighted_vote"
    aggregate: Aggregate = "min"
    seed: int = 0
    limits: Limits = Limits()  # noqa: RUF009 - it cannot be changed
    on_progress: Callable[[SearchTree], object] | None = None
    stop_when: Callable[[], bool] | None = None
    id: str | int | None = None
    answer: AnswerFunction | None = None
    options: Options | None = None
    group: GroupFunction | None = None

    def __post_init__(self) -> None:
        check_settings(self.strategy, self.aggregate)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise InputError("the seed must be a whole number")
        if not isinstance(self.limits, Limits):
            raise InputError("limits must be a Limits")

    @classmethod
    def of(cls, options: SearchOptions) -> "Settings":
        """The settings from what a caller passed.

        Raises:
            TypeError: An option that no search has, as for any function.
        """
        names = [one.name for one in fields(cls)]
        for name in options:
            if name not in names:
                raise TypeError(f"a search has no option {name!r}: it takes {', '.join(names)}")
        return cls(**options)

    @property
    def choice(self) -> dict[str, Any]:
        """What `Session.rank` takes."""
        names = ("strategy", "aggregate", "id", "answer", "options", "group")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, repr=False)
class Search:
    """A search that can be run once.

    Args:
        policy: Writes the steps.
        prm: Gives them their rewards.
        question: The question.
        documents: Its documents.
        settings: Its options.
        growth: Its chains.
        steps: What it does.
    """

    policy: Policy | AsyncPolicy
    prm: MedPRM
    question: str
    documents: Sequence[str]
    settings: Settings
    growth: Growth
    steps: Asking[SearchRanking]

    def run(self) -> SearchRanking:
        """The result, waited for."""
        check_policy(self.policy, awaited=False)
        begun = time.perf_counter()
        with self.prm.session(self.question, self.documents) as session:
            step = self._first()
            while not isinstance(step, SearchRanking):
                asked = time.perf_counter()
                try:
                    answer = self._answer(step, session)
                except Exception as error:  # noqa: BLE001 - the search says what each means
                    step = self._failed(step, error, asked, session)
                else:
                    step = self._answered(step, answer, asked, session)
        return step.model_copy(update={"seconds": time.perf_counter() - begun})

    async def arun(self) -> SearchRanking:
        """The result, with the event loop left free; cancelling ends the search and frees what it keeps."""
        check_policy(self.policy, awaited=True)
        begun = time.perf_counter()
        session = await asyncio.to_thread(self.prm.session, self.question, self.documents)
        with session:
            step = self._first()
            while not isinstance(step, SearchRanking):
                asked = time.perf_counter()
                try:
                    answer = await self._aanswer(step, session)
                except Exception as error:  # noqa: BLE001 - the search says what each means
                    step = self._failed(step, error, asked, session)
                else:
                    step = self._answered(step, answer, asked, session)
        return step.model_copy(update={"seconds": time.perf_counter() - begun})

    def _answer(self, ask: Any, session: "Session") -> Any:
        if isinstance(ask, Extend):
            assert isinstance(self.policy, Policy)
            return self.policy.extend(self.question, self.documents, ask.chains, ask.n)
        if isinstance(ask, Score):
            return session.score(ask.candidates, answers=False)
        return session.rank(ask.candidates, truncated=ask.truncated, **self.settings.choice)

    async def _aanswer(self, ask: Any, session: "Session") -> Any:
        if isinstance(ask, Extend):
            if isinstance(self.policy, AsyncPolicy):
                return await self.policy.aextend(self.question, self.documents, ask.chains, ask.n)
            return await asyncio.to_thread(self._answer, ask, session)
        if isinstance(ask, Score):
            return await session.ascore(ask.candidates, answers=False)
        return await session.arank(ask.candidates, truncated=ask.truncated, **self.settings.choice)

    def _first(self) -> Any:
        return self._next(lambda: next(self.steps))

    def _answered(self, ask: Any, answer: Any, asked: float, session: "Session") -> Any:
        self._note(ask, asked, session)
        return self._next(lambda: self.steps.send(answer))

    def _failed(self, ask: Any, error: Exception, asked: float, session: "Session") -> Any:
        self._note(ask, asked, session)
        if isinstance(ask, Extend):
            return self._next(lambda: self.steps.send(error))
        return self._next(lambda: self.steps.throw(error))

    def _note(self, ask: Any, asked: float, session: "Session") -> None:
        self.growth.seconds[type(ask)] += time.perf_counter() - asked
        self.growth.reward_tokens = session.tokens_run

    def _next(self, go_on: Callable[[], Any]) -> Any:
        """What the search asks for next, or its result."""
        try:
            return go_on()
        except StopIteration as end:
            result: SearchRanking = end.value
            return result.model_copy(update={"tree": self.growth.tree()})  # with the cost of its own ranking
