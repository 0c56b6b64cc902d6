"""Turns the numbers of a ranking into the probability that its answer is right: a logistic curve."""

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A part of a trust file: frozen, finite, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class Weight(Part):
    """How one number of a ranking (see `features`) contributes to its log-odds.

    Args:
        mean: Its mean in the fit.
        scale: Its standard deviation in the fit, above 0.
        weight: Log-odds for each standard deviation above the mean.
    """

    mean: float
    scale: float = Field(gt=0.0)
    weight: float


def probability(found: Mapping[str, float], intercept: float, weights: Mapping[str, Weight]) -> float:
    """The probability that an answer is right, in [0, 1].

    Args:
        found: The numbers of its ranking.
        intercept: Log-odds if all numbers are at their means.
        weights: How the numbers contribute; those without a weight do not.

    Example:
        >>> probability({"share": 0.8}, 0.0, {"share": Weight(mean=0.8, scale=0.1, weight=2.0)})
        0.5
    """
    odds = intercept + math.fsum(w.weight * (found[name] - w.mean) / w.scale for name, w in weights.items())
    small = math.exp(-min(abs(odds), 700.0))  # exp of a large number would overflow
    return (1.0 if odds > 0 else small) / (1.0 + small)
