"""AUROC, calibration and the F1 of the first error agree with lines that share no code with them."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.evaluation.step_labels.figures import (
    CORRECT,
    UNDETERMINED,
    ChainTable,
    StepTable,
    auroc,
    first_error,
    predicted_error,
    step_figures,
)
from medprm_scorer.trust.calibration import reliability
from tests.support.properties import examples

COARSE = st.integers(0, 8).map(lambda number: number / 8)  # ties are common
STEPS = st.lists(st.tuples(COARSE, st.booleans()), min_size=1, max_size=40)
CHAIN = st.lists(st.tuples(COARSE, st.sampled_from([0, 1, None])), min_size=1, max_size=6)


def columns(steps):
    return np.array([reward for reward, _ in steps]), np.array([good for _, good in steps], dtype=bool)


def plain_auroc(steps):
    """Every pair of a valid and a wrong step, one by one."""
    pairs = [(g > b) + (g == b) / 2 for g, is_good in steps if is_good for b, is_bad in steps if not is_bad]
    return sum(pairs) / len(pairs) if pairs else math.nan


def tables(chains, threshold=0.5):
    steps, table = StepTable(), ChainTable(threshold)
    for number, chain in enumerate(chains):
        rewards, labels = zip(*chain, strict=True)
        steps.add(number // 2, rewards, labels)  # two chains to a question
        table.add(number // 2, rewards, labels)
    return steps, table


def plain_first_error(chains, threshold):
    """Right predictions of erroneous chains, of correct chains, and their F1."""
    found, passed = [], []
    for chain in chains:
        labels = [label for _, label in chain]
        known = labels[: labels.index(0)] if 0 in labels else labels
        if None in known:
            continue
        below = [place for place, (reward, _) in enumerate(chain) if reward < threshold]
        if 0 in labels:
            found.append(bool(below) and below[0] == labels.index(0))
        else:
            passed.append(not below)
    if not found or not passed:
        return None
    a, b = sum(found) / len(found), sum(passed) / len(passed)
    return a, b, 0.0 if a + b == 0 else 2 / (1 / a + 1 / b) if a and b else 0.0


@settings(max_examples=examples(60), deadline=None)
@given(STEPS, st.randoms())
def test_auroc_counts_pairs_whatever_the_order(steps, draw):
    value = auroc(*columns(steps))
    assert value == pytest.approx(plain_auroc(steps), nan_ok=True)
    shuffled = draw.sample(steps, len(steps))
    assert auroc(*columns(shuffled)) == pytest.approx(value, nan_ok=True)


@settings(max_examples=examples(60), deadline=None)
@given(STEPS)
def test_auroc_depends_on_the_order_of_rewards_alone(steps):
    rewards, good = columns(steps)
    value = auroc(rewards, good)
    for grown in (rewards / 2 + 0.1, rewards**3, np.tanh(rewards)):
        assert auroc(grown, good) == pytest.approx(value, nan_ok=True)
    for turned in (auroc(1 - rewards, good), auroc(rewards, ~good)):
        assert turned == pytest.approx(1 - value, nan_ok=True)


def test_auroc_of_equal_rewards_is_a_half_and_of_one_kind_none():
    assert auroc(np.full(9, 0.3), np.arange(9) < 4) == 0.5
    assert math.isnan(auroc(np.array([0.1, 0.9]), np.array([True, True])))
    assert math.isnan(auroc(np.array([]), np.array([], dtype=bool)))


def many(seed=0, count=400):
    draw = random.Random(seed)
    return [(round(draw.random(), 2), draw.random() < 0.6) for _ in range(count)]


def test_auroc_is_that_of_the_formulary():
    theirs = pytest.importorskip("examples.formulary.evaluate").auroc
    steps = many()
    good, bad = ([(0, reward) for reward, is_good in steps if is_good is kind] for kind in (True, False))
    assert auroc(*columns(steps)) == pytest.approx(theirs(good, bad)[0])


def test_auroc_is_that_of_scikit_learn():
    theirs = pytest.importorskip("sklearn.metrics").roc_auc_score
    for seed in range(5):
        rewards, good = columns(many(seed))
        assert auroc(rewards, good) == pytest.approx(theirs(good, rewards))


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ([1, 1, 1], CORRECT),
        ([0], 0),
        ([1, 0, 1], 1),
        ([1, 0, None], 1),
        ([None, 0], UNDETERMINED),
        ([1, None], UNDETERMINED),
        ([None], UNDETERMINED),
    ],
)
def test_first_error(labels, error):
    assert first_error(labels) == error


@pytest.mark.parametrize(
    ("rewards", "threshold", "error"),
    [([0.5], 0.5, CORRECT), ([0.9, 0.49, 0.1], 0.5, 1), ([0.0], 0.0, CORRECT), ([0.99], 1.0, 0), ([1.0], 1.0, CORRECT)],
)
def test_a_step_is_wrong_below_the_threshold(rewards, threshold, error):
    assert predicted_error(rewards, threshold) == error


@settings(max_examples=examples(80), deadline=None)
@given(st.lists(CHAIN, min_size=1, max_size=12), COARSE)
def test_the_first_error_agrees_with_its_plain_count(chains, threshold):
    steps, table = tables(chains, threshold)
    found = step_figures("all", steps, table, 1, 0).first_error
    plain = plain_first_error(chains, threshold)
    assert found.erroneous + found.correct + found.undetermined == len(chains)
    if plain is None:
        assert found.f1 is None
    else:
        assert [found.found.value, found.passed.value, found.f1.value] == pytest.approx(list(plain))


@settings(max_examples=examples(80), deadline=None)
@given(st.lists(CHAIN, min_size=1, max_size=12))
def test_no_threshold_is_better_than_the_best_one(chains):
    best = tables(chains)[1].best()
    every = [plain_first_error(chains, number / 16) for number in range(17)]
    if every[0] is None:
        assert best is None
        return
    assert best.f1 == pytest.approx(max(f1 for _, _, f1 in every))
    assert [best.found, best.passed, best.f1] == pytest.approx(list(plain_first_error(chains, best.threshold)))
    assert 0 <= best.threshold <= 1


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(CHAIN, min_size=1, max_size=12))
def test_calibration_is_that_of_trust(chains):
    steps, table = tables(chains)
    found = step_figures("all", steps, table, 1, 0)
    if steps.good:
        plain = reliability(steps.rewards, steps.good)
        assert found.ece.value == pytest.approx(plain.ece)
        assert found.brier.value == pytest.approx(plain.brier)
    else:
        assert found.ece is found.brier is found.auroc is None


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(CHAIN, min_size=1, max_size=10), st.integers(0, 99))
def test_intervals_are_of_drawn_questions(chains, seed):
    """Drawn one by one and computed from the start, as plainly as it can be written."""
    questions = [chains[place : place + 2] for place in range(0, len(chains), 2)]
    # the draws of one call, as `bootstrap_means` promises
    rows = np.random.default_rng(seed).integers(0, len(questions), (30, len(questions)))
    resampled = [[chain for number in row for chain in questions[number]] for row in rows.tolist()]
    figures = {
        "auroc": [plain_auroc([(r, x == 1) for c in some for r, x in c if x is not None]) for some in resampled],
        "f1": [(plain_first_error(some, 0.5) or (0, 0, math.nan))[2] for some in resampled],
    }
    steps, table = tables(chains)
    found = step_figures("all", steps, table, 30, seed)
    for name, interval in (("auroc", found.auroc), ("f1", found.first_error.f1)):
        known = [value for value in figures[name] if not math.isnan(value)]
        if interval is not None and known:
            assert [interval.low, interval.high] == pytest.approx(np.quantile(known, (0.025, 0.975)).tolist())
        elif interval is not None:
            assert (interval.low, interval.high) == (0.0, 1.0)


def test_steps_of_a_number():
    steps, _ = tables([[(0.9, 1), (0.2, 0)], [(0.8, None), (0.1, 1), (0.3, 0)]])
    assert steps.of_number(1, 1).rewards == [0.2, 0.1]
    assert steps.of_number(1, math.inf).rewards == [0.2, 0.1, 0.3]
    assert steps.of_number(5, 9).good == []
