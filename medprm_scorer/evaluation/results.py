"""The results of an evaluation: `Evaluation`, its `SourceResult`s, their `Cell`s of the table, and `Disagreement`s.

Accuracies are fractions in [0, 1]. A `Cell` holds the figures of one selection method at one number of candidates. The
`repr`s show only numbers, since `Disagreement`s contain questions.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CHOICES = ("single", "majority_vote", "best_of_n", "weighted_vote", "oracle")
"""Selection methods, in the order of the tables: `single` is one random sample, `oracle` picks a right one."""

REWARD_CHOICES = ("best_of_n", "weighted_vote")
"""The selection methods that use rewards, and so depend on the aggregate."""


class Part(BaseModel):
    """A part of a result: frozen, and without input text in validation errors."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Interval(Part):
    """A mean over questions with the two ends of its bootstrap 95 % interval."""

    value: float
    low: float
    high: float


class Cell(Part):
    """One selection method at one number of candidates.

    Args:
        n: Number of candidates.
        choice: One of `CHOICES`.
        aggregate: How step rewards became a chain reward; None where rewards play no part.
        accuracy: Expected share of questions answered correctly, over subsets of n candidates.
        gain: That accuracy minus majority vote's at the same n, a difference in [-1, 1]; None for majority vote itself.
        p_value: p-value of the paired sign-flip permutation test against majority vote, two-sided; None for majority
            vote.
    """

    n: int = Field(ge=1)
    choice: str
    aggregate: str | None = None
    accuracy: Interval
    gain: Interval | None = None
    p_value: float | None = None


class Official(Part):
    """Counts by the authors' own selection, with all candidates: see `choices.authors_selection`.

    Args:
        right: Questions answered correctly by the candidate with the highest min reward; None without rewards.
        majority_right: Questions answered correctly by the most common recorded answer, without normalization.
        questions: Questions that these counts cover: all that have scores. Those whose scores are all "None" are
            included, and are never right.
    """

    right: int | None
    majority_right: int
    questions: int = 0


class SourceResult(Part):
    """The figures of one data source, or of all questions.

    Args:
        source: The `data_source`, or the group that it belongs to; "" if the file names none; `all` for the total.
        questions: Questions with judged answers, which the figures are about.
        open_ended: Questions left out because it is not known of any candidate whether it is right: all scores are
            "None", or there is no correct answer.
        candidates: Candidates of the judged questions.
        unanswered: Candidates that give no answer: they never vote.
        unscored: Candidates that could not be scored: choices by rewards never take them.
        without_rewards: Questions none of whose candidates could be scored: choices by rewards are wrong there.
        fewer: For each n, how many questions have fewer than n candidates; these take part with all they have.
        cells: The table, by n, then in the order of `CHOICES`, then of the aggregates.
        official: The authors' selection.
        unjudged: Candidates with score "None" in questions where others have a score.
            They count as wrong, as in the authors' scripts.
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
    unjudged: int = 0

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


class Disagreement(Part):
    """A question where the weighted vote over all candidates and majority vote give different answers.

    Args:
        place: Place of the question in the file, from 0.
        id: Its own id, if it has one.
        source: Its data source.
        question: Its text, including its options.
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


class PaperRow(Part):
    """One benchmark of the paper, with all candidates of each question, by the authors' own selection.

    Args:
        benchmark: Its name in the paper.
        questions: How many questions of it the file holds.
        single: Mean share of right candidates.
        majority_vote: Share of questions answered correctly.
        best_of_n: As `majority_vote`; None without rewards.
        weighted_vote: As `majority_vote`; None without rewards.
        majority_right: Questions that majority vote answers correctly.
        released_questions: How many questions of it the released test set holds.
        released_right: How many of those majority vote answers correctly, as counted by others on the unmodified file.
        published: The paper's accuracies by choice, as far as they are known.
    """

    benchmark: str
    questions: int
    single: float
    majority_vote: float
    best_of_n: float | None
    weighted_vote: float | None
    majority_right: int
    released_questions: int
    released_right: int
    published: dict[str, float] = Field(default_factory=dict)

    @property
    def difference(self) -> int:
        """Majority vote's right answers minus those on the released file: 0 if this is that file."""
        return self.majority_right - self.released_right


class Paper(Part):
    """The paper's table: seven benchmarks and their macro average; PubMedQA is separate.

    Args:
        rows: The benchmarks, in the paper's order, and PubMedQA last, which the average leaves out.
        average: By choice, the mean of the benchmarks' accuracies, all with the same weight. Only benchmarks with
            questions in the file take part.
        averaged: How many benchmarks took part, of seven.
        published: The paper's average by choice.
        majority_right: Questions of all rows that majority vote answers correctly.
        questions: Questions of all rows.
        released_right: As `PaperRow.released_right`, over all rows.
        released_questions: As `PaperRow.released_questions`, over all rows.
        others: Data sources in the file that belong to no benchmark.
    """

    rows: list[PaperRow]
    average: dict[str, float]
    averaged: int
    published: dict[str, float]
    majority_right: int
    questions: int
    released_right: int
    released_questions: int
    others: list[str] = Field(default_factory=list)


