"""A question whose candidates grow step by step, or arrive one by one: earlier results are not computed again."""

import asyncio
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import isawaitable
from types import TracebackType

from medprm_scorer.aggregate import Aggregate
from medprm_scorer.encoding import EncodedChain
from medprm_scorer.engine import Engine, Remembered, open_session, reset_after_fork
from medprm_scorer.errors import InputError
from medprm_scorer.preparation import Choice, EncodedRequest, RequestEncoder, different_answers, labelled, voters
from medprm_scorer.results.models import Ranking, ScoredChain
from medprm_scorer.results.request_parsing import Candidate, make_request
from medprm_scorer.sampling.stopping import Sample
from medprm_scorer.selection import Scored, Strategy
from medprm_scorer.text.answers import Options
from medprm_scorer.text.answers.callers_functions import AnswerFunction, GroupFunction, checked_labels, group_with


class Session:
    """Scores growing chains of one question. Made by `MedPRM.session`; close it with `close` or a `with` block.

    A local model keeps the keys and values of the documents and question, and of the chains of the latest call, so that
    scoring the same chains with one more step each runs only the new steps. Chains that are left out of a call are
    dropped. A server decides itself what it keeps. Safe to use from many threads and tasks at once.

    Args:
        encoder: Turns candidates into token ids.
        engine: Computes rewards.
        question: The question.
        documents: Its documents.

    Raises:
        InputError: A wrong type, a blank question, or a question too long for the model.
    """

    def __init__(self, encoder: RequestEncoder, engine: Engine, question: str, documents: Sequence[str]) -> None:
        self._encoder, self._question, self._documents = encoder, question, documents
        self._prefix = encoder.prefix(question, documents)
        self._engine = open_session(engine, self._prefix.ids)
        self._latest: dict[EncodedChain, list[float]] = {}

    def score(self, candidates: Sequence[Candidate], *, answers: bool = True) -> list[ScoredChain]:
        """Like `MedPRM.score`; the candidates may be those of earlier calls with more steps, or others.

        Args:
            candidates: As in `MedPRM.score`.
            answers: Whether to read the chains' answers. That takes time, and an unfinished chain has no answer.

        Raises:
            InputError: As in `MedPRM.score`, or the session is closed.
            ScoringError: As in `MedPRM.score`.
        """
        request = make_request(self._question, candidates, self._documents)
        encoded = self._encoder.encode(request, self._prefix, answers=answers)
        return encoded.scored(self._rewards(encoded.prompt.chains))

    async def ascore(self, candidates: Sequence[Candidate], *, answers: bool = True) -> list[ScoredChain]:
        """`score`, without blocking the event loop."""
        return await asyncio.to_thread(partial(self.score, candidates, answers=answers))

    def rank(
        self,
        candidates: Sequence[Candidate],
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        id: str | int | None = None,
        answer: AnswerFunction | None = None,
        options: Options | None = None,
        group: GroupFunction | None = None,
        truncated: Sequence[int] = (),
    ) -> Ranking:
        """Like `MedPRM.rank`; what `score` has already scored is not computed again.

        Raises:
            InputError: As in `MedPRM.rank`, or the session is closed.
            ScoringError: As in `MedPRM.rank`.
        """
        begun = time.perf_counter()
        choice = Choice(strategy, aggregate, group)
        encoded = self._encode(candidates, id, answer, options, truncated)
        rewards = self._rewards(encoded.prompt.chains)
        groups = encoded.groups(choice)
        return encoded.ranking(rewards, choice, seconds=time.perf_counter() - begun, groups=groups)

    async def arank(
        self,
        candidates: Sequence[Candidate],
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        id: str | int | None = None,
        answer: AnswerFunction | None = None,
        options: Options | None = None,
        group: GroupFunction | None = None,
        truncated: Sequence[int] = (),
    ) -> Ranking:
        """`rank`, without blocking the event loop; `group` may be async."""
        begun = time.perf_counter()
        choice = Choice(strategy, aggregate, group)
        encoded = await asyncio.to_thread(self._encode, candidates, id, answer, options, truncated)
        rewards = await asyncio.to_thread(self._rewards, encoded.prompt.chains)
        groups = await asyncio.to_thread(encoded.groups, choice)
        if isawaitable(groups):
            groups = await groups
        return encoded.ranking(rewards, choice, seconds=time.perf_counter() - begun, groups=groups)

    def add_documents(self, documents: Sequence[str]) -> None:
        """Add documents after the present ones: later calls score with all of them.

        A local model keeps the keys and values of the earlier documents; the question and the chains after them are
        computed again.

        Args:
            documents: The new documents.

        Raises:
            InputError: As in `MedPRM.session`, or the session is closed.
        """
        grown = [*self._documents, *documents]
        prefix = self._encoder.prefix(self._question, grown)
        self._engine.move(prefix.ids)
        self._documents, self._prefix, self._latest = grown, prefix, {}

    @property
    def tokens_run(self) -> int:
        """Tokens run by the calls so far; with a server, the unique tokens of each call."""
        return self._engine.tokens_run

    def _rewards(self, chains: Sequence[EncodedChain]) -> list[list[float]]:
        """Their rewards; if the previous call had all of them, the engine is not called, and so drops nothing."""
        latest = self._latest
        if chains and all(chain in latest for chain in chains):
            return [latest[chain] for chain in chains]
        rewards = self._engine.score(chains)
        self._latest = dict(zip(chains, rewards, strict=True)) if len(rewards) == len(chains) else {}
        return rewards

    def _encode(
        self,
        candidates: Sequence[Candidate],
        id: str | int | None,
        answer: AnswerFunction | None,
        options: Options | None,
        truncated: Sequence[int],
    ) -> EncodedRequest:
        request = make_request(self._question, candidates, self._documents, id=id, options=options, truncated=truncated)
        return self._encoder.encode(request, self._prefix, answer)

    def close(self) -> None:
        """Free the memory; the session cannot be used after that."""
        self._engine.close()
        self._latest = {}

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:  # shows no text
        return f"Session({self._prefix!r})"


