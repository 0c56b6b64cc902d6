"""The effect of each document on the log-odds of a step: which prompts are needed, and the arithmetic. Only numbers.

A step's log-odds are ln(p / (1 - p)) for its reward p. A document's effect is a difference of log-odds between two
prompts that differ only in that document: `without`, with all other documents present (leave one out), and `alone`,
with none. Leave-one-out misses a document that another one repeats (arXiv 2507.04480), which `alone` shows. Shapley
values are the mean effect over random orders in which the documents are added.
"""

import math
import random
from collections.abc import Mapping, Sequence

from medprm_scorer.results.explanation import Effect

LIMIT = 24 * math.log(2)
"""Largest log-odds that can be distinguished, 16.6: a float32 reward closer to 1 than 2^-24 is 1."""

Shown = tuple[int, ...]
"""Indices of the documents in a prompt, ascending."""


def log_odds(reward: float) -> float:
    """ln(p / (1 - p)), limited to `LIMIT` in absolute value, so that rewards of 0 and 1 have finite ones.

    Args:
        reward: p, in [0, 1].

    Example:
        >>> round(log_odds(0.9), 3), round(log_odds(1.0), 1), round(log_odds(0.0), 1)
        (2.197, 16.6, -16.6)
    """
    if reward <= 0.0 or reward >= 1.0:
        return math.copysign(LIMIT, reward - 0.5)
    return max(-LIMIT, min(LIMIT, math.log(reward) - math.log1p(-reward)))


def orders(documents: int, permutations: int, seed: int) -> list[Shown]:
    """Random orders of the documents, each second one the reverse of the one before it, which lowers the noise.

    Args:
        documents: How many there are.
        permutations: How many orders.
        seed: A whole number.

    Example:
        >>> orders(3, 2, seed=0)
        [(1, 2, 0), (0, 2, 1)]
    """
    draw = random.Random(seed)
    found: list[Shown] = []
    while len(found) < permutations:
        order = draw.sample(range(documents), documents)
        found += [tuple(order), tuple(reversed(order))]
    return found[:permutations]


def plan(documents: int, permutations: Sequence[Shown] = ()) -> list[Shown]:
    """The sets of documents for the prompts: all, none, all but each, each alone, and the first k of each permutation.

    Args:
        documents: How many documents there are.
        permutations: Orders of all of them, for Shapley values.

    Returns:
        Each set of documents once, sorted so that neighbours share prefixes.

    Example:
        >>> plan(3)
        [(), (0,), (0, 1), (0, 1, 2), (0, 2), (1,), (1, 2), (2,)]
    """
    everything = tuple(range(documents))
    found = {everything, (), *((place,) for place in everything)}
    found |= {_but(everything, place) for place in everything}
    for order in permutations:
        found |= {tuple(sorted(order[:count])) for count in range(documents)}
    return sorted(found)


def effects(
    found: Mapping[Shown, Sequence[float]], documents: int, permutations: Sequence[Shown], noise: float
) -> list[Effect]:
    """The effect of each document on each step.

    Args:
        found: For each set of documents in `plan`, the log-odds of each step.
        documents: How many documents there are.
        permutations: The orders that were passed to `plan`.
        noise: Smallest effect that counts, in log-odds.

    Returns:
        By step, then by document.

    Example:
        >>> found = {(): [0.0], (0,): [3.0], (1,): [-1.0], (0, 1): [2.0]}
        >>> [(one.document, one.without, one.alone, one.verdict) for one in effects(found, 2, (), noise=1.0)]
        [(0, 3.0, 3.0, 'supports'), (1, -1.0, -1.0, 'contradicts')]
    """
    everything = tuple(range(documents))
    rows = []
    for step, (most, least) in enumerate(zip(found[everything], found[()], strict=True)):
        last = [most - found[_but(everything, place)][step] for place in everything]
        shared = most - least - math.fsum(last)  # the effect of all of them together beyond their individual effects
        if abs(shared) < max(map(abs, last), default=0.0):
            shared = 0.0  # smaller than an individual effect: noise of several prompts
        for place, without in enumerate(last):
            alone = found[(place,)][step] - least
            shapley = _shapley(found, place, step, permutations) if permutations else None
            moves, repeated = _moves(without, alone, shared, noise)
            if shapley is not None:
                moves = shapley
            rows.append(
                Effect(
                    step=step,
                    document=place,
                    without=without,
                    alone=alone,
                    shapley=shapley,
                    moves=moves,
                    verdict="nothing" if abs(moves) < noise else "supports" if moves > 0 else "contradicts",
                    repeated=repeated,
                )
            )
    return rows


def _moves(without: float, alone: float, shared: float, noise: float) -> tuple[float, bool]:
    """One number for a document, and whether others repeat it.

    This is its effect with all others present, if it has one. Otherwise others may repeat it: then it moves the step
    when it is alone, and all of them together move the step in that direction by more than the sum of their
    leave-one-out effects.
    """
    if abs(without) < noise <= min(abs(alone), abs(shared)) and alone * shared > 0:
        return math.copysign(min(abs(alone), abs(shared)), alone), True
    return without, False


def _shapley(found: Mapping[Shown, Sequence[float]], place: int, step: int, permutations: Sequence[Shown]) -> float:
    total = 0.0
    for order in permutations:
        before = order[: order.index(place)]
        total += found[tuple(sorted((*before, place)))][step] - found[tuple(sorted(before))][step]
    return total / len(permutations)


def _but(everything: Shown, place: int) -> Shown:
    return everything[:place] + everything[place + 1 :]
