"""`calibrate_rankings`: turns judged rankings into a `Trust`, with its quality: risk by coverage, and reliability."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking
from medprm_scorer.trust.binomial import clopper_pearson, fewest_trials, upper_bound
from medprm_scorer.trust.features import NAMES, features
from medprm_scorer.trust.fit import Curve, Judged, Tested, check_thresholds, fit_curve, thresholds
from medprm_scorer.trust.probability import Part
from medprm_scorer.trust.trust import FittedOn, Trust

_FIT = 3  # one question in three is for the probability, the others are for the threshold
BINS = 10
"""Bins of a reliability table, of equal width on [0, 1]."""


class RiskRow(Part):
    """The results of one threshold on the questions reserved for it.

    Args:
        threshold: Smallest confidence that is trusted.
        coverage: Share of the questions that are answered, in [0, 1].
        answered: How many these are.
        errors: How many of them are answered incorrectly.
        risk: The share of errors; None if none is answered.
        low: Lower end of its exact 95 % interval (Clopper-Pearson).
        high: Upper end.
        promised: Whether the promise holds for this threshold.
    """

    threshold: float
    coverage: float
    answered: int
    errors: int
    risk: float | None
    low: float
    high: float
    promised: bool


class ReliabilityBin(Part):
    """Questions with similar probabilities.

    Args:
        count: How many.
        mean: Mean of the probabilities.
        right: Share of the answers that are right.
        low: Lower end of its exact 95 % interval.
        high: Upper end.
    """

    count: int
    mean: float
    right: float
    low: float
    high: float


class Reliability(Part):
    """How well probabilities agree with what is right.

    Args:
        bins: Ten bins of equal width on [0, 1], from low to high; empty ones are left out.
        ece: Expected calibration error: the mean gap between a bin's two sides, weighted by its count
            (Guo et al. 2017, arXiv 1706.04599).
        brier: Mean squared difference between the probability and 1 for right, 0 for wrong.
    """

    bins: list[ReliabilityBin]
    ece: float
    brier: float


class Calibration(Part):
    """A calibration and its quality on the questions that its probability was not fitted on.

    Args:
        trust: The calibration.
        questions: All questions that took part.
        unanswered: Those whose ranking gives no answer: they are never trusted.
        accuracy: Share of the answers that are right if every question is answered.
        rows: Risk against coverage, by decreasing threshold.
        coverage: Share of the questions that the chosen threshold answers; 0 if there is none.
        upper: Upper bound on the error rate at the chosen threshold, with a probability of error of `delta`; None
            without one.
        before: Reliability of the uncalibrated stand-in for a probability: the winner's share of the votes, or the best
            reward if no vote is taken.
        after: Reliability of the calibrated confidence.
        repeated: Questions that were left out as repeated; dependent questions break the promise.
    """

    trust: Trust
    questions: int
    unanswered: int
    accuracy: float
    rows: list[RiskRow]
    coverage: float
    upper: float | None
    before: Reliability
    after: Reliability
    repeated: int = 0

    def __repr__(self) -> str:
        return f"Calibration({self.questions} questions, coverage={self.coverage:.3f})"

    __str__ = __repr__


def calibrate_rankings(
    records: Iterable[tuple[Ranking, bool]],
    *,
    risk: float,
    delta: float,
    strategy: str | None = None,
    settings: Mapping[str, str] | None = None,
    stop: str | None = None,
    seed: int = 0,
) -> Calibration:
    """Calibrate; arguments and errors as `Trust.fit`."""
    seen = _Seen()
    questions = [seen.add(record) for record in records]
    check_enough(len(questions), risk, delta)
    order = np.random.default_rng(seed).permutation(len(questions)).tolist()
    fitting, testing = divided([questions[place] for place in order])
    curve, found = fit(fitting, testing, risk, delta)
    chosen = chosen_of(found)
    trust = Trust(
        risk=risk,
        delta=delta,
        threshold=chosen.threshold if chosen else None,
        intercept=curve.intercept,
        weights=curve.weights,
        fitted_on=seen.fitted_on(strategy, settings, stop),
        fitted=len(fitting),
        calibrated=len(testing),
        answered=chosen.answered if chosen else 0,
        errors=chosen.errors if chosen else 0,
    )
    answered = [question for question in testing if question.found is not None]
    right = [question.right for question in answered]
    return Calibration(
        trust=trust,
        questions=len(questions),
        unanswered=sum(question.found is None for question in questions),
        accuracy=sum(question.right for question in questions) / len(questions),
        rows=[
            RiskRow(
                threshold=row.threshold,
                coverage=row.answered / len(testing),
                answered=row.answered,
                errors=row.errors,
                risk=row.errors / row.answered if row.answered else None,
                low=clopper_pearson(row.errors, row.answered)[0],
                high=clopper_pearson(row.errors, row.answered)[1],
                promised=row.promised,
            )
            for row in found
        ],
        coverage=trust.answered / len(testing),
        upper=upper_bound(trust.errors, trust.answered, delta) if chosen else None,
        before=reliability([question.before for question in answered], right),
        after=reliability([curve.of(question) for question in answered], right),
    )


def divided(questions: Sequence[Judged]) -> tuple[Sequence[Judged], Sequence[Judged]]:
    """The questions for the probability, and those for the threshold. The input must be in random order."""
    return questions[: len(questions) // _FIT], questions[len(questions) // _FIT :]


def fit(
    fitting: Sequence[Judged], testing: Sequence[Judged], risk: float, delta: float, numbers: Sequence[str] = NAMES
) -> tuple[Curve, list[Tested]]:
    """The probability from the first questions, and the thresholds tested on the others.

    With only some of the `numbers` of a ranking (`features`), the others are not used: with a single one, trust is a
    threshold on it.
    """
    curve = fit_curve(fitting, numbers)
    grid, first = thresholds(fitting, len(testing), risk, delta, numbers)
    return curve, check_thresholds(testing, curve, grid, first, risk, delta)


def chosen_of(rows: Sequence[Tested]) -> Tested | None:
    """The lowest threshold that keeps the promise; None if none does."""
    return next((row for row in reversed(rows) if row.promised), None)


def check_enough(questions: int, risk: float, delta: float) -> None:
    """Refuse a promise that so few questions cannot support.

    Raises:
        InputError: There are too few, and the message says how many are needed; or a number is out of its range.

    Example:
        >>> check_enough(40, risk=0.05, delta=0.1)
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: too few questions for this promise: with risk 0.05 and delta 0.1 it takes at \
least 67 questions with known answers (45 of them without any error), and there are 40; give more, or allow a larger \
risk or delta
    """
    for name, value in (("risk", risk), ("delta", delta)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < 1:
            raise InputError(f"{name} must be a number above 0 and below 1, such as 0.05")
    needed = fewest_trials(risk, delta)
    if questions - questions // _FIT < needed:
        raise InputError(
            f"too few questions for this promise: with risk {risk:g} and delta {delta:g} it takes at least "
            f"{_total(needed)} questions with known answers ({needed} of them without any error), and there are "
            f"{questions}; give more, or allow a larger risk or delta"
        )


def reliability(chances: Sequence[float], right: Sequence[bool]) -> Reliability:
    """How well probabilities agree with what is right.

    Args:
        chances: Probabilities in [0, 1].
        right: Whether each answer is right.

    Example:
        >>> found = reliability([0.75, 0.75, 0.75, 0.75], [True, True, True, False])
        >>> found.ece, found.brier
        (0.0, 0.1875)
    """
    members: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for chance, is_right in zip(chances, right, strict=True):
        members[min(int(chance * BINS), BINS - 1)].append((chance, is_right))
    bins = []
    for group in filter(None, members):
        hits = sum(is_right for _, is_right in group)
        low, high = clopper_pearson(hits, len(group))
        mean = math.fsum(chance for chance, _ in group) / len(group)
        bins.append(ReliabilityBin(count=len(group), mean=mean, right=hits / len(group), low=low, high=high))
    count = max(1, len(chances))
    return Reliability(
        bins=bins,
        ece=math.fsum(part.count * abs(part.mean - part.right) for part in bins) / count,
        brier=math.fsum((c - r) ** 2 for c, r in zip(chances, right, strict=True)) / count,
    )


def judged(ranking: Ranking, right: bool) -> Judged:
    """The data of one question that a calibration uses."""
    best = ranking.best.reward(ranking.aggregate)
    voted = ranking.strategy != "best_of_n" and bool(ranking.votes)
    return Judged(features(ranking), bool(right), min(1.0, ranking.votes[0].share) if voted else best)


class _Seen:
    """How the rankings were made, collected while they are read."""

    def __init__(self) -> None:
        self._counts: set[int] = set()
        self._documents: set[bool] = set()
        self._strategies: set[str] = set()
        self._aggregates: set[str] = set()

    def add(self, record: tuple[Ranking, bool]) -> Judged:
        """The numbers of one record."""
        try:
            ranking, right = record
        except (TypeError, ValueError):
            ranking = right = None  # type: ignore[assignment]
        if not isinstance(ranking, Ranking) or right not in (True, False):
            raise InputError(
                "records must be pairs of a ranking and whether its answer is right; calibrate takes a file"
            )
        self._counts.add(len(ranking.chains))
        self._documents.add(ranking.documents_used > 0)
        self._strategies.add(ranking.strategy)
        self._aggregates.add(ranking.aggregate)
        return judged(ranking, right)

    def fitted_on(self, strategy: str | None, settings: Mapping[str, str] | None, stop: str | None) -> FittedOn:
        """What the calibration holds for."""
        voted = sorted(self._strategies - {"best_of_n"})  # which also decides if no vote is taken
        if len(self._aggregates) > 1 or len(voted) > 1 or (strategy and voted not in ([], [strategy])):
            raise InputError("the rankings were made with several strategies or aggregates: calibrate each separately")
        (aggregate,) = self._aggregates
        documents = "some" if len(self._documents) > 1 else "all" if True in self._documents else "none"
        return FittedOn.model_validate(
            {
                "settings": dict(settings or {}),
                "strategy": strategy or (voted or ["best_of_n"])[0],
                "aggregate": aggregate,
                "stop": stop,
                "fewest": min(self._counts),
                "most": max(self._counts),
                "documents": documents,
            }
        )


def _total(needed: int) -> int:
    """The fewest questions that leave so many for the threshold."""
    total = needed
    while total - total // _FIT < needed:
        total += 1
    return total
