"""Expected accuracy of each way of choosing among n of one question's N candidates.

A question with 64 candidates says more about choosing among 8 than its first 8 do: the figure for n is the mean over
all subsets of n candidates or, where these are too many, over a random sample of them.

`majority_vote` is plain self-consistency here: rewards play no part, so candidates that could not be scored vote too,
and a tie goes to the answer seen first. `best_of_n` and `weighted_vote` are those of `medprm_scorer.selection`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.selection import Scored, select
from medprm_scorer.text.answers import normalize_answer

Accuracies = dict[tuple[str, str | None], float]
"""By way of choosing and aggregate; the aggregate is None where rewards play no part."""

# Weights this close go to the plain twin; the rounding of a plain sum stays below it up to 3,000 candidates
_NEAR = 1e-9


@dataclass(frozen=True)
class Candidates:
    """All candidates of one question, in their order. The `repr` shows no text.

    Args:
        answers: The answer of each; None or blank if it gives none.
        right: Whether each is right.
        rewards: The chain reward of each in [0, 1], by one aggregate; None if it could not be scored.

    Raises:
        InputError: There are no candidates, or the three differ in length.
        ScoringError: A reward is NaN or outside [0, 1].
    """

    answers: tuple[str | None, ...] = field(repr=False)
    right: tuple[bool, ...]
    rewards: tuple[float | None, ...]

    def __post_init__(self) -> None:
        _check(self.right, self.answers)
        _check_rewards(self.rewards, len(self.right))


@dataclass(frozen=True)
class Winners:
    """What the two votes over all candidates of one question choose. The `repr` shows no text.

    An answer is written as the first candidate that gives it wrote it, scored or not, so one answer is one string.

    Args:
        majority_answer: The most frequent answer; None if no candidate gives one.
        majority_right: Whether that is right; False if there is none.
        weighted_answer: The answer with the largest sum of rewards; None if no scored candidate gives one.
        weighted_right: Whether that is right. Without such an answer: whether the candidate with the highest reward is;
            False if none could be scored.
        best_reward: Highest reward of a candidate with `weighted_answer`, in [0, 1]. Without such an answer: the
            highest of all; None if none could be scored.
        counts: Number of candidates that give each answer, scored or not: most frequent first, then first seen first.
    """

    majority_answer: str | None = field(repr=False)
    majority_right: bool
    weighted_answer: str | None = field(repr=False)
    weighted_right: bool
    best_reward: float | None
    counts: dict[str, int] = field(repr=False)


def draw_subsets(total: int, size: int, most: int, seed: Sequence[int]) -> npt.NDArray[np.intp]:
    """Choose subsets of `size` out of `total` candidates: all of them if that is not too many.

    Args:
        total: Number of candidates, at least 1.
        size: Candidates in a subset, at least 1; more than `total` means all of them.
        most: Most subsets, at least 1.
        seed: Whole numbers from 0; the same ones give the same subsets.

    Returns:
        Indices from 0, shape (subsets, size), ascending within a row: every subset once, in lexicographic order, if
        there are at most `most`; else `most` rows drawn independently of each other, so that a subset may come twice.

    Raises:
        InputError: A number is too small.

    Example:
        >>> draw_subsets(3, 2, most=100, seed=[0]).tolist()
        [[0, 1], [0, 2], [1, 2]]
        >>> draw_subsets(64, 8, most=100, seed=[0]).shape
        (100, 8)
    """
    for name, number in (("total", total), ("size", size), ("most", most)):
        if number < 1:
            raise InputError(f"{name} is {number}: subsets of candidates need at least 1")
    if any(number < 0 for number in seed):
        raise InputError("a seed must not be negative")
    size = min(size, total)
    if math.comb(total, size) <= most:
        return np.array(list(combinations(range(total), size)), dtype=np.intp)
    order = np.random.default_rng(seed).random((most, total)).argsort(axis=1, kind="stable")
    return np.sort(order[:, :size], axis=1)


def expected_accuracy(
    answers: Sequence[str | None],
    right: Sequence[bool],
    rewards_by_aggregate: Mapping[str, Sequence[float | None]],
    subsets: npt.NDArray[np.intp],
) -> Accuracies:
    """How often each way of choosing is right on one question, over subsets of its candidates.

    An answer is right if any candidate of the question that gives it is right. A vote in which nobody takes part, and
    a choice by rewards without any, is wrong.

    Args:
        answers: The answer of each of the N candidates; None or blank if it gives none.
        right: Whether each candidate is right.
        rewards_by_aggregate: By the name of an aggregate, the chain reward of each candidate in [0, 1], None for one
            that could not be scored.
        subsets: Indices of candidates, shape (subsets, n), ascending within a row: see `draw_subsets`.

    Returns:
        Shares in [0, 1] by (choice, aggregate). Over the subsets: `majority_vote` and `oracle` (some candidate is
        right) with aggregate None, `best_of_n` and `weighted_vote` with each aggregate. Over all N candidates, whatever
        the subsets: `single`, the share of right ones.

    Raises:
        InputError: There are no candidates or subsets, lengths differ, or an index is out of place.
        ScoringError: A reward is NaN or outside [0, 1].

    Example:
        >>> answers, right = ["A", "B", "(a)"], [True, False, True]
        >>> found = expected_accuracy(answers, right, {"min": [0.2, 0.9, 0.3]}, draw_subsets(3, 2, 100, [0]))
        >>> [f"{share:.2f} {choice}" for (choice, _), share in found.items()]
        ['0.67 single', '0.67 majority_vote', '0.33 best_of_n', '0.33 weighted_vote', '1.00 oracle']
    """
    _check(right, answers)
    _check_subsets(subsets, len(answers))
    keys, right_keys = _keys(answers, right)
    column_of = {key: column for column, key in enumerate(dict.fromkeys(key for key in keys if key is not None))}
    nobody = len(column_of)  # one more column, for candidates without an answer
    columns = np.array([nobody if key is None else column_of[key] for key in keys], dtype=np.intp)
    is_right = np.array(right, dtype=np.bool_)
    column_is_right = np.array([*(key in right_keys for key in column_of), False], dtype=np.bool_)

    row = np.arange(len(subsets))
    drawn = columns[subsets]
    cells = drawn + row[:, None] * (nobody + 1)

    def table(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sums of the drawn candidates' values, per row and answer."""
        sums = np.bincount(cells.ravel(), values[subsets].ravel(), len(subsets) * (nobody + 1))
        return np.asarray(sums, dtype=np.float64).reshape(len(subsets), nobody + 1)

    counts = table(np.ones(len(keys)))
    counts[:, nobody] = 0.0
    first = np.take_along_axis(counts, drawn, axis=1).argmax(axis=1)  # of equal counts, the answer seen first
    majority = column_is_right[drawn[row, first]]

    best_of_n: Accuracies = {}
    weighted_vote: Accuracies = {}
    for aggregate, rewards in rewards_by_aggregate.items():
        _check_rewards(rewards, len(keys), aggregate)
        scored = np.array([reward is not None for reward in rewards], dtype=np.bool_)
        values = np.array([reward or 0.0 for reward in rewards], dtype=np.float64)
        best = subsets[row, np.where(scored, values, -1.0)[subsets].argmax(axis=1)]
        best_right = (scored & is_right)[best]
        takes_part = table(scored.astype(np.float64)) > 0.0
        takes_part[:, nobody] = False
        weights = np.where(takes_part, table(values), -1.0)
        top = weights.argmax(axis=1)
        weighted = np.where(takes_part.any(axis=1), column_is_right[top], best_right)
        near = (takes_part & (weights >= weights[row, top][:, None] - _NEAR)).sum(axis=1) > 1
        for place in np.flatnonzero(near):
            weighted[place] = _weighted_vote(answers, right, rewards, subsets[place].tolist(), keys, right_keys)
        best_of_n["best_of_n", aggregate] = float(best_right.mean())
        weighted_vote["weighted_vote", aggregate] = float(weighted.mean())
    return {
        ("single", None): float(is_right.mean()),
        ("majority_vote", None): float(majority.mean()),
        **best_of_n,
        **weighted_vote,
        ("oracle", None): float(is_right[subsets].any(axis=1).mean()),
    }


