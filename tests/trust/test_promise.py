"""The promise holds as often as it says, where the true error rate is known; and it is not given for nothing."""

import numpy as np
import pytest

from medprm_scorer.trust.binomial import lower_tail
from medprm_scorer.trust.features import NAMES
from medprm_scorer.trust.fit import Judged, check_thresholds, fit_curve, thresholds

RISK, DELTA = 0.1, 0.1
SIZE = 300


def draw(chance: np.random.Generator, count: int, error) -> list[Judged]:
    """Questions with one telling number, uniform on [0, 1], at which they are wrong with the probability `error`."""
    numbers = chance.random(count)
    wrong = chance.random(count) < error(numbers)
    others = dict.fromkeys(NAMES, 0.0)
    return [
        Judged({**others, "share": float(share)}, not is_wrong, 0.5)
        for share, is_wrong in zip(numbers, wrong, strict=True)
    ]


def calibrate(questions: list[Judged]):
    """The curve and the chosen threshold, or None, as `calibrate_rankings` finds them."""
    fitting, testing = questions[: SIZE // 3], questions[SIZE // 3 :]
    curve = fit_curve(fitting)
    grid, first = thresholds(fitting, len(testing), RISK, DELTA)
    rows = check_thresholds(testing, curve, grid, first, RISK, DELTA)
    return curve, next((row.threshold for row in reversed(rows) if row.promised), None)


@pytest.mark.parametrize(
    "error",
    [
        lambda share: np.full_like(share, RISK + 0.005),  # just too much at every threshold
        lambda share: 0.4 * (1 - share) ** 2,  # falls, and is too much at the low end
        lambda share: np.where(share > 0.7, 0.02, 0.25),
        lambda share: np.where(share > 0.9, 0.3, 0.05),  # the surest are the worst
    ],
)
def test_the_promise_fails_no_more_often_than_it_says(error):
    """The true risk of a threshold on `share` is known from its integral; failures are binomial with at most delta."""
    chance, failures, times = np.random.default_rng(5), 0, 300
    points = (np.arange(20_000) + 0.5) / 20_000
    wrong = error(points)
    for _ in range(times):
        curve, threshold = calibrate(draw(chance, SIZE, error))
        if threshold is None:
            continue
        weight = curve.weights["share"]
        odds = curve.intercept + weight.weight * (points - weight.mean) / weight.scale
        reached = 1.0 / (1.0 + np.exp(-odds)) >= threshold
        failures += bool(reached.any()) and wrong[reached].mean() > RISK
    # so many failures or more have a probability below 1 in 10,000 if each has at most `DELTA`
    limit = next(k for k in range(times) if 1.0 - lower_tail(k, times, DELTA) < 1e-4)
    assert failures <= limit


def test_a_telling_number_gives_coverage():
    def error(share):
        return np.where(share > 0.5, 0.01, 0.4)

    chance = np.random.default_rng(6)
    found = [calibrate(draw(chance, SIZE, error))[1] for _ in range(40)]
    assert sum(threshold is not None for threshold in found) > 30


def test_where_most_answers_are_wrong_nothing_is_promised():
    chance = np.random.default_rng(7)
    found = [calibrate(draw(chance, SIZE, lambda share: np.full_like(share, 0.4)))[1] for _ in range(100)]
    assert found == [None] * 100


def test_the_fit_agrees_with_the_slow_way():
    """Newton's method finds where the gradient of the penalized likelihood is zero: no small step does better."""
    questions = draw(np.random.default_rng(8), 120, lambda share: 0.5 * (1 - share))
    curve = fit_curve(questions)
    weight = curve.weights["share"]
    right = np.array([question.right for question in questions])
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    numbers = (np.array([question.found["share"] for question in questions]) - weight.mean) / weight.scale

    def loss(intercept: float, slope: float) -> float:
        odds = intercept + slope * numbers
        return float((np.logaddexp(0, odds) - target * odds).sum() + slope**2 / 2)

    best = loss(curve.intercept, weight.weight)
    for step in (1e-3, -1e-3):
        assert loss(curve.intercept + step, weight.weight) > best
        assert loss(curve.intercept, weight.weight + step) > best


@pytest.mark.parametrize("right", [True, False])
def test_a_part_with_one_kind_of_outcome_gives_no_certainty(right):
    questions = draw(np.random.default_rng(9), 50, lambda share: np.full_like(share, 0.0 if right else 1.0))
    chances = [fit_curve(questions).of(question) for question in questions]
    assert all(0.9 < chance < 1 if right else 0 < chance < 0.1 for chance in chances)


def test_questions_without_an_answer_are_below_every_threshold():
    questions = [Judged(None, False, 0.0)] * 150
    curve = fit_curve(questions)
    grid, first = thresholds(questions, 150, RISK, DELTA)
    assert [row.answered for row in check_thresholds(questions, curve, grid, first, RISK, DELTA)] == [0] * len(grid)
    assert not any(row.promised for row in check_thresholds(questions, curve, grid, first, RISK, DELTA))
