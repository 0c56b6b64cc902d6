"""What a comparison of two runs finds. It holds no text but the names of data sources.

The first run is called A, the one that it is compared with B; a difference is A less B.
"""

from medprm_scorer.evaluation.results import Interval, Part, WithRewards


class ChoiceComparison(Part):
    """One way of choosing in both runs, with all candidates of each question.

    Args:
        choice: One of `CHOICES`.
        aggregate: How step rewards became a chain reward in A; None where rewards play no part.
        other_aggregate: The same in B.
        accuracy: Share of questions that A answers rightly; for `single`, the mean share of right candidates.
        other_accuracy: The same of B.
        difference: A less B, in [-1, 1].
        p_value: Of the paired sign-flip permutation test, two-sided.
        only_here: Questions that A alone answers rightly; None for `single`, which is right in part.
        only_there: Questions that B alone answers rightly.
        mcnemar: p-value of McNemar's exact test, two-sided; None likewise.
        adjusted: `mcnemar`, or without it `p_value`, adjusted for the number of comparisons (Holm 1979).
    """

    choice: str
    aggregate: str | None
    other_aggregate: str | None
    accuracy: Interval
    other_accuracy: Interval
    difference: Interval
    p_value: float
    only_here: int | None
    only_there: int | None
    mcnemar: float | None
    adjusted: float


class SourceComparison(Part):
    """The comparisons on the questions of one data source, or on all.

    Args:
        source: The data source or group in A; `all` for all.
        questions: Questions in both files.
        choices: The comparisons; they are adjusted for each other, not for those of other sources.
    """

    source: str
    questions: int
    choices: list[ChoiceComparison]


class Side(WithRewards):
    """One of the two runs; the other fields are those of `WithRewards`.

    Args:
        judged: Questions with judged answers.
        unmatched: Those of them that the other run does not have.
        unjudged: Questions without judged answers, which are left out.
        without_rewards: Matched questions none of whose candidates has a reward: choices by rewards are wrong there.
        failed: Lines of `medprm score` with an error instead of a request, which are left out.
    """

    judged: int
    unmatched: int
    unjudged: int
    without_rewards: int
    failed: int


class RunComparison(Part):
    """Everything that `medprm evaluate A --against B` found.

    Args:
        total: The comparisons on all questions that are in both files.
        sources: Those of each data source, in the order of A.
        here: A.
        there: B.
        by_id: Whether questions were matched by their id and text; else by their text alone, since some have no id.
        conflicts: Ids that are in both files with different questions.
        same_candidates: Whether all candidates are the same: then ways of choosing without rewards are left out, as
            they are equal.
        resamples: Bootstrap resamples.
        flips: Sign flips of the permutation test.
        seed: Of both.
    """

    total: SourceComparison
    sources: list[SourceComparison]
    here: Side
    there: Side
    by_id: bool
    conflicts: int
    same_candidates: bool
    resamples: int
    flips: int
    seed: int

    def __repr__(self) -> str:
        return f"RunComparison({self.total.questions} questions, {len(self.total.choices)} comparisons)"

    __str__ = __repr__