class LiveRanking:
    """Scores the candidates of one question as they arrive, and ranks them at the end. Made by `MedPRM.live`.

    Nothing is scored twice, and the ranking is that of `MedPRM.rank` for the same candidates. Close it with `close` or
    a `with` block. Safe to use from many threads and tasks at once: calls take turns.

    Args:
        encoder: Turns candidates into token ids.
        engine: Computes rewards.
        question: The question.
        documents: Its documents.
        choice: How the winner is chosen.
        answer: Reads the answers, in place of the encoder's own function.
        options: The answers to choose from.
        scores: Whether candidates are scored as they arrive. Otherwise only their answers are read, and all of them are
            scored at the end.

    Raises:
        InputError: A wrong type, a blank question, or a question too long for the model.
    """

    def __init__(
        self,
        encoder: RequestEncoder,
        engine: Engine,
        question: str,
        documents: Sequence[str],
        choice: Choice,
        *,
        answer: AnswerFunction | None = None,
        options: Options | None = None,
        scores: bool = True,
    ) -> None:
        self._encoder, self._choice, self._answer, self._scores = encoder, choice, answer, scores
        self._request = partial(make_request, question, documents=documents, options=options)
        self._question = question
        self._prefix = encoder.prefix(question, documents)
        self._engine = open_session(engine, self._prefix.ids)
        self.reset()
        reset_after_fork(self)
        self._given: dict[int, tuple[Candidate, str | None, bool]] = {}
        self._chains: dict[int, ScoredChain] = {}
        self._labels: dict[tuple[str, ...], list[Hashable]] = {}
        self._computed: int | None = None
        """Tokens of the chains that were computed, if others were in the cache."""
        self.seconds = 0.0
        """Wall-clock time of reading answers and scoring so far."""

    def reset(self) -> None:
        """An open lock: what a process has after a fork, which copies none of its other threads."""
        self._lock = threading.Lock()

    def add(
        self,
        candidates: Sequence[Candidate],
        *,
        numbers: Sequence[int] | None = None,
        answers: Sequence[str | None] | None = None,
        truncated: Sequence[int] = (),
    ) -> list[Sample]:
        """Add candidates.

        Args:
            candidates: As in `MedPRM.rank`.
            numbers: A new number for each: candidates are ranked in the order of their numbers. None numbers them as
                they arrive.
            answers: As in `MedPRM.rank`.
            truncated: As in `MedPRM.rank`: indices in `candidates`.

        Returns:
            For each candidate so far, in the order of the numbers, what it votes for and its reward, in the form that
            `should_stop` takes. Both are None for one that takes no part in the choice.

        Raises:
            InputError: A wrong type, a number that was used before, or the ranking is closed.
            ScoringError: The model gave NaN, or the engine failed.
        """
        with self._lock, self._timed():
            if numbers is None:
                first = max(self._given, default=-1) + 1
                numbers = range(first, first + len(candidates))
            if len(set(numbers) - set(self._given)) != len(candidates):
                raise InputError("each candidate must have a different number")
            request = self._request(candidates, answers=answers, truncated=truncated)
            encoded = self._encoder.encode(request, self._prefix, self._answer, some=True)
            if self._scores:
                rewards = self._engine.score(encoded.prompt.chains) if encoded.split else []
                if isinstance(rewards, Remembered):
                    self._computed = (self._computed or 0) + rewards.computed
                chains = encoded.scored(rewards)
            else:
                chains = list(encoded.chains)
            known = request.answers or [None] * len(candidates)
            for place, number in enumerate(numbers):
                self._given[number] = request.candidates[place], known[place], place in request.truncated
                self._chains[number] = chains[place].model_copy(update={"index": number})
            return self._evidence()

    async def aadd(
        self,
        candidates: Sequence[Candidate],
        *,
        numbers: Sequence[int] | None = None,
        answers: Sequence[str | None] | None = None,
        truncated: Sequence[int] = (),
    ) -> list[Sample]:
        """`add`, without blocking the event loop."""
        add = partial(self.add, numbers=numbers, answers=answers, truncated=truncated)
        return await asyncio.to_thread(add, candidates)

    def votes(self) -> dict[int, Hashable]:
        """What each candidate votes for, by its number; candidates that take no part in the choice are left out."""
        with self._lock:
            return {voter.index: voter.vote for voter in self._voters()}

    def chain(self, number: int) -> ScoredChain:
        """The candidate as a chain, with its number as `index`, and with its rewards if it was scored.

        Raises:
            InputError: There is no such candidate.
        """
        if number not in self._chains:
            raise InputError(f"there is no candidate with the number {number}")
        return self._chains[number]

    def ranking(self, id: str | int | None = None) -> Ranking:
        """The ranking of all candidates so far, as `MedPRM.rank` gives it for them in the order of their numbers.

        Args:
            id: The caller's own name for the request.

        Raises:
            InputError: There is no candidate, the answer function failed on every one, or the group function failed.
            ScoringError: No candidate could be scored.
        """
        with self._lock, self._timed():
            numbers = sorted(self._given)
            given = [self._given[number] for number in numbers]
            request = self._request(
                [candidate for candidate, _, _ in given],
                id=id,
                answers=[answer for _, answer, _ in given],
                truncated=[place for place, (_, _, cut_off) in enumerate(given) if cut_off],
            )
            encoded = self._encoder.encode(request, self._prefix, self._answer)
            if self._scores:
                rewards = [self._chains[numbers[place]].step_rewards for place in encoded.split]
                rewards = rewards if self._computed is None else Remembered(rewards, self._computed)
            else:
                rewards = self._engine.score(encoded.prompt.chains)
            labels = self._label(encoded.answers)
        return encoded.ranking(rewards, self._choice, seconds=self.seconds, groups=labels)

    def close(self) -> None:
        """Free the memory; nothing more can be scored after that."""
        self._engine.close()

    def __enter__(self) -> "LiveRanking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:  # shows no text
        return f"LiveRanking({len(self._given)} candidates)"

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - begun

    def _voters(self) -> list[Scored]:
        """What each candidate that takes part in the choice votes for."""
        chains = [self._chains[number] for number in sorted(self._chains) if self._chains[number].error is None]
        answers = different_answers(chains)
        aggregate = self._choice.aggregate if self._scores else None
        found = voters(chains, aggregate, labelled(answers, self._label(answers)))
        return [voter for voter in found if not voter.truncated] or found

    def _evidence(self) -> list[Sample]:
        """The vote and the reward of each candidate."""
        strategy, said = self._choice.strategy, {voter.index: (voter.vote, voter.reward) for voter in self._voters()}
        for number, (vote, reward) in said.items():
            if reward is not None and strategy == "best_of_n":
                said[number] = None, reward
            elif reward is not None and strategy == "majority_vote" and vote is not None:
                said[number] = vote, 1.0
        return [said.get(number, (None, None)) for number in sorted(self._chains)]

    def _label(self, answers: dict[str, str]) -> list[Hashable] | None:
        """The result of the user's function for the different answers, called once for the same ones, or None."""
        if self._choice.group is None or len(answers) < 2:
            return None
        written = tuple(answers.values())
        if written not in self._labels:
            found = group_with(self._choice.group, written, self._question)
            self._labels[written] = checked_labels(found, len(written))
        return self._labels[written]
