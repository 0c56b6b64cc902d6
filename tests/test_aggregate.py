import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.aggregate import AGGREGATES, aggregate_rewards
from medprm_scorer.errors import InputError, ScoringError

REWARDS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        ("min", 0.125),
        ("last", 0.25),
        ("mean", 0.34375),
        ("prod", 0.0078125),
        ("geomean", 0.29730177875068026),
        ("max", 0.5),
    ],
)
def test_values(aggregate, expected):
    assert aggregate_rewards([0.5, 0.125, 0.5, 0.25], aggregate) == pytest.approx(expected, rel=1e-15)


def test_names():
    assert AGGREGATES == ("min", "last", "mean", "prod", "geomean", "max")


@settings(deadline=None)
@given(REWARDS)
def test_against_exact_arithmetic(rewards):
    exact = [Fraction(reward) for reward in rewards]
    assert aggregate_rewards(rewards, "mean") == pytest.approx(float(sum(exact) / len(exact)), rel=1e-14)
    assert aggregate_rewards(rewards, "prod") == pytest.approx(float(math.prod(exact)), rel=1e-13, abs=1e-300)
    assert aggregate_rewards(rewards, "last") == rewards[-1]


@settings(deadline=None)
@given(REWARDS)
def test_bounds(rewards):
    for aggregate in ("min", "last", "mean", "geomean", "max"):
        assert min(rewards) <= aggregate_rewards(rewards, aggregate) <= max(rewards)
    assert 0.0 <= aggregate_rewards(rewards, "prod") <= min(rewards)
    assert aggregate_rewards(rewards, "geomean") <= aggregate_rewards(rewards, "mean") * (1 + 1e-12) + 1e-300


@settings(deadline=None)
@given(st.floats(0.0, 1.0), st.integers(1, 50))
def test_equal_rewards_give_that_reward(reward, count):
    for aggregate in ("min", "last", "mean", "geomean", "max"):
        assert aggregate_rewards([reward] * count, aggregate) == reward


@settings(deadline=None)
@given(REWARDS, st.randoms())
def test_order_matters_only_to_last(rewards, random):
    shuffled = random.sample(rewards, len(rewards))
    for aggregate in ("min", "mean", "geomean", "max"):
        assert aggregate_rewards(shuffled, aggregate) == aggregate_rewards(rewards, aggregate)


def test_geomean_of_a_long_chain_does_not_underflow():
    assert aggregate_rewards([0.01, 0.04] * 5000, "geomean") == pytest.approx(0.02)
    assert aggregate_rewards([0.01, 0.04] * 5000, "prod") == 0.0


def test_geomean_with_a_zero_is_zero():
    assert aggregate_rewards([0.9, 0.0, 1.0], "geomean") == 0.0


def test_integers_are_rewards_too():
    assert [aggregate_rewards([1, 0, 1], aggregate) for aggregate in AGGREGATES] == [
        0,
        1,
        pytest.approx(2 / 3),
        0,
        0,
        1,
    ]


def test_unknown_aggregate_lists_the_known():
    with pytest.raises(InputError, match="min, last, mean, prod, geomean, max"):
        aggregate_rewards([0.5], "median")


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_what_is_no_probability_raises(aggregate):
    for rewards in ([], [math.nan], [0.5, math.nan], [math.inf], [-0.01], [0.5, 1.01, 0.5]):
        with pytest.raises(ScoringError):
            aggregate_rewards(rewards, aggregate)
