"""The results of a comparison of two runs. They hold no text except the names of data sources.

The first run is called A, the other B; a difference is A minus B.
"""

from medprm_scorer.evaluation.results import Interval, Part, WithRewards


class ChoiceComparison(Part):
    """One selection method in both runs, with all candidates of each question.

    Args:
        choice: One of `CHOICES`.
        aggregate: How step rewards became a chain reward in A; None where rewards play no part.
        other_aggregate: The same in B.
        accuracy: Share of questions that A answers correctly; for `single`, the mean share of right candidates.
        other_accuracy: The same of B.
        difference: A minus B, in [-1, 1].
        p_value: p-value of the paired sign-flip permutation test, two-sided.
        only_here: Questions that only A answers correctly; None for `single`, which can be partly right.
        only_there: Questions that only B answers correctly.
        mcnemar: p-value of McNemar's exact test, two-sided; None for `single`.
        adjusted: `mcnemar`, or `p_value` if that is None, adjusted for the number of comparisons (Holm 1979).
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
        choices: The comparisons. They are adjusted for their own number, not for those of other sources.
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
        sources: The comparisons of each data source, in the order of A.
        here: A.
        there: B.
        by_id: Whether questions were matched by id and text. Otherwise by text alone, since some have no id.
        conflicts: Ids that are in both files with different questions.
        same_candidates: Whether all candidates are the same. Selection methods without rewards then give equal results
            and are left out.
        resamples: Bootstrap resamples.
        flips: Sign flips of the permutation test.
        seed: Seed of both.
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
