import doctest
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.formulary import calibration
from examples.formulary.calibration import expected_calibration_error, reliability
from medprm_scorer.errors import InputError

# Many rewards on the edges of some bins, and anything else
REWARDS = st.one_of(
    st.builds(lambda place, bins: min(place, bins) / bins, st.integers(0, 20), st.integers(1, 20)), st.floats(0, 1)
)
STEPS = st.lists(st.tuples(REWARDS, st.booleans()), min_size=1, max_size=40)


@given(STEPS, st.integers(1, 20))
def test_equals_the_definition_in_exact_numbers(steps, bins):
    error = Fraction(0)
    expected = []
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        inside = [(r, v) for r, v in steps if low <= r and (r < high or place == bins - 1)]
        if inside:
            mean = sum(Fraction(r) for r, _ in inside) / len(inside)
            share = Fraction(sum(v for _, v in inside), len(inside))
            expected.append((low, high, len(inside), pytest.approx(float(mean)), pytest.approx(float(share))))
            error += Fraction(len(inside), len(steps)) * abs(mean - share)
    rewards, valid = zip(*steps, strict=True)
    found = reliability(rewards, valid, bins)
    assert [(b.low, b.high, b.count, b.mean_reward, b.share_valid) for b in found] == expected
    assert expected_calibration_error(rewards, valid, bins) == pytest.approx(float(error), abs=1e-12)


@given(STEPS, st.integers(1, 20), st.randoms())
def test_invariants(steps, bins, chance):
    rewards, valid = zip(*steps, strict=True)
    error = expected_calibration_error(rewards, valid, bins)
    assert 0.0 <= error <= 1.0
    overall_gap = abs(math.fsum(rewards) - sum(valid)) / len(steps)
    assert error >= overall_gap - 1e-12  # gaps of one sign cannot cancel more than all gaps do
    if bins == 1:
        assert error == pytest.approx(overall_gap, abs=1e-12)
    found = reliability(rewards, valid, bins)
    assert sum(b.count for b in found) == len(steps)
    assert all(b.low - 1e-12 <= b.mean_reward <= b.high + 1e-12 for b in found)
    chance.shuffle(steps)
    shuffled = zip(*steps, strict=True)
    assert reliability(*shuffled, bins) == found  # type: ignore[call-arg]


def test_numpy_gives_the_same():
    chance = np.random.default_rng(0)
    rewards, valid = chance.random(500), chance.random(500) < 0.3
    place = np.minimum(np.digitize(rewards, np.arange(16) / 15), 15)
    gaps = [(place == k).mean() * abs(rewards[place == k].mean() - valid[place == k].mean()) for k in range(1, 16)]
    assert expected_calibration_error(rewards, valid) == pytest.approx(sum(gaps))


def test_honest_rewards_have_little_error_and_overconfident_ones_much():
    chance = random.Random(0)
    truth = [chance.random() for _ in range(40_000)]
    valid = [chance.random() < p for p in truth]
    assert expected_calibration_error(truth, valid) < 0.02
    sharpened = [p**4 / (p**4 + (1 - p) ** 4) for p in truth]
    # E|s(p) - p| for uniform p, by the midpoint rule: the bins of s are on one side of 1/2 each, but for the middle one
    grid = [(k + 0.5) / 10_000 for k in range(10_000)]
    gap = sum(abs(p**4 / (p**4 + (1 - p) ** 4) - p) for p in grid) / 10_000
    assert expected_calibration_error(sharpened, valid) == pytest.approx(gap, abs=0.02)


@pytest.mark.parametrize("reward", [0.0, 0.3, 0.5, 1.0])
def test_a_constant_reward_is_off_by_its_distance_from_the_share(reward):
    valid = [True] * 7 + [False] * 13
    (only,) = reliability([reward] * 20, valid)
    assert (only.count, only.share_valid) == (20, 0.35)
    assert expected_calibration_error([reward] * 20, valid) == pytest.approx(abs(reward - 0.35))


def test_the_two_extremes():
    assert expected_calibration_error([0.0, 1.0], [False, True]) == 0.0
    assert expected_calibration_error([0.0, 1.0], [True, False]) == 1.0


@pytest.mark.parametrize("bins", [1, 3, 10, 15, 49, 100])
def test_an_edge_belongs_to_the_bin_above_it_and_one_to_the_last(bins):
    edges = [place / bins for place in range(bins + 1)]
    lows = [b.low for edge in edges for b in reliability([edge], [True], bins)]
    assert lows == [*edges[:-1], edges[-2]]


@pytest.mark.parametrize(
    ("rewards", "valid", "bins", "message"),
    [
        ([], [], 15, "no rewards"),
        ([0.5], [], 15, "1 rewards and 0 labels"),
        ([0.5, math.nan], [True, True], 15, r"\[1\]"),
        ([-1e-9], [True], 15, r"\[0\]"),
        ([0.5, 0.5, 1.0000001], [True] * 3, 15, r"\[2\]"),
        ([0.5, 0.5], [True, "False"], 15, r"label at \[1\]"),
        ([0.5], [None], 15, r"label at \[0\]"),
        ([0.5], [True], 0, "at least one bin"),
    ],
)
def test_what_cannot_be_judged_is_refused(rewards, valid, bins, message):
    for judge in (reliability, expected_calibration_error):
        with pytest.raises(InputError, match=message):
            judge(rewards, valid, bins)


def test_examples_run():
    assert doctest.testmod(calibration) == doctest.TestResults(failed=0, attempted=3)
