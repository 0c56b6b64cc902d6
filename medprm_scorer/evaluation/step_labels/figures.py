"""From rewards and labels of steps to AUROC, calibration and the F1 of the first error, with bootstrap intervals.

Questions are drawn, not steps, since the steps of one question are alike. A resample in which a figure does not exist
(AUROC without a wrong step) is left out of that figure's interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medprm_scorer.evaluation.bootstrap import interval_ends, resampled_counts
from medprm_scorer.evaluation.results import Interval
from medprm_scorer.evaluation.step_labels.labels import Label
from medprm_scorer.evaluation.step_labels.results import BestThreshold, FirstError, StepFigures
from medprm_scorer.trust.calibration import BINS

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

CORRECT, UNDETERMINED = -1, -2
"""Used instead of the index of a chain's first wrong step: there is none; it is unknown."""


def first_error(labels: Sequence[Label]) -> int:
    """The index of the first wrong step, from 0; otherwise `CORRECT` or `UNDETERMINED`.

    Example:
        >>> first_error([1, 0, None]), first_error([1, 1]), first_error([1, None, 0]), first_error([1, None])
        (1, -1, -2, -2)
    """
    for place, label in enumerate(labels):
        if label is None:
            return UNDETERMINED
        if label == 0:
            return place
    return CORRECT


def predicted_error(rewards: Sequence[float], threshold: float) -> int:
    """The index of the first step with a reward below the threshold; `CORRECT` if there is none.

    Example:
        >>> predicted_error([0.9, 0.4, 0.2], 0.5), predicted_error([0.9, 0.5], 0.5)
        (1, -1)
    """
    return next((place for place, reward in enumerate(rewards) if reward < threshold), CORRECT)


def auroc(rewards: Floats, good: npt.NDArray[np.bool_]) -> float:
    """Probability that a valid step has a higher reward than a wrong one; a tie counts half; NaN without both kinds.

    This is the area under the ROC curve (Hanley and McNeil 1982).

    Example:
        >>> auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
        0.875
    """
    ranks = _Ranks(rewards, good, np.zeros(len(rewards), dtype=np.int64))
    return float(ranks.auroc(np.ones(1)))


def f1(found: float, passed: float) -> float:
    """Harmonic mean of the accuracies on erroneous and on correct chains; 0 if both are 0.

    Example:
        >>> f1(0.5, 1.0), f1(0.0, 0.0)
        (0.6666666666666666, 0.0)
    """
    return 2 * found * passed / (found + passed) if found + passed else 0.0


@dataclass
class StepTable:
    """Labelled steps, collected chain by chain: only numbers.

    Attributes:
        rewards: The reward of each labelled step.
        good: Whether it is valid.
        questions: The question that it belongs to, from 0.
        numbers: Its number in its chain, from 0.
    """

    rewards: list[float] = field(default_factory=list)
    good: list[bool] = field(default_factory=list)
    questions: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, question: int, rewards: Sequence[float], labels: Sequence[Label]) -> None:
        """Take in one chain."""
        for number, (reward, label) in enumerate(zip(rewards, labels, strict=True)):
            if label is not None:
                self.rewards.append(reward)
                self.good.append(label == 1)
                self.questions.append(question)
                self.numbers.append(number)

    def of_number(self, first: int, last: float) -> "StepTable":
        """The steps with a number from `first` to `last`."""
        kept = [place for place, number in enumerate(self.numbers) if first <= number <= last]
        columns = (self.rewards, self.good, self.questions, self.numbers)
        return StepTable(*([column[place] for place in kept] for column in columns))  # type: ignore[arg-type]


