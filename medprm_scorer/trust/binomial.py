"""Exact probabilities of the binomial distribution, for bounds on a risk. Uses only the standard library."""

import math
from collections.abc import Callable

_NEGLIGIBLE = 1e-17  # relative to a sum: below the rounding of a float
_HALVINGS = 60


def lower_tail(successes: int, trials: int, probability: float) -> float:
    """P(X <= successes) for X with the binomial distribution.

    Args:
        successes: Any whole number.
        trials: At least 0.
        probability: Probability of success in each trial, in [0, 1].

    Returns:
        A probability, exact to about 12 digits.

    Example:
        >>> lower_tail(0, 45, 0.05) <= 0.1 < lower_tail(0, 44, 0.05)
        True
    """
    if successes < 0:
        return 0.0
    if successes >= trials or probability <= 0.0:
        return 1.0
    if probability >= 1.0:
        return 0.0
    odds = probability / (1.0 - probability)
    # from the term nearest to the mean outwards, so that the terms decrease
    if successes <= trials * probability:
        return min(1.0, _sum(successes, trials, probability, lambda k: (k - 1, k / (trials - k + 1) / odds)))
    above = _sum(successes + 1, trials, probability, lambda k: (k + 1, (trials - k) / (k + 1) * odds))
    return max(0.0, 1.0 - above)


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a proportion (Clopper and Pearson 1934).

    Args:
        successes: From 0 to `trials`.
        trials: At least 0; with none, the interval is all of [0, 1].
        level: Coverage, above 0 and below 1.

    Example:
        >>> low, high = clopper_pearson(0, 45, 0.9)
        >>> low, round(high, 4)
        (0.0, 0.0644)
    """
    tail = (1.0 - level) / 2
    low = 0.0 if successes <= 0 else _where(lambda p: 1.0 - lower_tail(successes - 1, trials, p) < tail)
    return low, upper_bound(successes, trials, tail)


def upper_bound(successes: int, trials: int, delta: float) -> float:
    """The largest proportion that is compatible with so few successes: below the truth with a probability of `delta`.

    Args:
        successes: From 0 to `trials`.
        trials: At least 0.
        delta: Above 0 and below 1.

    Example:
        >>> round(upper_bound(0, 45, 0.1), 4)
        0.0499
    """
    if successes >= trials:
        return 1.0
    return _where(lambda p: lower_tail(successes, trials, p) > delta)


def fewest_trials(risk: float, delta: float) -> int:
    """How many trials without any failure show that the risk is at most `risk`, with a probability of error of `delta`.

    Example:
        >>> fewest_trials(0.05, 0.1)
        45
    """
    count = max(1, math.ceil(math.log(delta) / math.log1p(-risk)))
    return count if lower_tail(0, count, risk) <= delta else count + 1  # if rounding decides


def _sum(first: int, trials: int, probability: float, step: Callable[[int], tuple[int, float]]) -> float:
    """The terms from `first` outwards, until they are negligible."""
    term = math.exp(
        math.lgamma(trials + 1)
        - math.lgamma(first + 1)
        - math.lgamma(trials - first + 1)
        + first * math.log(probability)
        + (trials - first) * math.log1p(-probability)
    )
    total, place = 0.0, first
    while 0 <= place <= trials and term > total * _NEGLIGIBLE:
        total += term
        place, ratio = step(place)
        term *= ratio
    return total


def _where(is_low: Callable[[float], bool]) -> float:
    """The largest number in [0, 1] for which the test holds."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_low(middle) else (low, middle)
    return high
