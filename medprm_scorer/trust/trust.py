"""`Trust`: how likely a ranking's answer is right, and whether that is enough for a promise on the error rate."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from medprm_scorer.errors import InputError
from medprm_scorer.files.whole_file import whole_file
from medprm_scorer.results.facts import NO_GOOD_CHAIN
from medprm_scorer.results.models import Ranking
from medprm_scorer.trust.features import NAMES, features
from medprm_scorer.trust.probability import Part, Weight, probability

_LARGEST = 1_000_000  # bytes; a file has about 2,000
_NAMES = {
    "model": "model fingerprint",
    "system": "system prompt",
    "steps": "rule for steps",
    "stop": "stopping rule",
}


class FittedOn(Part):
    """What a calibration is valid for: rankings made in the same way.

    Args:
        settings: What rewards depend on besides the texts (`MedPRM.settings`), as far as known.
        strategy: The strategy that was asked for.
        aggregate: How step rewards became chain rewards.
        stop: Name of the rule by which sampling stopped; None for a fixed number of samples.
        fewest: Fewest candidates of a question.
        most: Most candidates of a question.
        documents: Whether documents were read for `all` questions, for `some` or for `none`.
    """

    settings: dict[str, str] = Field(default_factory=dict)
    strategy: str
    aggregate: str
    stop: str | None = None
    fewest: int = Field(ge=1)
    most: int = Field(ge=1)
    documents: Literal["all", "some", "none"]


class Trust(Part):
    """A calibration: the probability that an answer is right, and the threshold above which it is trusted.

    The promise: among the questions whose ranking is `trusted`, the share of wrong answers is at most `risk`. It holds
    for the population from which the calibration's questions were drawn, with a probability of at least 1 − `delta`
    over that draw. It is not a promise about a single answer, nor about the next 100: their error rate varies around
    its mean.

    The method is Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei, arXiv 2110.01052) with fixed-sequence
    testing. One part of the questions is used to fit the probability, and to choose the thresholds and the order in
    which they are tested. On the other part, for each threshold in turn, the hypothesis "the error rate among those at
    or above it exceeds `risk`" has the p-value P(Binomial(answered, risk) <= errors), which is exact given the number
    of answered questions. Testing ends at the first p-value above `delta`; the last threshold before it is used, or
    none.

    It assumes that the questions on which it is used come from the same source as those of the calibration, drawn
    independently (exchangeable with them), and are ranked in the same way. It is broken by other kinds of patients or
    questions, another policy, prompt or temperature, documents from another search, repeated questions, wrong labels,
    trying several calibrations and keeping the best, and functions of your own (`answer`, `group`) that were not used
    in the calibration. Another model, strategy or aggregate is refused; a ranking with another number of candidates, or
    with documents where the calibration had none, is never trusted.

    Args:
        format: The version of the file format.
        risk: Largest error rate among trusted answers, above 0 and below 1.
        delta: Largest probability that the promise fails, above 0 and below 1.
        threshold: Smallest `confidence` of a trusted answer; None if no threshold keeps the promise (nothing is
            then trusted).
        intercept: Log-odds of a ranking if all its numbers are at their means.
        weights: How the numbers of a ranking contribute, by name.
        fitted_on: What it is valid for.
        fitted: Questions that the probability was fitted on.
        calibrated: Questions that the threshold was tested on; these are others.
        answered: Those of them that reach the threshold.
        errors: Those of the answered ones that are wrong.
    """

    format: Literal["medprm trust 1"] = "medprm trust 1"
    risk: float = Field(gt=0.0, lt=1.0)
    delta: float = Field(gt=0.0, lt=1.0)
    threshold: float | None = Field(ge=0.0, le=1.0)
    intercept: float
    weights: dict[str, Weight]
    fitted_on: FittedOn
    fitted: int = Field(ge=1)
    calibrated: int = Field(ge=1)
    answered: int = Field(ge=0)
    errors: int = Field(ge=0)

    @field_validator("weights")
    @classmethod
    def _known(cls, weights: dict[str, Weight]) -> dict[str, Weight]:
        if not set(weights) <= set(NAMES):
            raise ValueError("a weight is of a number that rankings do not have")
        return weights

    @classmethod
    def fit(
        cls,
        records: Iterable[tuple[Ranking, bool]],
        *,
        risk: float,
        delta: float,
        strategy: str | None = None,
        settings: Mapping[str, str] | None = None,
        stop: str | None = None,
        seed: int = 0,
    ) -> "Trust":
        """Calibrate on rankings whose answers are known to be right or wrong. `calibrate` does this from a file.

        Args:
            records: For each question one ranking, and whether its answer is right. They may be a generator.
            risk: Largest error rate among trusted answers, above 0 and below 1.
            delta: Largest probability that the promise fails, above 0 and below 1.
            strategy: The requested strategy; None takes the one that the rankings name.
            settings: The settings that computed the rewards: `prm.settings`. None leaves this open; every ranking then
                has a caution.
            stop: Name of the rule by which sampling stopped; None for a fixed number.
            seed: Seed of the split into two parts.

        Raises:
            InputError: There are too few questions for the promise, or they were not ranked in the same way.
        """
        from medprm_scorer.trust.calibration import calibrate_rankings  # needs numpy; applying a calibration does not

        return calibrate_rankings(
            records, risk=risk, delta=delta, strategy=strategy, settings=settings, stop=stop, seed=seed
        ).trust

    @classmethod
    def load(cls, path: str | Path) -> "Trust":
        """Read a file that `save` wrote.

        Raises:
            InputError: It cannot be read, or is not a trust file.
        """
        try:
            with Path(path).open("rb") as file:
                content = file.read(_LARGEST + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise InputError(f"cannot read {path}: {reason}") from None
        try:
            if len(content) > _LARGEST:
                raise ValueError
            return cls.model_validate(json.loads(content))
        except (ValueError, RecursionError):  # pydantic's and json's are ValueErrors
            raise InputError(f"{path} is not a trust file: make one with medprm calibrate") from None

    def save(self, path: str | Path) -> None:
        """Write it as JSON: numbers and the names of settings, without any text of a question.

        Raises:
            OutputError: It cannot be written.
        """
        with whole_file(path) as file:
            file.write(self.model_dump_json(indent=2).encode() + b"\n")

    def __repr__(self) -> str:
        return f"Trust(risk={self.risk:g}, delta={self.delta:g}, threshold={self.threshold})"

    __str__ = __repr__

    def check(
        self,
        settings: Mapping[str, str],
        strategy: str | None = None,
        aggregate: str | None = None,
        stop: str | None = None,
    ) -> None:
        """Refuse rankings that are made differently from those of the calibration.

        Args:
            settings: What rewards depend on, as from `MedPRM.settings`. Settings that one side does not know are not
                compared.
            strategy: The requested strategy; None if not yet known. The same holds for the others.
            aggregate: How step rewards become chain rewards.
            stop: Name of the stopping rule, `none` for a fixed number.

        Raises:
            InputError: Something differs; the message names it.
        """
        made = self.fitted_on
        then = {**made.settings, "strategy": made.strategy, "aggregate": made.aggregate, "stop": made.stop or "none"}
        now = {**settings, "strategy": strategy, "aggregate": aggregate, "stop": stop}
        differs = [
            f"{_NAMES.get(key, key)} {value} then and {now[key]} now"
            for key, value in then.items()
            if now.get(key) is not None and now[key] != value
        ]
        if differs:
            raise InputError(f"this calibration does not fit: {', '.join(differs)}; calibrate again for this use")

    def for_samples(self, stop: str | None) -> "Trust":
        """The calibration for a caller that draws the samples itself, and so knows the stopping rule.

        Args:
            stop: Name of the rule with which the samples are drawn; None if they are not drawn here.

        Returns:
            If this is the calibration's own rule, a calibration whose `judge` adds no caution about it; otherwise the
            same one.
        """
        if self.fitted_on.stop is None or self.fitted_on.stop != stop:
            return self
        return self.model_copy(update={"fitted_on": self.fitted_on.model_copy(update={"stop": None})})

    def confidence(self, ranking: Ranking) -> float | None:
        """The calibrated probability that the answer is right, in [0, 1]; None if there is no answer to judge."""
        found = features(ranking)
        return None if found is None else probability(found, self.intercept, self.weights)

    def judge(self, ranking: Ranking) -> Ranking:
        """The ranking with `confidence` and `trusted`, and with a caution if it is not trusted."""
        outside = self._outside(ranking)
        confidence = None if outside else self.confidence(ranking)
        if outside is not None:
            problem = outside
        elif confidence is None:
            problem = "there is no answer to trust"
        elif self.threshold is None:
            problem = f"the calibration found no threshold with at most {self.risk:.1%} errors"
        elif confidence < self.threshold:
            problem = (
                f"the answer is right with a probability of {confidence:.2f}, and trusted from {self.threshold:.2f} on"
            )
        else:
            problem = None
        found = [] if problem is None else [f"Not trusted: {problem}."]
        if self.fitted_on.stop and ranking.stopped is None:
            found.append(
                f"The calibration is for samples drawn with the stopping rule {self.fitted_on.stop}: its promise does "
                "not hold for samples drawn in another way."
            )
        if not self.fitted_on.settings:
            found.append("The calibration does not say which model it was made with: its promise holds for that one.")
        about = ranking.cautions
        if problem is None:  # the calibration has seen such rankings, too
            about = [f"{NO_GOOD_CHAIN}." if one.startswith(NO_GOOD_CHAIN) else one for one in about]
        update = {"confidence": confidence, "trusted": problem is None, "cautions": [*about, *found]}
        return ranking.model_copy(update=update)

    def _outside(self, ranking: Ranking) -> str | None:
        """Why the calibration does not apply to a ranking; None if it does."""
        then, count = self.fitted_on, len(ranking.chains)
        if not then.fewest <= count <= then.most:
            numbers = str(then.fewest) if then.fewest == then.most else f"{then.fewest} to {then.most}"
            return f"it has {count} candidates, but the calibration had {numbers}"
        if then.documents == "all" and not ranking.documents_used:
            return "no document was read, but the calibration had documents for every question"
        if then.documents == "none" and ranking.documents_used:
            return "documents were read, but the calibration had none"
        return None
