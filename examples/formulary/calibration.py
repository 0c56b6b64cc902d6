"""Whether rewards mean what they say: of the steps with a reward near 0.8, are 80 % valid?

Rewards fall into equal-width bins; in each, the mean reward is compared with the share of valid steps. The expected
calibration error is the mean gap between the two, each bin weighted by its count (Guo et al. 2017, arXiv 1706.04599,
with P(+) in the place of the confidence).
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from medprm_scorer.errors import InputError


@dataclass(frozen=True)
class Bin:
    """The steps whose rewards are alike.

    Args:
        low: Smallest reward of the bin, included.
        high: Its upper end, included in the last bin only.
        count: Number of steps, at least 1.
        mean_reward: Mean of their rewards, in [0, 1].
        share_valid: Part of them that is valid, in [0, 1].
    """

    low: float
    high: float
    count: int
    mean_reward: float
    share_valid: float


def reliability(rewards: Sequence[float], valid: Sequence[bool], bins: int = 15) -> list[Bin]:
    """Mean reward and share of valid steps in bins of equal width on [0, 1].

    Args:
        rewards: P(+) of each step, in [0, 1].
        valid: Whether each of these steps is valid.
        bins: Number of bins, at least 1; 15 as in Guo et al.

    Returns:
        The bins that hold a step, from low to high.

    Raises:
        InputError: There are no rewards, the two differ in length, a reward is NaN or outside [0, 1], a label is not
            true or false, or there is not at least one bin.

    Example:
        >>> reliability([0.25, 0.75, 1.0, 0.75], [False, True, True, False], bins=2)[1]
        Bin(low=0.5, high=1.0, count=3, mean_reward=0.8333333333333334, share_valid=0.6666666666666666)
    """
    if bins < 1:
        raise InputError("there must be at least one bin")
    if not len(rewards):
        raise InputError("there are no rewards to judge")
    if len(rewards) != len(valid):
        raise InputError(f"there are {len(rewards)} rewards and {len(valid)} labels: give one label for each reward")
    edges = [place / bins for place in range(bins + 1)]
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for place, (reward, label) in enumerate(zip(rewards, valid, strict=True)):
        if not 0.0 <= reward <= 1.0:  # also false for NaN
            raise InputError(f"the reward at [{place}] is not in [0, 1]")
        if label not in (True, False):
            raise InputError(f"the label at [{place}] is not true or false")
        # by the edges themselves: 0.57 · 100 is 56.99…, which would put 0.57 below its own edge
        members[min(bisect_right(edges, reward), bins) - 1].append((float(reward), bool(label)))
    return [
        Bin(
            low=edges[place],
            high=edges[place + 1],
            count=len(steps),
            mean_reward=math.fsum(reward for reward, _ in steps) / len(steps),
            share_valid=sum(label for _, label in steps) / len(steps),
        )
        for place, steps in enumerate(members)
        if steps
    ]


def expected_calibration_error(rewards: Sequence[float], valid: Sequence[bool], bins: int = 15) -> float:
    """Mean gap between reward and share of valid steps, each bin weighted by its count.

    Args:
        rewards: P(+) of each step, in [0, 1].
        valid: Whether each of these steps is valid.
        bins: Number of bins, at least 1.

    Returns:
        A number in [0, 1]; 0 is perfect. Few steps in many bins make it larger than it is, by chance alone.

    Raises:
        InputError: As in `reliability`.

    Example:
        >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False])
        0.0
        >>> expected_calibration_error([0.75, 0.25], [False, True])
        0.75
    """
    filled = reliability(rewards, valid, bins)
    gaps = [step_bin.count * abs(step_bin.mean_reward - step_bin.share_valid) for step_bin in filled]
    return math.fsum(gaps) / len(rewards)
