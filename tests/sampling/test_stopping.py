"""Stopping rules as functions of answers and rewards: the posterior, its bounds, and where its promise holds."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.sampling.stopping import Agree, Confident, parse_rule, probability_of_staying_ahead, should_stop

WEIGHTS = st.floats(0.0, 500.0)


@given(st.integers(0, 120), st.integers(0, 120))
def test_whole_weights_equal_the_binomial_sum(leader, second):
    """P(Beta(1 + v, 1 + w) > 1/2) is the probability of at most v heads in v + w + 1 throws of a fair coin."""
    throws = leader + second + 1
    exact = sum(math.comb(throws, heads) for heads in range(leader + 1)) / 2**throws
    assert probability_of_staying_ahead(leader, second) == pytest.approx(exact, abs=1e-12)


@given(WEIGHTS, WEIGHTS)
def test_the_probability_is_one_and_symmetric_and_grows(leader, second):
    found = probability_of_staying_ahead(leader, second)
    assert 0.0 <= found <= 1.0
    assert found == pytest.approx(1.0 - probability_of_staying_ahead(second, leader), abs=1e-12)
    assert probability_of_staying_ahead(leader + 1.0, second) >= found - 1e-12


@pytest.mark.parametrize(("leader", "second"), [(0.5, 0.25), (7.3, 2.1), (40.5, 39.9), (300.0, 1.5)])
def test_weights_between_whole_numbers_equal_a_plain_integral(leader, second):
    steps = 200_000
    log_beta = math.lgamma(1 + leader) + math.lgamma(1 + second) - math.lgamma(2 + leader + second)
    width = 0.5 / steps
    points = (0.5 + (place + 0.5) * width for place in range(steps))
    mass = sum(math.exp(leader * math.log(p) + second * math.log1p(-p) - log_beta) for p in points) * width
    assert probability_of_staying_ahead(leader, second) == pytest.approx(mass, abs=1e-6)


def test_rewards_count_and_not_heads():
    rule = Confident(confidence=0.9)
    assert not should_stop([("A", 0.02)] * 6, rule)  # six chains that nobody believes
    assert should_stop([("A", 0.95)] * 4, rule)
    assert not should_stop([("A", 0.95)] * 4 + [("B", 0.9)] * 3, rule)
    assert should_stop([("A", 0.95)] * 4 + [("B", 0.01)] * 3, rule)


def test_bounds_come_before_the_posterior():
    assert not should_stop([("A", 1.0)] * 9, Confident(confidence=0.6, min_samples=10))
    assert should_stop([("A", 0.0), ("B", 0.0)], Confident(min_samples=1, max_samples=2))
    assert not should_stop([], Confident(min_samples=1))


def test_without_answers_the_best_reward_decides():
    rule = Confident(min_gain=0.01)
    assert should_stop([(None, 0.98), (None, 0.2), (None, 0.1)], rule)
    assert not should_stop([(None, 0.5), (None, 0.2), (None, 0.1)], rule)
    assert should_stop([(None, 0.5)] * 50, rule)
    # one weak voter among strong silent chains would not decide, so it does not stop either
    assert not should_stop([("B", 0.013), (None, 0.7), (None, 0.7), (None, 0.6)], rule)


def test_samples_that_could_not_be_scored_are_no_evidence():
    assert not should_stop([("A", None)] * 20, Confident())
    assert should_stop([("A", None)] * 20 + [("A", 0.95)] * 4, Confident())


@pytest.mark.parametrize("reward", [math.nan, -0.1, 1.1, math.inf])
def test_what_is_no_reward_is_refused(reward):
    with pytest.raises(InputError, match="not a probability"):
        should_stop([("A", 0.5), ("A", reward), ("B", 0.5)], Confident())


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence": 0.5},
        {"confidence": 1.0},
        {"confidence": math.nan},
        {"confidence": "0.9"},
        {"min_samples": 0},
        {"min_samples": True},
        {"min_samples": 4, "max_samples": 3},
        {"max_samples": 2.5},
        {"min_gain": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        Confident(**wrong)


@given(st.lists(st.tuples(st.sampled_from(["A", "B", None]), st.floats(0.0, 1.0)), max_size=30))
def test_a_stricter_rule_never_stops_earlier(samples):
    if should_stop(samples, Confident(confidence=0.95)):
        assert should_stop(samples, Confident(confidence=0.8))


def test_the_promise_holds_where_its_assumptions_do():
    """Questions whose true share p is uniform, as the prior says, and samples that are independent with reward 1.

    Looked at once, after a fixed number of samples, the leader is the truly more frequent answer in at least the share
    that the rule claims. (Looked at after every sample the share is lower: that is said at the head of the module.)
    """
    rng = random.Random(0)
    stopped = right = 0
    for _ in range(4000):
        share = rng.random()
        samples = [("A" if rng.random() < share else "B", 1.0) for _ in range(12)]
        if should_stop(samples, Confident(confidence=0.9, min_samples=1)):
            stopped += 1
            leader = max("AB", key=lambda answer: sum(answer == given for given, _ in samples))
            right += leader == ("A" if share > 0.5 else "B")
    assert stopped > 2000
    assert right / stopped >= 0.9


def test_agreement_counts_samples_and_not_rewards():
    assert should_stop([("A", 0.0), ("B", 1.0), ("A", None)], Agree(2))
    assert not should_stop([("A", 0.9), ("B", 0.9), (None, 0.9), (None, 0.9)], Agree(2))
    assert not should_stop([], Agree(2))


@pytest.mark.parametrize("wrong", [1, 0, -3, True, 2.0, "3"])
def test_an_agreement_of_fewer_than_two_is_refused(wrong):
    with pytest.raises(InputError, match="at least 2"):
        Agree(wrong)


@pytest.mark.parametrize(
    "rule", [Agree(2), Agree(17), Confident(), Confident(0.8125), Confident(confidence=0.99999999)]
)
def test_a_rule_is_read_from_its_name(rule):
    assert parse_rule(rule.name) == rule
    assert parse_rule(f" {rule.name.replace('=', ' = ')} ") == rule


def test_a_name_tells_rules_apart():
    assert parse_rule("agree") == Agree()
    assert parse_rule("confident") == Confident()
    assert Confident(min_samples=5, max_samples=9).name == "confident=0.85 min_samples=5 max_samples=9"


@pytest.mark.parametrize(
    "wrong", ["", "=", "agree=", "agree=x", "agree=2.5", "agree=1", "confident=", "confident=1", "confident=nan", "0.9"]
)
def test_what_is_no_rule_is_refused(wrong):
    with pytest.raises(InputError):
        parse_rule(wrong)
