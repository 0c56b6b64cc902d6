"""Turns scored chains and their answers into an order, the votes and a winner.

The strategies, as the paper defines them (arXiv 2506.11474):

- `weighted_vote`  the answer with the largest sum of chain rewards (the paper's SC+RM).
- `best_of_n`      the chain with the highest reward.
- `majority_vote`  the answer that most chains give (self-consistency, the baseline); rewards only break ties.

Chains without an answer do not vote; chains that decline to answer vote for declining. Answers with the same key count
as one answer. A tie between answers goes to the larger weight, then to the larger best reward, then to the answer whose
first chain is the earliest; a tie between chains goes to the earlier one.

Two rules are this package's own, so that a few chains cannot decide against many:

- If the chains that vote hold less than half of all reward, no vote is taken: `best_of_n` decides. (If all rewards are
  0, the chains are counted instead.)
- A chain that was cut off takes no part if any chain was not: without its end, its lowest reward can only be too high.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.errors import InputError, ScoringError, check_choice
from medprm_scorer.text.answers import DECLINED, normalize_answer

Strategy = Literal["weighted_vote", "best_of_n", "majority_vote"]
"""How the winner is chosen."""

STRATEGIES: tuple[str, ...] = get_args(Strategy)
"""The names that `select` takes; the first is the default: the paper finds it best on average."""


def check_settings(strategy: str, aggregate: str) -> None:
    """Refuse an unknown strategy or aggregate.

    Raises:
        InputError: It is unknown; the message lists the valid names.
    """
    check_choice("strategy", strategy, STRATEGIES)
    check_choice("aggregate", aggregate, AGGREGATES)


@dataclass(frozen=True)
class Scored:
    """The input of `select` for one candidate. The `repr` shows no text.

    Args:
        index: Index of the candidate in the request; ties go to the smaller one.
        reward: The chain's reward in [0, 1]; None if it could not be scored.
        answer: The answer that the chain gives; None or blank if it gives none.
        declined: Whether the chain says that it cannot answer.
        truncated: Whether the chain was cut off before its end.
        key: Chains with the same key give the same answer; None takes `normalize_answer` of the answer.
    """

    index: int
    reward: float | None
    answer: str | None = field(default=None, repr=False)
    declined: bool = False
    truncated: bool = False
    key: Hashable = field(default=None, repr=False)

    @property
    def vote(self) -> Hashable:
        """What the chain votes for; None if it does not vote."""
        if self.declined:
            return (DECLINED,)  # a tuple, so that it cannot equal an answer
        if self.answer is None or not self.answer.strip():
            return None
        return normalize_answer(self.answer) if self.key is None else ("group", self.key)


@dataclass(frozen=True)
class AnswerVote:
    """The votes for one answer. The `repr` shows no text.

    Args:
        answer: The answer in the wording of the earliest chain that gives it; `DECLINED` for the chains that decline.
        count: Number of scored chains that give it.
        weight: Sum of their rewards.
        share: Share of the counts under `majority_vote`, otherwise of the weights (of the counts if all weights are 0).
        declined: Whether this is the vote of the chains that decline.
    """

    answer: str = field(repr=False)
    count: int
    weight: float
    share: float
    declined: bool = False


@dataclass(frozen=True)
class Selection:
    """The decision. The `repr` shows no text.

    Args:
        order: Indices of all candidates: the winner, the others by reward, then those that were cut off, then those
            that could not be scored.
        answer: The winner's answer, written as in `votes`; None if the winner gives none.
        declined: Whether the winner declines to answer.
        votes: One entry per answer: the winner's first, then in the order of the strategy (for `best_of_n` that of
            `weighted_vote`).
        strategy: The strategy that decided: the requested one, or `best_of_n` if a vote was requested but not taken.
    """

    order: tuple[int, ...]
    answer: str | None = field(repr=False)
    declined: bool
    votes: tuple[AnswerVote, ...]
    strategy: str


@dataclass(frozen=True)
class _Group:
    """The chains that give the same answer, best first."""

    chains: tuple[Scored, ...]

    @property
    def weight(self) -> float:
        # fsum rounds only once, so the order of the candidates cannot decide a tie
        return math.fsum(map(_reward, self.chains))

    @property
    def first(self) -> Scored:
        return min(self.chains, key=lambda chain: chain.index)

    @property
    def answer(self) -> str:
        return DECLINED if self.first.declined else str(self.first.answer)

    @property
    def rank(self) -> tuple[float, float, int]:
        """A sort key, best first: larger weight, then larger best reward, then the earlier chain."""
        return (-self.weight, -_reward(self.chains[0]), self.first.index)


def select(candidates: Iterable[Scored], strategy: str) -> Selection:
    """Order the candidates of one question and choose the winner.

    The result depends on the candidates' indices, never on the order in which they are passed.

    Args:
        candidates: All candidates of the question, scored or not, each with its own index.
        strategy: One of `STRATEGIES`.

    Returns:
        The order, the votes and the winning answer. For a vote, the winner is the chain with the highest reward among
        those that give the winning answer.

    Raises:
        InputError: The strategy is unknown, there are no candidates, or two have the same index.
        ScoringError: No candidate could be scored, or a reward is NaN or outside [0, 1].

    Example:
        >>> chains = [Scored(0, 0.9, "A"), Scored(1, 0.6, "B"), Scored(2, 0.7, "b."), Scored(3, None, "A")]
        >>> chosen = select(chains, "weighted_vote")
        >>> chosen.order, chosen.answer
        ((2, 0, 1, 3), 'B')
        >>> select(chains, "best_of_n").order
        (0, 2, 1, 3)
    """
    check_choice("strategy", strategy, STRATEGIES)
    scored, unscored = _checked(candidates)
    finished = [chain for chain in scored if not chain.truncated]
    cut_off = [chain for chain in scored if chain.truncated] if finished else []
    finished = finished or scored
    groups = sorted(_grouped(finished), key=lambda group: group.rank)
    voting = [chain for group in groups for chain in group.chains]
    if not _hold_half(voting, finished):
        strategy = "best_of_n"
    best = finished[0]
    if strategy == "majority_vote":
        groups.sort(key=lambda group: -len(group.chains))  # a stable sort: equal counts stay in the order of `rank`
    elif strategy == "best_of_n":
        groups.sort(key=lambda group: best not in group.chains)
    if strategy != "best_of_n":
        best = groups[0].chains[0]
    voted = best.vote is not None
    return Selection(
        order=tuple(
            chain.index for chain in (best, *(one for one in finished if one is not best), *cut_off, *unscored)
        ),
        answer=groups[0].answer if voted and not best.declined else None,
        declined=best.declined,
        votes=_votes(groups, by_count=strategy == "majority_vote"),
        strategy=strategy,
    )


def _checked(candidates: Iterable[Scored]) -> tuple[list[Scored], list[Scored]]:
    """The candidates with a reward, best first, and those without one, by index."""
    candidates = sorted(candidates, key=lambda candidate: candidate.index)
    if not candidates:
        raise InputError("there are no candidates to choose from: pass at least one")
    if len({candidate.index for candidate in candidates}) < len(candidates):
        raise InputError("two candidates have the same index: number them by their place in the request")
    for candidate in candidates:
        if candidate.reward is not None and not 0.0 <= candidate.reward <= 1.0:  # also for NaN
            raise ScoringError(f"the reward of candidate {candidate.index} is {candidate.reward}, not a probability")
    scored = [candidate for candidate in candidates if candidate.reward is not None]
    if not scored:
        raise ScoringError("no candidate could be scored")
    scored.sort(key=lambda chain: -_reward(chain))
    return scored, [candidate for candidate in candidates if candidate.reward is None]


def _reward(chain: Scored) -> float:
    assert chain.reward is not None
    return chain.reward


def _grouped(chains: Sequence[Scored]) -> list[_Group]:
    """The chains that vote, grouped by what they vote for; like `chains`, each group is best first."""
    members: dict[Hashable, list[Scored]] = {}
    for chain in chains:
        if chain.vote is not None:
            members.setdefault(chain.vote, []).append(chain)
    return [_Group(tuple(group)) for group in members.values()]


def _hold_half(voting: Sequence[Scored], chains: Sequence[Scored]) -> bool:
    """Whether the chains that vote hold at least half of all reward."""
    total = math.fsum(map(_reward, chains))
    if total == 0.0:
        return bool(voting) and 2 * len(voting) >= len(chains)
    return bool(voting) and 2 * math.fsum(map(_reward, voting)) >= total


def _votes(groups: Sequence[_Group], by_count: bool) -> tuple[AnswerVote, ...]:
    weights = [float(len(group.chains)) if by_count else group.weight for group in groups]
    if not any(weights):
        weights = [float(len(group.chains)) for group in groups]
    total = math.fsum(weights)
    return tuple(
        AnswerVote(group.answer, len(group.chains), group.weight, weight / total, group.first.declined)
        for group, weight in zip(groups, weights, strict=True)
    )
