"""From the rewards of a chain's steps to one reward for the chain.

`min` is the paper's choice (arXiv 2506.11474): a chain is as good as its worst step. A follow-up (arXiv 2604.09482)
finds `mean` ahead for the same kind of model, so the choice is the caller's.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from medprm_scorer.errors import ScoringError, check_choice

Aggregate = Literal["min", "last", "mean", "prod", "geomean", "max"]
"""How the rewards of a chain's steps become one."""

AGGREGATES: tuple[str, ...] = get_args(Aggregate)
"""The names that `aggregate_rewards` takes. `geomean` is the product freed of the chain's length."""


def aggregate_rewards(rewards: Sequence[float], aggregate: str) -> float:
    """Reduce the rewards of a chain's steps to one.

    Args:
        rewards: P(+) of each step, in order, each in [0, 1].
        aggregate: One of `AGGREGATES`.

    Returns:
        A number in [0, 1]; for all but `prod` it lies between the smallest and the largest reward.

    Raises:
        InputError: The aggregate is unknown.
        ScoringError: There are no rewards, or one is NaN or outside [0, 1].

    Example:
        >>> aggregate_rewards([0.9, 0.4, 0.8], "min")
        0.4
        >>> aggregate_rewards([0.5, 0.125], "geomean")
        0.25
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
    if aggregate == "mean":
        result = math.fsum(values) / len(values)
    elif low == 0.0:
        result = 0.0
    else:  # by logarithms, since the product of a long chain would be 0 before its root is taken
        result = math.exp(math.fsum(map(math.log, values)) / len(values))
    return min(max(result, low), high)  # rounding may step over the bounds by one unit in the last place
