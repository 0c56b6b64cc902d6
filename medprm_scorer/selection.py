"""From scored chains and their answers to an order, the votes and a winner.

The strategies, as the paper defines them (arXiv 2506.11474):

- `weighted_vote`  the answer with the largest sum of chain rewards (the paper's SC+RM).
- `best_of_n`      the chain with the highest reward.
- `majority_vote`  the answer that most chains give (self-consistency, the baseline); rewards only break ties.

Only scored chains take part; chains without an answer do not vote. Answers that `normalize_answer` maps to the same
key are one answer. A tie between answers goes to the larger weight, then to the larger best reward, then to the answer
whose first chain is the earliest; a tie between chains goes to the earlier one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.errors import InputError, ScoringError, check_choice
from medprm_scorer.text.answers import normalize_answer

Strategy = Literal["weighted_vote", "best_of_n", "majority_vote"]
"""How the winner is chosen."""

STRATEGIES: tuple[str, ...] = get_args(Strategy)
"""The names that `select` takes; the first is the default: the paper finds it best on average."""


def check_settings(strategy: str, aggregate: str) -> None:
    """Refuse an unknown strategy or aggregate.

    Raises:
        InputError: With the names there are.
    """
    check_choice("strategy", strategy, STRATEGIES)
    check_choice("aggregate", aggregate, AGGREGATES)


@dataclass(frozen=True)
class Scored:
    """What a selection needs to know of one candidate. The `repr` shows no text.

    Args:
        index: Place of the candidate in the request; ties go to the smaller one.
        reward: The chain's reward in [0, 1]; None if it could not be scored.
        answer: The answer that the chain gives; None or blank if it gives none.
    """

    index: int
    reward: float | None
    answer: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class AnswerVote:
    """What one answer received. The `repr` shows no text.

    Args:
        answer: The answer, as the earliest chain that gives it wrote it.
        count: Number of scored chains that give it.
        weight: Sum of their rewards.
        share: Part of the counts under `majority_vote`, else of the weights (of the counts if all weights are 0).
    """

    answer: str = field(repr=False)
    count: int
    weight: float
    share: float


@dataclass(frozen=True)
class Selection:
    """What was decided. The `repr` shows no text.

    Args:
        order: Indices of all candidates: the winner, the others by reward, then those that could not be scored.
        answer: The winner's answer, written as in `votes`; None if the winner gives none.
        votes: One entry per answer: the winner's first, then in the order of the strategy (for `best_of_n` that of
            `weighted_vote`).
        strategy: What decided: the strategy asked for, or `best_of_n` if a vote was asked for and no chain voted.
    """

    order: tuple[int, ...]
    answer: str | None = field(repr=False)
    votes: tuple[AnswerVote, ...]
    strategy: str


@dataclass(frozen=True)
class _Group:
    """The scored chains that give the same answer, best first."""

    chains: tuple[tuple[float, int], ...]  # (-reward, index), ascending: highest reward first, then the earlier
    first: int
    answer: str = field(repr=False)
    weight: float

    @property
    def rank(self) -> tuple[float, float, int]:
        """The smallest is the best: larger weight, then larger best reward, then the earlier."""
        return (-self.weight, self.chains[0][0], self.first)


def select(candidates: Iterable[Scored], strategy: str) -> Selection:
    """Order the candidates of one question and choose the winner.

    The result depends on the candidates' indices, never on the order in which they are passed.

    Args:
        candidates: All candidates of the question, scored or not, each with its own index.
        strategy: One of `STRATEGIES`.

    Returns:
        The order, the votes and the winning answer. For a vote, the winner is the highest-reward chain among those that
        give the winning answer.

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
    candidates = sorted(candidates, key=lambda candidate: candidate.index)
    if not candidates:
        raise InputError("there are no candidates to choose from: pass at least one")
    if len({candidate.index for candidate in candidates}) < len(candidates):
        raise InputError("two candidates have the same index: number them by their place in the request")
    scored: list[tuple[float, int]] = []
    answers: dict[int, tuple[str, str]] = {}  # index → (key, answer as written), in the order of the candidates
    for candidate in candidates:
        if candidate.reward is None:
            continue
        if not 0.0 <= candidate.reward <= 1.0:  # also false for NaN
            raise ScoringError(f"the reward of candidate {candidate.index} is {candidate.reward}, not a probability")
        scored.append((-candidate.reward, candidate.index))
        if candidate.answer is not None and candidate.answer.strip():
            answers[candidate.index] = (normalize_answer(candidate.answer), candidate.answer)
    if not scored:
        raise ScoringError("no candidate could be scored")
    scored.sort()
    groups = _group(scored, answers)
    if not groups:
        strategy = "best_of_n"
    best = scored[0][1]
    if strategy == "majority_vote":
        groups.sort(key=lambda group: (-len(group.chains), *group.rank))
    else:
        groups.sort(key=lambda group: group.rank)
    if strategy == "best_of_n":  # a stable sort: the winner's group first, the others as they are
        groups.sort(key=lambda group: all(index != best for _, index in group.chains))
    else:
        best = groups[0].chains[0][1]
    unscored = [candidate.index for candidate in candidates if candidate.reward is None]
    others = [index for _, index in scored if index != best]
    return Selection(
        order=(best, *others, *unscored),
        answer=groups[0].answer if best in answers else None,
        votes=_votes(groups, by_count=strategy == "majority_vote"),
        strategy=strategy,
    )


def _group(scored: list[tuple[float, int]], answers: dict[int, tuple[str, str]]) -> list[_Group]:
    """The scored chains by answer; `scored` is best first, and so is each group."""
    members: dict[str, list[tuple[float, int]]] = {}
    for chain in scored:
        if chain[1] in answers:
            members.setdefault(answers[chain[1]][0], []).append(chain)
    groups = []
    for chains in members.values():
        first = min(index for _, index in chains)
        # fsum rounds once, so the order of the candidates cannot decide a tie
        weight = math.fsum(-negative for negative, _ in chains)
        groups.append(_Group(tuple(chains), first, answers[first][1], weight))
    return groups


def _votes(groups: list[_Group], by_count: bool) -> tuple[AnswerVote, ...]:
    weights = [float(len(group.chains)) if by_count else group.weight for group in groups]
    if not any(weights):
        weights = [float(len(group.chains)) for group in groups]
    total = math.fsum(weights)
    return tuple(
        AnswerVote(group.answer, len(group.chains), group.weight, weight / total)
        for group, weight in zip(groups, weights, strict=True)
    )
