"""The growing chains of one search, within its limits; the search methods decide which to continue and which to drop.

Nothing here waits: a search is a generator that yields requests (`Extend`, `Score`, `Rank`) and is sent the answers. So
the same search runs with and without an event loop (`drive`).
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from medprm_scorer.errors import InputError, NothingScoredError, PolicyError
from medprm_scorer.results.models import Ranking, ScoredChain
from medprm_scorer.search.evidence import LABEL, Gathering, Retrieve
from medprm_scorer.search.limits import Limits
from medprm_scorer.search.policy import Continuation, GrowingChain, checked, seed_of
from medprm_scorer.search.tree import Branch, Fate, SearchRanking, SearchTree
from medprm_scorer.text.steps.split import split_steps

_Result = TypeVar("_Result")


@dataclass(frozen=True, repr=False)
class Extend:
    """A request to the policy; answered with what it returned, or with the exception that it raised."""

    chains: Sequence[GrowingChain]
    n: int


@dataclass(frozen=True, repr=False)
class Score:
    """A request to the session for rewards; answered with a list of `ScoredChain`."""

    candidates: Sequence[tuple[str, ...]]


@dataclass(frozen=True, repr=False)
class Rank:
    """A request to the session for a ranking."""

    candidates: Sequence[tuple[str, ...]]
    truncated: Sequence[int] = ()


@dataclass(frozen=True, repr=False)
class Grow:
    """A request that the policy and the session read more documents, after those they have."""

    documents: Sequence[str]


Ask = Extend | Score | Rank | Retrieve | Grow
Asking = Generator[Ask, Any, _Result]
"""A part of a search: yields requests, is sent the answers, and returns its result."""


@dataclass(eq=False, repr=False)
class Piece:
    """One piece of a chain, with everything before it."""

    text: str
    steps: tuple[str, ...]
    seed: int
    parent: "Piece | None" = None
    index: int = -1
    round: int = 0
    tokens: int = 0
    finished: bool = False
    rewards: tuple[float, ...] = ()
    fate: Fate = "growing"
    why: str = ""
    candidate: int | None = None
    known: frozenset[str] = field(default=frozenset())  # the text of its steps, without their labels

    @property
    def order(self) -> tuple[int, ...]:
        """The indices on the path to it: sorted by this, chains are in the order in which they were begun."""
        before = self.parent.order if self.parent else ()
        return (*before, self.index)


class Growth:
    """The tree of one search.

    Args:
        method: The readable name of the method.
        limits: Limits on its cost.
        seed: The seed from which all chains' seeds are derived.
        count: Counts the tokens of a text if the policy does not.
        on_progress: Called with the tree after each call of the policy.
        stop_when: Called before each call of the policy; the search ends when it returns True.
        gathering: Retrieves more documents for the chains that are continued; None for no retrieval.
    """

    def __init__(
        self,
        method: str,
        limits: Limits,
        seed: int,
        count: Callable[[str], int],
        on_progress: Callable[[SearchTree], object] | None = None,
        stop_when: Callable[[], bool] | None = None,
        gathering: Gathering | None = None,
    ) -> None:
        self._method, self._limits, self._count = method, limits, count
        self._on_progress, self._stop_when, self._gathering = on_progress, stop_when, gathering
        self._ranked: list[Piece] = []
        self.root = Piece("", (), seed)
        self.pieces: list[Piece] = []
        self.cut_off: list[Piece] = []
        """Unfinished pieces that cannot be continued."""
        self.stopped: str | None = None
        """Why the policy is no longer asked."""
        self.failure: Exception | None = None
        """The exception that the policy or the retriever raised."""
        self.proven: bool | None = None
        self.unbegun = 0
        """Chains that may still be begun; at the end, those that never were."""
        self.dropped_weight = 0.0
        self.tokens = self.calls = 0
        self.seconds: dict[type, float] = {}
        """Wall-clock time of the answers, by type of request."""
        self.reward_tokens = 0
        self._begun = time.monotonic()

    def extend(
        self, parents: Sequence[Piece], n: int, beside: Sequence[Piece] = (), *, alike: bool = False
    ) -> Asking[list[Piece]]:
        """Ask for the next pieces and score them.

        Args:
            parents: The pieces to continue.
            n: The number of continuations of each.
            beside: Pieces that will be continued or ranked later: the reward model keeps them in its KV cache.
            alike: Keep identical continuations of one piece; otherwise only the first of them.

        Returns:
            The new pieces that are finished or can be continued. The list is empty if a limit was reached; `stopped`
            then says which. The other pieces are dropped or in `cut_off`.
        """
        self.stopped = self.stopped or self._limit_reached()
        if not self.stopped and self._gathering is not None:
            yield from self._gather(parents, self._gathering)
        if self.stopped:
            return []
        given = yield Extend([GrowingChain(one.text, one.steps, one.seed) for one in parents], n)
        if isinstance(given, Exception):
            self.failure, self.stopped = given, f"the policy failed with {type(given).__name__}"
            return []
        self.calls += 1
        fresh: list[Piece] = []
        for parent, some in zip(parents, checked(given, len(parents), n), strict=True):
            fresh += self._grow(parent, some, alike)
        unscored = [one for one in fresh if one.steps and not one.rewards]
        if unscored:
            yield from self._score(unscored, [*beside, *(one for one in self.cut_off if one.rewards)])
        self._report()
        return [one for one in fresh if one.fate in ("growing", "finished")]

    def _gather(self, parents: Sequence[Piece], gathering: Gathering) -> Asking[None]:
        """Retrieve documents with the newest steps, and add them."""
        ask = gathering.ask([one.steps[-1] for one in parents if one.steps])
        if ask is None:
            return
        found = yield ask
        if isinstance(found, InputError):
            raise found
        if isinstance(found, Exception):
            self.failure, self.stopped = found, f"the retriever failed with {type(found).__name__}"
        elif new := gathering.take(found):
            yield Grow(new)

    def final_steps(self) -> tuple[str, ...]:
        """The leading steps shared by all chains that can still be chosen."""
        if self.unbegun:
            return ()
        ended = any(one.fate == "finished" for one in self.pieces)
        open_ = [one.steps for one in self.pieces if one.fate in ("growing", "finished")]
        if not ended or self._gathering is not None:  # a chain that was cut off cannot win against a finished one
            open_ += [one.steps for one in self.cut_off]
        first, last = min(open_, default=()), max(open_, default=())
        alike = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        return first[:alike]

    def chosen(self, ranking: Ranking) -> tuple[str, ...]:
        """The steps of the winner."""
        return self._ranked[ranking.best.index].steps

    def rank(self, pieces: Sequence[Piece]) -> Asking[Ranking]:
        """The ranking of the chains of some finished pieces, in the order in which they were begun."""
        ranking: Ranking = yield Rank([one.steps for one in pieces])
        return ranking

    def finish(self, finished: Sequence[Piece], growing: Sequence[Piece]) -> Asking[SearchRanking]:
        """The ranking of all chains that were not dropped; unfinished ones are marked as cut off.

        Raises:
            Exception: The policy's own exception, if no chain was finished by then.
            PolicyError: The policy wrote nothing that could be ranked.
            NothingScoredError: No chain could be scored.
        """
        if not finished and self.failure is not None:
            raise self.failure
        for one in growing:
            self.end(one, "cut off", self.stopped or "the search was over")
        ranked = sorted([*finished, *(one for one in self.cut_off if one.steps)], key=lambda one: one.order)
        if not ranked:
            unscored = [one.why for one in self.pieces if one.why.startswith(_UNSCORED)]
            if unscored:
                raise NothingScoredError(f"no chain of the policy could be scored: {unscored[0]}")
            raise PolicyError(f"the policy wrote nothing that could be ranked: {self.stopped or 'no chain has a step'}")
        self._ranked = ranked
        for place, one in enumerate(ranked):
            one.candidate = place
        cut_off = [place for place, one in enumerate(ranked) if one.fate == "cut off"]
        ranking: Ranking = yield Rank([one.steps for one in ranked], cut_off)
        fields = {name: getattr(ranking, name) for name in Ranking.model_fields}
        fields["cautions"] = [*ranking.cautions, *self._cautions()]
        return SearchRanking.model_construct(**fields, tree=self.tree())

    def end(self, piece: Piece, fate: Fate, why: str) -> None:
        """Record what became of a piece."""
        piece.fate, piece.why = fate, why
        if fate == "cut off":
            self.cut_off.append(piece)

    def tree(self) -> SearchTree:
        """The tree in its current state."""
        gathering = self._gathering
        return SearchTree.model_construct(
            method=self._method,
            branches=[_branch(one) for one in self.pieces],
            generated_tokens=self.tokens,
            policy_calls=self.calls,
            reward_tokens=self.reward_tokens,
            policy_seconds=self.seconds.get(Extend, 0.0),
            reward_seconds=sum(self.seconds.get(one, 0.0) for one in (Score, Rank, Grow)),
            documents=list(gathering.added) if gathering else [],
            documents_repeated=gathering.repeated if gathering else 0,
            documents_left_out=gathering.left_out if gathering else 0,
            stopped=self.stopped,
            proven=self.proven,
            dropped_weight=self.dropped_weight,
        )

    def _limit_reached(self) -> str | None:
        if self._stop_when is not None and self._stop_when():
            return "it was stopped"
        return self._limits.reached(self.tokens, self.calls, time.monotonic() - self._begun)

    def _grow(self, parent: Piece, some: Sequence[Continuation], alike: bool) -> list[Piece]:
        """The new pieces that continue one."""
        if parent.index >= 0:
            parent.fate, parent.why = "extended", ""
            if not some:
                self.end(parent, "cut off", "the policy gave no continuation")
        grown: list[Piece] = []
        seen: dict[tuple[tuple[str, ...], bool], int] = {}
        split = {text: steps_of(text) for text in dict.fromkeys(one.text for one in some)}
        for place, one in enumerate(some):
            steps = split[one.text]
            tokens = self._count(one.text) if one.tokens is None else one.tokens
            said = [LABEL.sub("", " ".join(step.split())).casefold() for step in steps]
            piece = Piece(
                text=parent.text + one.text,
                steps=parent.steps + steps,
                seed=seed_of(parent.seed, place),
                parent=None if parent.index < 0 else parent,
                index=len(self.pieces),
                round=self.calls,
                tokens=tokens,
                finished=one.finished,
                rewards=parent.rewards if not steps else (),
                known=parent.known.union(said),
            )
            self.tokens += tokens
            self.pieces.append(piece)
            twin = seen.setdefault((steps, one.finished), piece.index)
            if twin != piece.index and not alike:
                self.end(piece, "dropped", f"the same as [{twin}]")
                continue
            if not piece.steps:
                self.end(piece, "dropped", "the policy wrote nothing")
                continue
            grown.append(piece)
            repeats = len(piece.known) < len(parent.known) + len(said)
            if one.finished:
                self.end(piece, "finished", "")
            elif not steps:
                self.end(piece, "cut off", "a blank step")
            elif repeats:
                self.end(piece, "cut off", "it repeats itself")
            elif one.cut_off:
                self.end(piece, "cut off", "a step without an end")
            elif len(piece.steps) >= self._limits.max_steps:
                self.end(piece, "cut off", f"no end after {len(piece.steps)} steps")
        return grown

    def _score(self, fresh: Sequence[Piece], beside: Sequence[Piece]) -> Asking[None]:
        known = [one.steps for one in beside]
        try:
            scored: list[ScoredChain] = yield Score([*known, *(one.steps for one in fresh)])
        except NothingScoredError as error:
            reasons = [str(error)] * len(fresh)
        else:
            reasons = [chain.error or "" for chain in scored[len(known) :]]
            for one, chain in zip(fresh, scored[len(known) :], strict=True):
                one.rewards = tuple(chain.step_rewards)
        for one, reason in zip(fresh, reasons, strict=True):
            if reason:
                if one.fate == "cut off":
                    self.cut_off.remove(one)
                self.end(one, "dropped", f"{_UNSCORED}{reason}")

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.tree())

    def _cautions(self) -> list[str]:
        found = []
        if self.stopped:
            found.append(f"The search ended early: {self.stopped}.")
        dropped = sum(one.fate == "dropped" and not one.why.startswith("the same") for one in self.pieces)
        dropped += self.unbegun
        if self.proven is not None and dropped:
            could = "could not have changed" if self.proven else "could have changed"
            found.append(f"{dropped} chains without a vote were dropped before their end: they {could} the choice.")
        return found


_UNSCORED = "it could not be scored: "


def steps_of(text: str) -> tuple[str, ...]:
    r"""The steps in one continuation by a policy: one, unless it wrote several labels.

    Args:
        text: The text of the continuation.

    Example:
        >>> steps_of("Step 1: Fever.\n"), steps_of("Step 1: Fever.\nStep 2: Rash.\n"), steps_of(" \n")
        (('Step 1: Fever.',), ('Step 1: Fever.', 'Step 2: Rash.'), ())
    """
    if not text.strip():
        return ()
    split = split_steps(text)
    if split.rule in ("marker", "labels"):
        if len(split.steps) > 1:
            return tuple(step for step in (split.front, *split.steps) if step)
        return (f"{split.front} {split.steps[0]}".strip(),)
    return (" ".join(text.splitlines()).strip(),)


def _branch(piece: Piece) -> Branch:
    before = len(piece.parent.steps) if piece.parent else 0
    return Branch.model_construct(
        index=piece.index,
        parent=piece.parent.index if piece.parent else None,
        round=piece.round,
        steps=list(piece.steps[before:]),
        rewards=list(piece.rewards[before:]),
        tokens=piece.tokens,
        fate=piece.fate,
        why=piece.why,
        candidate=piece.candidate,
    )