def expected_accuracy_plain(
    answers: Sequence[str | None],
    right: Sequence[bool],
    rewards_by_aggregate: Mapping[str, Sequence[float | None]],
    subsets: npt.NDArray[np.intp],
) -> Accuracies:
    """The same as `expected_accuracy`, one subset after the other: the definition in short, and slow.

    Args:
        answers: As for `expected_accuracy`, and so are the others.
        right: Whether each candidate is right.
        rewards_by_aggregate: Chain rewards by aggregate.
        subsets: Indices of candidates.

    Returns:
        The same figures, equal to the last bit.

    Raises:
        InputError: As for `expected_accuracy`.
        ScoringError: As for `expected_accuracy`.
    """
    _check(right, answers)
    _check_subsets(subsets, len(answers))
    keys, right_keys = _keys(answers, right)
    rows: list[list[int]] = subsets.tolist()
    hits: Counter[tuple[str, str | None]] = Counter()
    for row in rows:
        votes = Counter(key for i in row if (key := keys[i]) is not None)
        hits["majority_vote", None] += bool(votes) and votes.most_common(1)[0][0] in right_keys
        hits["oracle", None] += any(right[i] for i in row)
    for aggregate, rewards in rewards_by_aggregate.items():
        _check_rewards(rewards, len(keys), aggregate)
        for row in rows:
            hits["best_of_n", aggregate] += official([right[i] for i in row], [rewards[i] for i in row])
            hits["weighted_vote", aggregate] += _weighted_vote(answers, right, rewards, row, keys, right_keys)
    return {
        ("single", None): sum(map(bool, right)) / len(right),
        ("majority_vote", None): hits["majority_vote", None] / len(rows),
        **{("best_of_n", name): hits["best_of_n", name] / len(rows) for name in rewards_by_aggregate},
        **{("weighted_vote", name): hits["weighted_vote", name] / len(rows) for name in rewards_by_aggregate},
        ("oracle", None): hits["oracle", None] / len(rows),
    }


