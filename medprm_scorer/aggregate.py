"""Reduces the rewards of a chain's steps to one reward for the chain.

`min` is the paper's choice (arXiv 2506.11474): a chain is as good as its worst step. A follow-up (arXiv 2604.09482)
finds `mean` better for the same kind of model, so the choice is left to the caller.

`min` and `prod` favour chains with few steps: the more steps, the more chances of a low reward. `min_of_three` is a
minimum that does not. For a chain with k ≥ 3 rewards r₁ ≤ … ≤ r_k it is the expected smallest of three steps drawn
without replacement,

    Σ rᵢ C(k − i, 2) / C(k, 3),    i = 1 … k − 2,

an unbiased estimate (a U-statistic) of the smallest of three such steps: if all steps have the same distribution, its
mean is the same for every k. The number is three because the authors keep chains of 3 to 9 steps (`2 < steps < 10`,
`python/3_test_dataset_sampling.py` in eth-medical-ai-lab/Med-PRM), so the shortest of these keep their `min`. With k =
1 or 2 there are no three steps to draw, and the smallest reward would be too high. It becomes 1 − (1 − min)^(k/3): if
rewards are uniform on [0, 1], this is the same quantile of the smallest of three as `min` is of the smallest of k. So a
chain that could not be split does not win because of that.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from medprm_scorer.errors import ScoringError, check_choice

Aggregate = Literal["min", "last", "mean", "prod", "geomean", "max", "min_of_three"]
"""How the rewards of a chain's steps become one."""

AGGREGATES: tuple[str, ...] = get_args(Aggregate)
"""The names that `aggregate_rewards` takes. `geomean` is the product, corrected for the chain's length."""

FAVOURS_FEW_STEPS: tuple[str, ...] = ("min", "prod")
"""Aggregates under which a chain gains from a split into fewer steps."""


def aggregate_rewards(rewards: Sequence[float], aggregate: str) -> float:
    """Reduce the rewards of a chain's steps to one.

    Args:
        rewards: P(+) of each step, in order, each in [0, 1].
        aggregate: One of `AGGREGATES`.

    Returns:
        A number in [0, 1]; for all but `prod` and `min_of_three` between the smallest and the largest reward.

    Raises:
        InputError: The aggregate is unknown.
        ScoringError: There are no rewards, or one is NaN or outside [0, 1].

    Example:
        >>> aggregate_rewards([0.9, 0.4, 0.8], "min")
        0.4
        >>> aggregate_rewards([0.5, 0.125], "geomean")
        0.25
        >>> [round(aggregate_rewards([0.9] * k, "min_of_three"), 3) for k in (1, 2, 3, 9)]
        [0.536, 0.785, 0.9, 0.9]
    """
    check_choice("aggregate", aggregate, AGGREGATES)
    values = [float(reward) for reward in rewards]
    if not values:
        raise ScoringError("a chain without steps has no reward")
    for place, value in enumerate(values):
        if not 0.0 <= value <= 1.0:  # also false for NaN
            raise ScoringError(f"the reward of step [{place}] is {value}, not a probability: check the model's dtype")
    low, high = min(values), max(values)
    if aggregate == "min":
        return low
    if aggregate == "max":
        return high
    if aggregate == "last":
        return values[-1]
    if aggregate == "prod":
        return math.prod(values)
    if aggregate == "min_of_three":
        return _min_of_three(sorted(values))
    if aggregate == "mean":
        result = math.fsum(values) / len(values)
    elif low == 0.0:
        result = 0.0
    else:  # with logarithms, since the product of a long chain could underflow to 0 before the root is taken
        result = math.exp(math.fsum(map(math.log, values)) / len(values))
    return min(max(result, low), high)  # rounding may exceed the bounds by one unit in the last place


def _min_of_three(ascending: Sequence[float]) -> float:
    """See the docstring of this module."""
    count = len(ascending)
    if count < 3:
        low = ascending[0]
        return -math.expm1(math.log1p(-low) * count / 3) if low < 1.0 else 1.0  # 1 − (1 − low)^(count/3), exact near 0
    draws = math.comb(count, 3)
    # weights as exact fractions: they add up to 1, so equal rewards give that reward
    total = math.fsum(reward * (math.comb(count - place, 2) / draws) for place, reward in enumerate(ascending, start=1))
    return min(max(total, ascending[0]), ascending[-1])