@dataclass
class ChainTable:
    """Chains with labels, collected one by one: only numbers.

    Args:
        threshold: A step counts as wrong if its reward is below it.

    Attributes:
        questions: The question of each chain.
        truth: The index of its first wrong step, or `CORRECT` or `UNDETERMINED`.
        predicted: The index of its predicted first wrong step, or `CORRECT`.
        between: The thresholds at which the prediction is right: above the first number and up to the second one.
    """

    threshold: float
    questions: list[int] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)
    between: list[tuple[float, float]] = field(default_factory=list)

    def add(self, question: int, rewards: Sequence[float], labels: Sequence[Label]) -> None:
        """Take in one chain."""
        truth = first_error(labels)
        self.questions.append(question)
        self.truth.append(truth)
        self.predicted.append(predicted_error(rewards, self.threshold))
        if truth >= 0:
            self.between.append((rewards[truth], min(rewards[:truth], default=1.0)))
        else:
            self.between.append((-math.inf, min(rewards)))

    def best(self) -> BestThreshold | None:
        """The threshold with the highest F1 on these chains; None without both kinds of chains."""
        if not self.truth:
            return None
        truth, between = np.array(self.truth), np.array(self.between)
        lows, highs = between[truth >= 0].T
        smallest = between[truth == CORRECT][:, 1]
        if not len(lows) or not len(smallest):
            return None
        possible = lows < highs
        lows, highs, erroneous = np.sort(lows[possible]), np.sort(highs[possible]), len(lows)
        smallest = np.sort(smallest)
        # F1 is largest at one of these: just above each, the prediction for some chain becomes wrong
        thresholds = np.unique(np.concatenate([highs, smallest]))
        found = (np.searchsorted(lows, thresholds, "left") - np.searchsorted(highs, thresholds, "left")) / erroneous
        passed = 1.0 - np.searchsorted(smallest, thresholds, "left") / len(smallest)
        scores = np.array([f1(*pair) for pair in zip(found.tolist(), passed.tolist(), strict=True)])
        best = int(scores.argmax())
        values = (float(column[best]) for column in (thresholds, found, passed, scores))
        return BestThreshold(**dict(zip(("threshold", "found", "passed", "f1"), values, strict=True)))


def step_figures(name: str, steps: StepTable, chains: ChainTable | None, resamples: int, seed: int) -> StepFigures:
    """All figures of some steps and of their chains.

    Args:
        name: Their name.
        steps: The steps.
        chains: The chains; None for steps that are not whole chains.
        resamples: Bootstrap resamples, at least 1.
        seed: Seed of the bootstrap, at least 0.
    """
    places = {question: place for place, question in enumerate(dict.fromkeys(steps.questions + _questions(chains)))}
    figures: list[Interval | None] = [None] * 6
    if places:
        statistics = _Statistics(steps, chains, places)
        values = statistics.of(np.ones((1, len(places))))[0]
        drawn = np.concatenate([statistics.of(block) for block in resampled_counts(len(places), resamples, seed)])
        figures = [_interval(value, column) for value, column in zip(values.tolist(), drawn.T, strict=True)]
    return StepFigures(
        name=name,
        questions=len(set(steps.questions)),
        steps=len(steps.good),
        wrong=len(steps.good) - sum(steps.good),
        auroc=figures[0],
        ece=figures[1],
        brier=figures[2],
        first_error=None if chains is None else _first_error(chains.truth, figures[3:]),
    )


def _first_error(truth: Sequence[int], figures: Sequence[Interval | None]) -> FirstError:
    found, passed, harmonic = figures
    return FirstError(
        erroneous=sum(error >= 0 for error in truth),
        correct=sum(error == CORRECT for error in truth),
        undetermined=sum(error == UNDETERMINED for error in truth),
        found=found,
        passed=passed,
        f1=harmonic,
    )


def _questions(chains: ChainTable | None) -> list[int]:
    return [] if chains is None else chains.questions


def _interval(value: float, drawn: Floats) -> Interval | None:
    if math.isnan(value):
        return None
    known = drawn[~np.isnan(drawn)]
    low, high = interval_ends(known) if known.size else (0.0, 1.0)  # nothing is known about its variation
    return Interval(value=value, low=float(low), high=float(high))


