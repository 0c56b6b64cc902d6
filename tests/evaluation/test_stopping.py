"""Simulated stopping rules agree with the rule and the vote themselves, sample by sample, and the figures add up."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medprm_scorer.evaluation import stopping
from medprm_scorer.evaluation.choices import Candidates, weighted_vote
from medprm_scorer.evaluation.stopping import draw_orders, probabilities_of_staying_ahead, simulate
from medprm_scorer.sampling.stopping import Agree, Confident, probability_of_staying_ahead, should_stop
from medprm_scorer.text.answers import DECLINED
from tests.support.plain_stopping import simulate_plain

# Few answers and few rewards, so that ties of every kind are common; tenths, so that plain sums depend on their order.
ANSWERS = st.sampled_from([None, " ", "A", "(a)", "B", "C", DECLINED])
COARSE = st.sampled_from([None, 0.0, 0.1, 0.2, 0.3, 0.9, 1.0, 1e-12])
RULES = (
    Agree(2),
    Agree(4),
    Confident(0.6, min_samples=1),
    Confident(0.75, min_samples=1, min_gain=0.2),
    Confident(0.9),
    Confident(0.9375),  # three rewards of 1 reach it exactly
    Confident(0.99, min_samples=5, max_samples=7),
)


@st.composite
def questions(draw):
    total = draw(st.integers(1, 12))
    column = {"min_size": total, "max_size": total}
    rewards = draw(st.lists(draw(st.sampled_from([COARSE, st.floats(0.0, 1.0)])), **column))
    return Candidates(
        tuple(draw(st.lists(ANSWERS, **column))), tuple(draw(st.lists(st.booleans(), **column))), tuple(rewards)
    )


@settings(deadline=None, max_examples=400)
@given(st.lists(questions(), min_size=1, max_size=4), st.integers(1, 14), st.integers(0, 99))
@example([Candidates(("A", "B", "A"), (False, True, False), (0.1, 0.3, 0.2))], 3, 0)  # 0.1 + 0.2 > 0.3
@example([Candidates(("A",) * 4, (True,) * 4, (1.0,) * 4)], 4, 0)
def test_fast_and_plain_agree_exactly_whatever_else_is_in_the_block(block, most, seed):
    orders = [draw_orders(len(one.right), most, 3, [seed, place]) for place, one in enumerate(block)]
    found = simulate(block, orders, RULES)
    for question, order, stops in zip(block, orders, found, strict=True):
        plain = simulate_plain(question, order.tolist(), RULES)
        assert (stops.fixed.tolist(), stops.right.tolist(), stops.drawn.tolist()) == plain


def made_up(seed: int, total: int, coarse: bool) -> Candidates:
    """A question whose right chains have somewhat higher rewards; some chains lack an answer or a reward."""
    draw = np.random.default_rng(seed)
    answers = [[None, "A", "A", "b", "(B)", "c", DECLINED][i] for i in draw.integers(0, 7, total)]
    right = [answer == "A" for answer in answers]
    rewards = draw.beta(2, 2, total) * np.where(right, 1.0, 0.7)
    if coarse:
        rewards = rewards.round(1)
    known = draw.random(total) < 0.95
    return Candidates(
        tuple(answers), tuple(right), tuple(float(r) if k else None for r, k in zip(rewards, known, strict=True))
    )


@pytest.mark.parametrize("coarse", [False, True])
def test_many_candidates_agree_with_the_plain_twin(coarse):
    block = [made_up(seed, total, coarse) for seed, total in enumerate((64, 40, 1, 64))]
    orders = [draw_orders(len(one.right), 64, 4, [7, place]) for place, one in enumerate(block)]
    for question, order, stops in zip(block, orders, simulate(block, orders, RULES), strict=True):
        plain = simulate_plain(question, order.tolist(), RULES)
        assert (stops.fixed.tolist(), stops.right.tolist(), stops.drawn.tolist()) == plain


def test_only_what_is_close_goes_to_the_plain_functions(monkeypatch):
    asked = []
    monkeypatch.setattr(stopping, "weighted_vote", lambda *args: asked.append("vote") or weighted_vote(*args))
    monkeypatch.setattr(stopping, "should_stop", lambda *args: asked.append("rule") or should_stop(*args))
    question = made_up(3, 64, coarse=False)
    simulate([question], [draw_orders(64, 64, 20, [0])], RULES)
    assert not asked
    tied = Candidates(("A", "B", "A", "A"), (True, False, True, True), (0.9, 0.9, 1.0, 1.0))
    simulate([tied], [np.array([[0, 1, 2, 3]])], [Confident(0.9, min_samples=1)])
    assert asked == ["vote"]
    asked.clear()
    simulate([Candidates(("A",) * 4, (True,) * 4, (1.0,) * 4)], [np.array([[0, 1, 2, 3]])], [Confident(0.9375)])
    assert asked == ["rule"]


@given(st.lists(st.tuples(st.floats(0.0, 300.0), st.floats(0.0, 300.0)), min_size=1, max_size=20))
def test_many_probabilities_are_those_of_one(pairs):
    leader, second = (np.array(part) for part in zip(*((max(pair), min(pair)) for pair in pairs), strict=True))
    plain = [probability_of_staying_ahead(one, other) for one, other in zip(leader, second, strict=True)]
    assert probabilities_of_staying_ahead(leader, second) == pytest.approx(plain, abs=1e-11)


def test_orders_are_seeded_and_fair():
    orders = draw_orders(10, 3, 2000, [4, 2])
    assert orders.shape == (2000, 3)
    assert all(len(set(row)) == 3 for row in orders.tolist())
    assert orders.tolist() == draw_orders(10, 3, 2000, [4, 2]).tolist()
    assert orders.tolist() != draw_orders(10, 3, 2000, [4, 3]).tolist()
    for place in range(3):  # 5 standard errors
        assert np.abs(np.bincount(orders[:, place], minlength=10) / 2000 - 0.1).max() < 0.034
