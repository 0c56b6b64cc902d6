"""The results of an evaluation with a label for each step. They hold no text except the names of data sources."""

from pydantic import Field

from medprm_scorer.evaluation.results import Interval, Part, WithRewards
from medprm_scorer.trust.calibration import ReliabilityBin


class FirstError(Part):
    """How well the first wrong step of a chain is found, as ProcessBench counts it (arXiv 2412.06559, section 3.3).

    A chain is predicted to go wrong at its first step whose reward is below the threshold; if there is none, it is
    predicted to be correct.

    Args:
        erroneous: Chains with a wrong step and nothing unknown before it.
        correct: Chains whose steps are all valid.
        undetermined: All other chains, which are left out: because of an unknown label, the first wrong step is not
            known.
        found: Share of the erroneous chains whose first wrong step is the predicted one; None without such chains.
        passed: Share of the correct chains that are predicted to be correct; None without such chains.
        f1: Harmonic mean of the two; None if either is None.
    """

    erroneous: int
    correct: int
    undetermined: int
    found: Interval | None
    passed: Interval | None
    f1: Interval | None


class StepFigures(Part):
    """The figures of some steps.

    Args:
        name: The data source or group, `all`, or the number of the step from 1, with a `+` for it and all later ones.
        questions: Questions with labelled steps.
        steps: Labelled steps.
        wrong: Those of them that are wrong.
        auroc: Probability that a valid step has a higher reward than a wrong one; a tie counts half; None without both
            kinds.
        ece: Expected calibration error of the rewards as probabilities that a step is valid, over ten bins.
        brier: Mean squared difference between the reward and 1 for valid, 0 for wrong.
        first_error: Figures of the chains; None for steps of one number.
    """

    name: str
    questions: int
    steps: int
    wrong: int
    auroc: Interval | None
    ece: Interval | None
    brier: Interval | None
    first_error: FirstError | None = None


class BestThreshold(Part):
    """The threshold with the highest F1 on these same chains. It is optimistic, so it is not a result.

    Args:
        threshold: The smallest such threshold, in [0, 1].
        found: As in `FirstError`, without an interval; the same holds for the others.
        passed: Share of the correct chains.
        f1: Harmonic mean of the two.
    """

    threshold: float
    found: float
    passed: float
    f1: float


class StepEvaluation(WithRewards):
    """Everything that `medprm evaluate --step-labels` found; the other fields are those of `WithRewards`.

    Args:
        total: The figures of all labelled steps.
        sources: Those of each data source, or group, in the order of the file.
        numbers: The figures of the first steps of all chains, of the second steps, and so on; the last includes all
            later steps.
        bins: All labelled steps by reward. The intervals in them assume that steps are independent, and are too narrow.
        threshold: A step counts as wrong if its reward is below it.
        best: The best threshold; None without both kinds of chains.
        chains: Chains with labels and rewards.
        unknown_steps: Steps of these whose label is None.
        unlabelled_questions: Questions without any labels, which are left out.
        unlabelled_chains: Candidates without labels in questions where others have some.
        unscored: Candidates with labels that could not be scored.
        unused_labels: Records of the labels file whose id no question had.
        repeated: Labelled questions whose text an earlier record of the file has.
        repeated_places: For the first few of them, the record's place in the file and that of the earlier one.
        failed: Lines of `medprm score` with an error instead of a request, which are left out.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
        labels_file: Name of the labels file, without its folder; None if the labels are in the records.
        labels_sha256: Its digest, in hexadecimal.
    """

    total: StepFigures
    sources: list[StepFigures]
    numbers: list[StepFigures]
    bins: list[ReliabilityBin]
    threshold: float = Field(ge=0.0, le=1.0)
    best: BestThreshold | None
    chains: int
    unknown_steps: int
    unlabelled_questions: int
    unlabelled_chains: int
    unscored: int
    unused_labels: int
    repeated: int
    repeated_places: list[tuple[int, int]] = Field(default_factory=list)
    failed: int
    resamples: int
    seed: int
    labels_file: str | None = None
    labels_sha256: str | None = None

    def __repr__(self) -> str:
        return f"StepEvaluation({self.chains} chains, {self.total.steps} steps)"

    __str__ = __repr__
