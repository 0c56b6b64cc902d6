"""The tails of the binomial distribution agree with exact fractions."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.trust.binomial import clopper_pearson, fewest_trials, lower_tail, upper_bound


def exact(successes: int, trials: int, probability: Fraction) -> Fraction:
    return sum(
        (comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(successes + 1)),
        Fraction(0),
    )


@given(st.integers(0, 120), st.integers(-1, 121), st.integers(1, 99))
def test_the_tail_is_exact(trials, successes, percent):
    found = lower_tail(successes, trials, percent / 100)
    assert found == pytest.approx(float(exact(min(successes, trials), trials, Fraction(percent, 100))), abs=1e-12)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_certain_trials(probability):
    assert lower_tail(3, 7, probability) == 1.0 - probability


def test_large_numbers_neither_overflow_nor_take_long():
    assert lower_tail(50_000, 1_000_000, 0.05) == pytest.approx(0.5, abs=0.002)
    assert lower_tail(0, 1_000_000, 0.05) == 0.0


@given(st.integers(1, 200), st.data())
def test_the_interval_is_where_the_tails_say(trials, data):
    successes = data.draw(st.integers(0, trials))
    low, high = clopper_pearson(successes, trials)
    assert 0.0 <= low <= successes / trials <= high <= 1.0
    if successes < trials:
        assert lower_tail(successes, trials, high) == pytest.approx(0.025, abs=1e-9)
    if successes:
        assert 1.0 - lower_tail(successes - 1, trials, low) == pytest.approx(0.025, abs=1e-9)


def test_of_no_trials_nothing_is_known():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert upper_bound(0, 0, 0.1) == 1.0


@given(st.integers(1, 60), st.integers(1, 60))
def test_one_trial_less_is_too_few(percent, delta):
    count = fewest_trials(percent / 100, delta / 100)
    assert lower_tail(0, count, percent / 100) <= delta / 100
    assert count == 1 or lower_tail(0, count - 1, percent / 100) > delta / 100
