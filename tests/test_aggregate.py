import math
from fractions import Fraction
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.aggregate import AGGREGATES, FAVOURS_FEW_STEPS, aggregate_rewards
from medprm_scorer.errors import InputError, ScoringError
from tests.support.properties import examples

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
        ("min_of_three", (0.125 * 3 + 0.25) / 4),
    ],
)
def test_values(aggregate, expected):
    assert aggregate_rewards([0.5, 0.125, 0.5, 0.25], aggregate) == pytest.approx(expected, rel=1e-15)


def test_names():
    assert AGGREGATES == ("min", "last", "mean", "prod", "geomean", "max", "min_of_three")


@given(REWARDS)
def test_against_exact_arithmetic(rewards):
    exact = [Fraction(reward) for reward in rewards]
    assert aggregate_rewards(rewards, "mean") == pytest.approx(float(sum(exact) / len(exact)), rel=1e-14)
    assert aggregate_rewards(rewards, "prod") == pytest.approx(float(math.prod(exact)), rel=1e-13, abs=1e-300)
    assert aggregate_rewards(rewards, "last") == rewards[-1]


@given(REWARDS)
def test_bounds(rewards):
    for aggregate in ("min", "last", "mean", "geomean", "max"):
        assert min(rewards) <= aggregate_rewards(rewards, aggregate) <= max(rewards)
    assert 0.0 <= aggregate_rewards(rewards, "prod") <= min(rewards)
    assert aggregate_rewards(rewards, "geomean") <= aggregate_rewards(rewards, "mean") * (1 + 1e-12) + 1e-300


@given(st.floats(0.0, 1.0), st.integers(1, 50))
def test_equal_rewards_give_that_reward(reward, count):
    for aggregate in ("min", "last", "mean", "geomean", "max"):
        assert aggregate_rewards([reward] * count, aggregate) == reward


@given(REWARDS, st.randoms())
def test_order_matters_only_to_last(rewards, random):
    shuffled = random.sample(rewards, len(rewards))
    for aggregate in ("min", "mean", "geomean", "max", "min_of_three"):
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
        0,
    ]


def test_unknown_aggregate_lists_the_known():
    with pytest.raises(InputError, match="min, last, mean, prod, geomean, max"):
        aggregate_rewards([0.5], "median")


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_what_is_no_probability_raises(aggregate):
    for rewards in ([], [math.nan], [0.5, math.nan], [math.inf], [-0.01], [0.5, 1.01, 0.5]):
        with pytest.raises(ScoringError):
            aggregate_rewards(rewards, aggregate)


# --- the minimum that does not favour few steps ---


@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=9))
def test_min_of_three_is_the_mean_over_all_threes(rewards):
    threes = [min(three) for three in combinations(rewards, 3)]
    assert aggregate_rewards(rewards, "min_of_three") == pytest.approx(math.fsum(threes) / len(threes), abs=1e-12)


@settings(max_examples=examples(30))
@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=4))
def test_min_of_three_is_the_same_on_average_for_every_number_of_steps(values):
    """Over all chains of k steps whose rewards are drawn from the same values, from three steps on."""

    def average(aggregate, count):
        chains = list(product(values, repeat=count))
        return math.fsum(aggregate_rewards(chain, aggregate) for chain in chains) / len(chains)

    expected = average("min", 3)
    assert [average("min_of_three", count) for count in (3, 4, 5)] == pytest.approx([expected] * 3, abs=1e-9)
    if max(values) - min(values) > 1e-3:
        assert average("min", 4) < expected  # which is what `min` does


def test_min_of_three_is_the_same_on_average_for_fewer_steps_if_rewards_are_spread_evenly():
    grid = [(place + 0.5) / 400 for place in range(400)]
    one = math.fsum(aggregate_rewards([reward], "min_of_three") for reward in grid) / len(grid)
    two = math.fsum(aggregate_rewards(pair, "min_of_three") for pair in product(grid, grid)) / len(grid) ** 2
    assert [one, two] == pytest.approx([0.25, 0.25], abs=0.002)  # the smallest of three evenly spread numbers: 1/4


@given(REWARDS, st.integers(0, 29), st.floats(0.0, 1.0))
def test_no_aggregate_falls_when_a_reward_rises(rewards, place, raised):
    place %= len(rewards)
    higher = [*rewards[:place], max(rewards[place], raised), *rewards[place + 1 :]]
    for aggregate in AGGREGATES:
        before, after = aggregate_rewards(rewards, aggregate), aggregate_rewards(higher, aggregate)
        assert 0.0 <= before <= after + 1e-12
        assert after <= 1.0


@given(REWARDS.filter(lambda rewards: len(rewards) >= 2))
def test_a_chain_that_is_not_split_gains_under_min_and_not_under_min_of_three(rewards):
    """One reward for all, the highest that a step could have, at least as good as any step."""
    high = max(rewards)
    for aggregate in FAVOURS_FEW_STEPS:
        assert aggregate_rewards([high], aggregate) >= aggregate_rewards(rewards, aggregate)
    assert aggregate_rewards([high], "min_of_three") <= aggregate_rewards([high] * 2, "min_of_three") <= high + 1e-15


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10_000])
def test_min_of_three_at_the_ends(count):
    assert aggregate_rewards([0.0] * count, "min_of_three") == 0.0
    assert aggregate_rewards([1.0] * count, "min_of_three") == 1.0
    assert 0.0 < aggregate_rewards([1e-300] * count, "min_of_three") <= 1e-300
