"""Expected accuracy of each selection method among n of one question's N candidates.

A question with 64 candidates says more about choosing among 8 than its first 8 do: the figure for n is the mean over
all subsets of n candidates or, if there are too many, over a random sample of them. The selection methods are those of
`medprm_scorer.evaluation.choices`.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.choices import answer_keys, check_judgements, check_rewards, weighted_vote

Accuracies = dict[tuple[str, str | None], float]
"""By selection method and aggregate; the aggregate is None for methods without rewards."""

# Weights this close are left to `select`; the rounding error of a plain sum is smaller for up to 3,000 candidates
_NEAR = 1e-9


def draw_subsets(total: int, size: int, most: int, seed: Sequence[int]) -> npt.NDArray[np.intp]:
    """Choose subsets of `size` out of `total` candidates: all of them if that is not too many.

    Args:
        total: Number of candidates, at least 1.
        size: Candidates in a subset, at least 1; more than `total` means all of them.
        most: Most subsets, at least 1.
        seed: Whole numbers, at least 0; the same ones give the same subsets.

    Returns:
        Indices from 0, shape (subsets, size), ascending within a row: every subset once, in lexicographic order, if
        there are at most `most`; otherwise `most` rows drawn independently, so that a subset may occur twice.

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
    """How often each selection method is right on one question, over subsets of its candidates.

    An answer is right if any candidate of the question that gives it is right. A vote without voters counts as wrong,
    and so does a choice by rewards without rewards.

    Args:
        answers: The answer of each of the N candidates; None or blank if it gives none.
        right: Whether each candidate is right.
        rewards_by_aggregate: For each aggregate, by name, the chain reward of each candidate in [0, 1]; None for one
            that could not be scored.
        subsets: Indices of candidates, shape (subsets, n), ascending within a row: see `draw_subsets`.

    Returns:
        Shares in [0, 1] by (choice, aggregate). Over the subsets: `majority_vote` and `oracle` (some candidate is
        right) with aggregate None, `best_of_n` and `weighted_vote` with each aggregate. `single` is the share of right
        ones among all N candidates, independent of the subsets.

    Raises:
        InputError: There are no candidates or subsets, lengths differ, or an index is out of range or not in order.
        ScoringError: A reward is NaN or outside [0, 1].

    Example:
        >>> answers, right = ["A", "B", "(a)"], [True, False, True]
        >>> found = expected_accuracy(answers, right, {"min": [0.2, 0.9, 0.3]}, draw_subsets(3, 2, 100, [0]))
        >>> [f"{share:.2f} {choice}" for (choice, _), share in found.items()]
        ['0.67 single', '0.67 majority_vote', '0.33 best_of_n', '0.33 weighted_vote', '1.00 oracle']
    """
    check_judgements(right, answers)
    _check_subsets(subsets, len(answers))
    keys, right_keys = answer_keys(answers, right)
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

    by_best: Accuracies = {}
    by_weight: Accuracies = {}
    for aggregate, rewards in rewards_by_aggregate.items():
        check_rewards(rewards, len(keys), aggregate)
        scored = np.array([reward is not None for reward in rewards], dtype=np.bool_)
        values = np.array([reward or 0.0 for reward in rewards], dtype=np.float64)
        best = subsets[row, np.where(scored, values, -1.0)[subsets].argmax(axis=1)]
        best_right = (scored & is_right)[best]
        numbers, sums = table(scored.astype(np.float64)), table(values)
        takes_part = numbers > 0.0
        takes_part[:, nobody] = False
        weights = np.where(takes_part, sums, -1.0)
        top = weights.argmax(axis=1)
        # a vote is taken if the voters hold half of all reward, or are half of all samples if all rewards are 0
        held = np.where(sums.any(axis=1, keepdims=True), sums, numbers)
        surplus = held[:, :nobody].sum(axis=1) - held[:, nobody]
        is_vote = takes_part.any(axis=1) & (surplus >= 0.0)
        otherwise = best_right | (scored & column_is_right[columns])[best]
        weighted = np.asarray(np.where(is_vote, column_is_right[top], otherwise))
        near = (takes_part & (weights >= weights[row, top][:, None] - _NEAR)).sum(axis=1) > 1
        near |= takes_part.any(axis=1) & (np.abs(surplus) <= _NEAR)
        for place in np.flatnonzero(near):
            weighted[place] = weighted_vote(answers, right, rewards, subsets[place].tolist(), keys, right_keys)
        by_best["best_of_n", aggregate] = float(best_right.mean())
        by_weight["weighted_vote", aggregate] = float(weighted.mean())
    return {
        ("single", None): float(is_right.mean()),
        ("majority_vote", None): float(majority.mean()),
        **by_best,
        **by_weight,
        ("oracle", None): float(is_right[subsets].any(axis=1).mean()),
    }


def _check_subsets(subsets: npt.NDArray[np.intp], total: int) -> None:
    if subsets.ndim != 2 or not subsets.size:
        raise InputError(f"subsets must have the shape (subsets, n), not {subsets.shape}, and not be empty")
    if subsets.min() < 0 or subsets.max() >= total:
        raise InputError(f"subsets must hold indices from 0 to {total - 1}, one for each candidate")
    if (subsets[:, 1:] <= subsets[:, :-1]).any():
        raise InputError("the indices within a subset must ascend, each at most once")