class _Ranks:
    """AUROC for any weights of the questions: it sorts once, and allocates memory once."""

    def __init__(self, rewards: Floats, good: npt.NDArray[np.bool_], questions: Whole) -> None:
        order = np.argsort(rewards, kind="stable")
        rewards, good, questions = rewards[order], good[order], questions[order]
        wrong, valid = rewards[~good], rewards[good]
        self._wrong_of, self._valid_of = questions[~good], questions[good]
        self._below = np.searchsorted(wrong, valid, side="left")
        not_above = np.searchsorted(wrong, valid, side="right")
        self._tied = np.flatnonzero(self._below != not_above)  # usually few
        self._tied_to = (self._below[self._tied], not_above[self._tied])
        self._valid, self._beaten = np.empty(len(valid)), np.empty(len(valid))
        self._wrong, self._running = np.empty(len(wrong)), np.zeros(len(wrong) + 1)

    def auroc(self, weights: Floats) -> float:
        """The AUROC with each question counted as often as its weight; NaN without both kinds of steps."""
        valid, wrong, running = self._valid, self._wrong, self._running
        # `clip` avoids a copy; no index is out of range
        np.take(weights, self._valid_of, out=valid, mode="clip")
        np.take(weights, self._wrong_of, out=wrong, mode="clip")
        np.cumsum(wrong, out=running[1:])
        np.take(running, self._below, out=self._beaten, mode="clip")
        pairs = valid.sum() * running[-1]
        first, last = self._tied_to
        # no `@`: on a busy machine, its threads wait for each other for longer than the product takes
        wins = np.multiply(valid, self._beaten, out=self._beaten).sum()
        wins += (valid[self._tied] * (running[last] - running[first])).sum() / 2
        return float(wins / pairs) if pairs else math.nan


class _Statistics:
    """AUROC, ECE and Brier of the steps, and found, passed and F1 of the chains, for any weights of the questions."""

    def __init__(self, steps: StepTable, chains: ChainTable | None, places: dict[int, int]) -> None:
        rewards, good = np.array(steps.rewards, dtype=np.float64), np.array(steps.good, dtype=np.bool_)
        questions = np.array([places[question] for question in steps.questions], dtype=np.int64)
        self._ranks = _Ranks(rewards, good, questions)
        bins = np.minimum((rewards * BINS).astype(np.int64), BINS - 1)
        count = len(places)
        # for each question: its steps, their squared errors, and for each bin the rewards minus the valid steps in it
        columns = [
            np.bincount(questions, minlength=count),
            np.bincount(questions, (rewards - good) ** 2, count),
            *np.bincount(questions + bins * count, rewards - good, count * BINS).reshape(BINS, count),
        ]
        # erroneous chains, those found, correct chains, those passed
        truth = np.array(chains.truth if chains else (), dtype=np.int64)
        predicted = np.array(chains.predicted if chains else (), dtype=np.int64)
        of = np.array([places[question] for question in _questions(chains)], dtype=np.int64)
        for is_kind in (truth >= 0, truth == CORRECT):
            columns += [
                np.bincount(of[is_one], minlength=count) for is_one in (is_kind, is_kind & (predicted == truth))
            ]
        self._sums = np.stack(columns, axis=1).astype(np.float64)

    def of(self, weights: Floats) -> Floats:
        """The figures, shape (rows, 6), for weights of shape (rows, questions); NaN for one that does not exist."""
        sums = weights @ self._sums
        count, squares, gaps = sums[:, 0], sums[:, 1], np.abs(sums[:, 2 : 2 + BINS]).sum(axis=1)
        erroneous, hits, correct, kept = sums[:, 2 + BINS :].T
        with np.errstate(invalid="ignore", divide="ignore"):
            found, passed = hits / erroneous, kept / correct
            both = found + passed
            harmonic = np.where(both == 0, 0.0, 2 * found * passed / both)
            aurocs = np.array([self._ranks.auroc(row) for row in weights])
            return np.stack([aurocs, gaps / count, squares / count, found, passed, harmonic], axis=1)
