"""The arithmetic of effects, on log-odds that are made up."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.trust.effects import LIMIT, effects, log_odds, orders, plan


@given(st.floats(0, 1))
def test_log_odds_are_finite_monotone_and_symmetric(reward):
    assert abs(log_odds(reward)) <= LIMIT
    assert log_odds(reward) <= log_odds(min(1.0, reward + 0.01))
    assert math.isclose(log_odds(1 - reward), -log_odds(1 - (1 - reward)), abs_tol=1e-3)


@given(st.integers(0, 6), st.integers(0, 5), st.integers(0, 99))
def test_the_plan_holds_each_set_once_and_all_that_effects_need(documents, permutations, seed):
    random_orders = orders(documents, permutations, seed)
    shown = plan(documents, random_orders)
    assert len(shown) == len(set(shown)) <= 2**documents
    effects({places: [0.0] for places in shown}, documents, random_orders, noise=1.0)  # a missing one is a KeyError


@pytest.mark.parametrize("documents", [0, 1, 2, 5, 20])
def test_leave_one_out_and_alone_need_two_prompts_for_each_document(documents):
    assert len(plan(documents)) == {0: 1, 1: 2, 2: 4}.get(documents, 2 * documents + 2)


def worth(function, documents, permutations=()):
    return {shown: [function(set(shown))] for shown in plan(documents, permutations)}


def test_shapley_values_add_up_and_all_orders_give_the_exact_ones():
    draw = random.Random(0)
    value = {places: draw.gauss(0, 3) for size in range(5) for places in itertools.combinations(range(4), size)}
    every_order = list(itertools.permutations(range(4)))
    rows = effects(worth(lambda s: value[tuple(sorted(s))], 4, every_order), 4, every_order, 1.0)
    for row in rows:  # the formula by sizes, as a twin of the one by orders
        rest = [place for place in range(4) if place != row.document]
        exact = sum(
            math.factorial(size)
            * math.factorial(3 - size)
            / math.factorial(4)
            * (value[tuple(sorted((*some, row.document)))] - value[some])
            for size in range(4)
            for some in itertools.combinations(rest, size)
        )
        assert row.shapley == pytest.approx(exact)
    assert sum(row.shapley for row in rows) == pytest.approx(value[0, 1, 2, 3] - value[()])
    few = orders(4, 3, seed=1)
    some = effects(worth(lambda s: value[tuple(sorted(s))], 4, few), 4, few, 1.0)
    assert sum(row.shapley for row in some) == pytest.approx(value[0, 1, 2, 3] - value[()])


def verdicts(function, documents=3):
    return [(row.verdict, row.repeated) for row in effects(worth(function, documents), documents, (), 1.0)]


def test_one_document_that_carries_a_step():
    assert verdicts(lambda s: 4.0 * (1 in s)) == [("nothing", False), ("supports", False), ("nothing", False)]


def test_a_document_that_another_repeats_is_seen_alone():
    assert verdicts(lambda s: 4.0 * bool({0, 2} & s)) == [("supports", True), ("nothing", False), ("supports", True)]


def test_two_documents_that_are_needed_together():
    assert verdicts(lambda s: 4.0 * ({0, 2} <= s)) == [("supports", False), ("nothing", False), ("supports", False)]


def test_a_contradiction_and_a_repeated_contradiction():
    assert verdicts(lambda s: 2.0 - 5.0 * (0 in s)) == [("contradicts", False), ("nothing", False), ("nothing", False)]
    assert verdicts(lambda s: -5.0 * bool({0, 1} & s))[:2] == [("contradicts", True), ("contradicts", True)]


def test_effects_below_the_noise_are_nothing():
    assert verdicts(lambda s: 0.9 * (0 in s)) == [("nothing", False)] * 3