def winners(candidates: Candidates) -> Winners:
    """What majority vote and weighted vote choose among all candidates of one question.

    Args:
        candidates: The candidates, with the rewards of one aggregate.

    Returns:
        Both answers, whether they are right, and who gave which answer.

    Example:
        >>> found = winners(Candidates(("A", "B", "(a)"), (False, True, False), (0.2, 0.9, 0.3)))
        >>> found.majority_answer, found.weighted_answer, found.best_reward, found.counts
        ('A', 'B', 0.9, {'A': 2, 'B': 1})
        >>> found
        Winners(majority_right=False, weighted_right=True, best_reward=0.9)
    """
    keys, right_keys = _keys(candidates.answers, candidates.right)
    written: dict[str, str] = {}
    for key, answer in zip(keys, candidates.answers, strict=True):
        if key is not None and answer is not None:
            written.setdefault(key, answer)
    votes = Counter(key for key in keys if key is not None).most_common()  # of equal counts, the first seen first
    winner = _weighted_winner(candidates.answers, candidates.rewards, range(len(keys)))
    key = None if winner is None else keys[winner]
    return Winners(
        majority_answer=written[votes[0][0]] if votes else None,
        majority_right=bool(votes) and votes[0][0] in right_keys,
        weighted_answer=None if key is None else written[key],
        weighted_right=winner is not None and (bool(candidates.right[winner]) or key in right_keys),
        best_reward=None if winner is None else candidates.rewards[winner],
        counts={written[key]: count for key, count in votes},
    )


def official(right: Sequence[bool], min_rewards: Sequence[float | None]) -> bool:
    """Whether the authors' own selection is right: it takes the highest min reward, and the first of equals.

    Args:
        right: Whether each candidate is right.
        min_rewards: The smallest step reward of each candidate in [0, 1]; None, never chosen, if it has none.

    Returns:
        Whether the chosen candidate is right; False if none can be chosen.

    Raises:
        InputError: There are no candidates, or the lengths differ.
        ScoringError: A reward is NaN or outside [0, 1].

    Example:
        >>> official([False, True, False], [0.2, 0.7, 0.7])
        True
    """
    _check(right, right)
    _check_rewards(min_rewards, len(right))
    best: float | None = None
    best_right = False
    for is_right, reward in zip(right, min_rewards, strict=True):
        if reward is not None and (best is None or reward > best):
            best, best_right = reward, bool(is_right)
    return best_right


def _keys(answers: Sequence[str | None], right: Sequence[bool]) -> tuple[list[str | None], set[str | None]]:
    """The key of each answer, None for one that does not vote, and the keys that are right."""
    keys = [normalize_answer(answer) if answer is not None and answer.strip() else None for answer in answers]
    return keys, {key for key, is_right in zip(keys, right, strict=True) if is_right and key is not None}


def _weighted_winner(answers: Sequence[str | None], rewards: Sequence[float | None], row: Sequence[int]) -> int | None:
    """The candidate that `select` puts first; None if none in the row could be scored."""
    if all(rewards[i] is None for i in row):
        return None
    return select([Scored(i, rewards[i], answers[i]) for i in row], "weighted_vote").order[0]


def _weighted_vote(
    answers: Sequence[str | None],
    right: Sequence[bool],
    rewards: Sequence[float | None],
    row: Sequence[int],
    keys: Sequence[str | None],
    right_keys: set[str | None],
) -> bool:
    winner = _weighted_winner(answers, rewards, row)
    return winner is not None and (bool(right[winner]) or keys[winner] in right_keys)


def _check(right: Sequence[bool], answers: Sequence[object]) -> None:
    if not len(right):
        raise InputError("there are no candidates to choose from: pass at least one")
    if len(answers) != len(right):
        raise InputError(f"{len(answers)} answers but {len(right)} judgements: give one of each per candidate")


def _check_rewards(rewards: Sequence[float | None], total: int, aggregate: str = "") -> None:
    of = f" ({aggregate})" if aggregate else ""
    if len(rewards) != total:
        raise InputError(f"{len(rewards)} rewards{of} but {total} candidates: give one per candidate, None if unscored")
    for place, reward in enumerate(rewards):
        if reward is not None and not 0.0 <= reward <= 1.0:  # also true for NaN
            raise ScoringError(f"the reward{of} of candidate {place} is {reward}, not a probability")


def _check_subsets(subsets: npt.NDArray[np.intp], total: int) -> None:
    if subsets.ndim != 2 or not subsets.size:
        raise InputError(f"subsets must have the shape (subsets, n), not {subsets.shape}, and not be empty")
    if subsets.min() < 0 or subsets.max() >= total:
        raise InputError(f"subsets must hold indices from 0 to {total - 1}, one for each candidate")
    if (subsets[:, 1:] <= subsets[:, :-1]).any():
        raise InputError("the indices within a subset must ascend, each at most once")
