"""What an evaluation finds: `Evaluation`, its `SourceResult`s, their `Cell`s of the table, and `Disagreement`s.

Accuracies are fractions in [0, 1]. A `Cell` stands for one way of choosing at one number of candidates. The `repr`s
show numbers only, since questions end up in `Disagreement`s.
"""

from pydantic import BaseModel, ConfigDict, Field

CHOICES = ("single", "majority_vote", "best_of_n", "weighted_vote", "oracle")
"""Ways of choosing, in the order of the tables: `single` is one sample drawn at random, `oracle` picks a right one."""

REWARD_CHOICES = ("best_of_n", "weighted_vote")
"""Those that use rewards, and so depend on the aggregate."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Interval(_Part):
    """A mean over questions with the two ends of its bootstrap 95 % interval."""

    value: float
    low: float
    high: float


class Cell(_Part):
    """One way of choosing at one number of candidates.

    Args:
        n: Number of candidates.
        choice: One of `CHOICES`.
        aggregate: How step rewards became a chain reward; None where rewards play no part.
        accuracy: Expected share of questions answered rightly, over subsets of n candidates.
        gain: That accuracy less majority vote's at the same n, a difference in [-1, 1]; None for majority vote itself.
        p_value: Of the paired sign-flip permutation test against majority vote, two-sided; None as for `gain`.
    """

    n: int = Field(ge=1)
    choice: str
    aggregate: str | None = None
    accuracy: Interval
    gain: Interval | None = None
    p_value: float | None = None


class Official(_Part):
    """The authors' own selection: the candidate with the highest min reward; one without tags is never chosen.

    Args:
        right: Questions answered rightly by it, with all their candidates.
        majority_right: Questions answered rightly by majority vote, with all their candidates.
    """

    right: int
    majority_right: int


class SourceResult(_Part):
    """The figures of one data source, or of all questions.

    Args:
        source: The `data_source`; "" where a file names none; `all` for the total.
        questions: Questions with judged answers, which the figures are about.
        open_ended: Questions left out because it is not known of every candidate whether it is right: a score of "None"
            (as for the released file's open-ended questions), or no correct answer.
        candidates: Candidates of the judged questions.
        unanswered: Those of them that give no answer: they never vote.
        unscored: Those that could not be scored: rewards never choose them.
        without_rewards: Questions none of whose candidates could be scored: choices by rewards are wrong there.
        fewer: For each n, how many questions have fewer than n candidates; these take part with all they have.
        cells: The table, by n, then in the order of `CHOICES`, then of the aggregates.
        official: The authors' selection.
    """

    source: str
    questions: int
    open_ended: int
    candidates: int
    unanswered: int
    unscored: int
    without_rewards: int
    fewer: dict[int, int]
    cells: list[Cell]
    official: Official

    def cell(self, n: int, choice: str, aggregate: str | None = None) -> Cell:
        """The cell of one n and choice; for a choice by rewards, of one aggregate.

        Raises:
            KeyError: There is no such cell.
        """
        for cell in self.cells:
            if (cell.n, cell.choice, cell.aggregate) == (n, choice, aggregate):
                return cell
        raise KeyError(f"no figures for {choice} ({aggregate}) with {n} candidates")

    def __repr__(self) -> str:
        return f"SourceResult({self.questions} questions, {len(self.cells)} cells)"


class Disagreement(_Part):
    """A question where the weighted vote over all candidates and majority vote give different answers.

    Args:
        place: Place of the question in the file, from 0.
        id: Its own id, if it has one.
        source: Its data source.
        question: Its text, options inside.
        answer: The answer that the weighted vote chose (first aggregate); None if no scored candidate gives one.
        right: Whether that is right.
        reward: Reward of the best chain with that answer, in [0, 1]; None if there is none.
        majority_answer: The answer that majority vote chose.
        majority_right: Whether that is right.
        counts: Candidates per answer, the most frequent first.
    """

    place: int
    id: str | int | None = None
    source: str = ""
    question: str
    answer: str | None
    right: bool
    reward: float | None
    majority_answer: str | None
    majority_right: bool
    counts: dict[str, int]

    def __repr__(self) -> str:
        return f"Disagreement(place={self.place}, right={self.right}, majority_right={self.majority_right})"


class Evaluation(_Part):
    """Everything that `medprm evaluate` found in one file.

    Args:
        total: The figures over all judged questions.
        sources: The figures of each data source, in the order of the file.
        average: The mean of the sources' figures, each source with the same weight, as the paper averages benchmarks;
            None with fewer than two sources. Its counts are the total's.
        sizes: The numbers of candidates n.
        aggregates: The aggregates, the first of them first.
        subsets: Most subsets of n candidates per question.
        resamples: Bootstrap resamples.
        flips: Sign flips of the paired test.
        seed: Seed of subsets, bootstrap and test.
        disagreements: The first questions where reward and majority disagree.
        disagreed: Number of all such questions.
        scored_here: Questions whose rewards were computed for this evaluation, now or before it was interrupted; the
            others' were in the file.
        kept: Those of them whose rewards were in the journal already.
        without_documents: Those of them that have no documents: their rewards are of a model that sees none.
        documents_left_out: Those of them whose documents did not all fit the budget that the model was trained with.
        repeated: Judged questions whose text stood in the file before.
        model: What computed them; None if all rewards were in the file.
        engine: How: on what device, in what dtype, with quantized weights or not, or by which server.
    """

    total: SourceResult
    sources: list[SourceResult]
    average: SourceResult | None
    sizes: list[int]
    aggregates: list[str]
    subsets: int
    resamples: int
    flips: int
    seed: int
    disagreements: list[Disagreement]
    disagreed: int
    scored_here: int
    kept: int = 0
    without_documents: int = 0
    documents_left_out: int
    repeated: int
    model: str | None = None
    engine: str | None = None

    def __repr__(self) -> str:
        return f"Evaluation({self.total.questions} questions, {len(self.sources)} sources, sizes={self.sizes})"

    __str__ = __repr__
