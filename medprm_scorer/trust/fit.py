"""Fitting on judged questions: the probability that an answer is right, and which threshold keeps the promise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medprm_scorer.trust.binomial import lower_tail
from medprm_scorer.trust.features import NAMES
from medprm_scorer.trust.probability import Weight, probability

Features = Mapping[str, float]
Floats = npt.NDArray[np.float64]

_PENALTY = 1.0  # on squared weights of standardized numbers, the usual choice (C = 1)
_ROUNDS = 50  # of Newton's method, which needs about 10
_FOLDS = 5
_GRID = 20  # thresholds, at equal steps of coverage


@dataclass(frozen=True)
class Judged:
    """One judged question.

    Args:
        found: The numbers of its ranking; None if it has no answer, and so is never trusted.
        right: Whether the answer is right.
        before: The uncalibrated stand-in for a probability: the share of the votes, or the best reward.
    """

    found: Features | None
    right: bool
    before: float


@dataclass(frozen=True)
class Curve:
    """The fitted probability: see `medprm_scorer.trust.probability`."""

    intercept: float
    weights: dict[str, Weight]

    def of(self, question: Judged) -> float:
        """The probability that its answer is right; -1 if it has none, below every threshold."""
        return -1.0 if question.found is None else probability(question.found, self.intercept, self.weights)


@dataclass(frozen=True)
class Tested:
    """One threshold on the questions reserved for it.

    Args:
        threshold: Smallest probability that is trusted.
        answered: Questions that reach it.
        errors: Those of them that are answered incorrectly.
        p_value: p-value of the hypothesis that the error rate is above the risk.
        promised: Whether the hypotheses of this threshold and of all tested before it were rejected.
    """

    threshold: float
    answered: int
    errors: int
    p_value: float
    promised: bool


def fit_curve(questions: Sequence[Judged], numbers: Sequence[str] = NAMES) -> Curve:
    """Logistic regression with a quadratic penalty on the weights, by Newton's method.

    Targets are moved inwards from 0 and 1 as by Platt (1999), so that a group without errors does not give certainty.

    Args:
        questions: Judged questions; those without an answer are ignored.
        numbers: Which numbers of a ranking enter.
    """
    used = [question for question in questions if question.found is not None]
    right = np.array([question.right for question in used], dtype=np.bool_)
    high, low = (right.sum() + 1.0) / (right.sum() + 2.0), 1.0 / ((~right).sum() + 2.0)
    target = np.where(right, high, low)
    table = np.array([[(question.found or {})[name] for name in numbers] for question in used])
    table = table.reshape(-1, len(numbers))
    mean, scale = (table.mean(0), table.std(0)) if used else (np.zeros(len(numbers)), np.zeros(len(numbers)))
    varies = scale > 1e-9
    names = [name for name, keeps in zip(numbers, varies, strict=True) if keeps]
    design = np.column_stack([np.ones(len(used)), (table[:, varies] - mean[varies]) / scale[varies]])
    penalty = np.diag([1e-6, *[_PENALTY] * len(names)])  # almost none on the intercept, only so that it is defined
    solved = np.zeros(len(names) + 1)
    for _ in range(_ROUNDS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ solved, -30, 30)))
        gradient = design.T @ (chance - target) + penalty @ solved
        step = np.linalg.solve((design.T * (chance * (1.0 - chance))) @ design + penalty, gradient)
        solved -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))  # damped far from the solution
        if float(np.abs(step).max()) < 1e-9:
            break
    weights = {
        name: Weight(mean=float(m), scale=float(s), weight=float(w))
        for name, m, s, w in zip(names, mean[varies], scale[varies], solved[1:], strict=True)
    }
    return Curve(float(solved[0]), weights)


def thresholds(
    questions: Sequence[Judged], calibrated: int, risk: float, delta: float, numbers: Sequence[str] = NAMES
) -> tuple[list[float], int]:
    """The thresholds, in decreasing order, and the one that is tested first; only from the questions of the fit.

    The first is the one most likely to pass, judged by the errors on questions held out of the fit.

    Args:
        questions: Those that the curve is fitted on.
        calibrated: How many questions the thresholds will be tested on.
        risk: Largest error rate.
        delta: Largest p-value.
        numbers: Which numbers of a ranking enter.
    """
    chance = np.array([-1.0] * len(questions))
    for fold in range(_FOLDS):
        curve = fit_curve([q for place, q in enumerate(questions) if place % _FOLDS != fold], numbers)
        for place in range(fold, len(questions), _FOLDS):
            chance[place] = curve.of(questions[place])
    falling = sorted(chance[chance >= 0.0].tolist(), reverse=True)
    places = [math.ceil(len(falling) * step / _GRID) - 1 for step in range(1, _GRID)] if falling else []
    grid = [*sorted({falling[place] for place in places}, reverse=True), 0.0]
    wrong = np.array([not question.right for question in questions])
    passes = []
    for threshold in grid:
        reached = chance >= threshold
        answered = round(int(reached.sum()) / max(1, len(questions)) * calibrated)
        rate = (int(wrong[reached].sum()) + 0.5) / (int(reached.sum()) + 1.0)
        passes.append(lower_tail(_most_errors(answered, risk, delta), answered, rate))
    return grid, int(np.argmax(passes))


def check_thresholds(
    questions: Sequence[Judged], curve: Curve, grid: Sequence[float], first: int, risk: float, delta: float
) -> list[Tested]:
    """Fixed-sequence testing: from the first threshold downwards, until one fails; the rows of all thresholds.

    Args:
        questions: Questions that were not used to choose the curve, the grid or the first threshold.
        curve: The fitted probability.
        grid: Thresholds, in decreasing order.
        first: Index of the one that is tested first.
        risk: Largest error rate.
        delta: Largest p-value.
    """
    chance = np.array([curve.of(question) for question in questions])
    wrong = np.array([not question.right for question in questions])
    rows, going = [], True
    for place, threshold in enumerate(grid):
        reached = chance >= threshold
        answered, errors = int(reached.sum()), int(wrong[reached].sum())
        p_value = lower_tail(errors, answered, risk)
        if place >= first:
            going = going and p_value <= delta
        rows.append(Tested(threshold, answered, errors, p_value, going and place >= first))
    return rows


def _most_errors(answered: int, risk: float, delta: float) -> int:
    """The most errors among so many answers with which the test still passes; -1 if it never does."""
    most = -1
    while most < answered and lower_tail(most + 1, answered, risk) <= delta:
        most += 1
    return most