class Comparison(Part):
    """One sampling method compared with another on the same questions.

    Args:
        gain: Its accuracy minus the other's, a difference in [-1, 1].
        p_value: p-value of the paired sign-flip permutation test, two-sided.
    """

    gain: Interval
    p_value: float


class StoppingRow(Part):
    """One rule for how many samples to draw, with the weighted vote among them.

    Args:
        rule: Its name: `n=8` for a fixed number, otherwise the rule's, such as `confident=0.9`.
        samples: Mean number of samples of a question.
        accuracy: Expected share of questions answered correctly, over random orders of their candidates.
        to_all: Comparison with all samples; None for all samples themselves.
        to_equal: Comparison with a fixed number of samples of the same mean; None for fixed numbers.
    """

    rule: str
    samples: Interval
    accuracy: Interval
    to_all: Comparison | None = None
    to_equal: Comparison | None = None


class Stopping(Part):
    """Stopping rules simulated on stored samples.

    Args:
        aggregate: How step rewards became chain rewards.
        maximum: Most samples of a question.
        orders: Random orders of each question's candidates.
        questions: Questions that the figures cover.
        fixed: Fixed numbers of samples, ascending; the last is `maximum`. A question with fewer takes part with all.
        rules: The rules, in the requested order.
    """

    aggregate: str
    maximum: int
    orders: int
    questions: int
    fixed: list[StoppingRow]
    rules: list[StoppingRow]


class Provenance(Part):
    """What the figures are based on, so that a shared table or plot can be traced.

    Args:
        file: The file's name, without its folder.
        sha256: Its digest, in hexadecimal.
        date: When it was evaluated, UTC, ISO 8601.
        versions: Versions of medprm, Python and numpy; also of torch and transformers if a model was run.
        rewards: `file` (they were stored in it), `model` (they were computed), or `none` (not used).
        model: A readable name of what computed them: hub id, folder or address; None if unknown.
        revision: The requested branch, tag or commit; None for the default.
        settings: What rewards depend on besides the texts, as far as known: `model` (fingerprint of the weights),
            `system` (name of the system prompt), `steps` (rule for steps), `dtype`, `deterministic`, and for a file
            that an evaluation wrote `documents`.
        aggregates: How step rewards became chain rewards; empty without rewards.
        documents: `given`, `none` or `shuffled` (another question's).
        sources: Patterns of the data sources that were kept; empty for all.
        limit: Most questions that were read; None for all.
        candidates: Most candidates of a question that were read; None for all.
    """

    file: str
    sha256: str
    date: str
    versions: dict[str, str]
    rewards: Literal["file", "model", "none"]
    model: str | None = None
    revision: str | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    aggregates: list[str] = Field(default_factory=list)
    documents: Literal["given", "none", "shuffled"] = "given"
    sources: list[str] = Field(default_factory=list)
    limit: int | None = None
    candidates: int | None = None


class WithRewards(Part):
    """Where the rewards behind some figures come from.

    Args:
        scored_here: Questions whose rewards were computed for these figures, now or before the run was interrupted; the
            others' were in the file.
        kept: Those of them whose rewards were already in the journal.
        without_documents: Those of them that have no documents: the model scored them without any.
        documents_left_out: Those of them whose documents did not all fit the budget that the model was trained with.
        model: The model that computed them; None if all rewards were in the file.
        engine: How they were computed: device, dtype, quantized weights or not, or which server.
        provenance: What the figures are based on.
    """

    scored_here: int
    kept: int = 0
    without_documents: int = 0
    documents_left_out: int
    model: str | None = None
    engine: str | None = None
    provenance: Provenance | None = None


class Evaluation(WithRewards):
    """Everything that `medprm evaluate` found in one file; the other fields are those of `WithRewards`.

    Args:
        total: The figures over all judged questions.
        sources: The figures of each data source, in the order of the file.
        average: The macro average over sources (or groups): the mean of their figures, all with the same weight; None
            with fewer than two. Its counts are those of the total.
        sizes: The numbers of candidates n.
        aggregates: How step rewards became chain rewards; disagreements are by the first. Empty if no rewards were
            used: there are then only the cells of `single`, `majority_vote` and `oracle`.
        subsets: Most subsets of n candidates per question.
        resamples: Bootstrap resamples.
        flips: Sign flips of the paired test.
        seed: Seed of subsets, bootstrap and test.
        disagreements: The first questions where reward and majority disagree.
        disagreed: Number of all such questions.
        repeated: Judged questions whose text an earlier record of the file has.
        repeated_places: For the first few of them, the record's place in the file and that of the earlier one.
        paper: The paper's table, if requested.
        options_appended: Questions whose options were in a separate field and were appended.
        failed: Lines of `medprm score` with an error instead of a request, which are left out.
        stopping: Stopping rules, if requested.
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
    repeated: int
    repeated_places: list[tuple[int, int]] = Field(default_factory=list)
    paper: Paper | None = None
    options_appended: int = 0
    failed: int = 0
    stopping: Stopping | None = None

    def __repr__(self) -> str:
        return f"Evaluation({self.total.questions} questions, {len(self.sources)} sources, sizes={self.sizes})"

    __str__ = __repr__
