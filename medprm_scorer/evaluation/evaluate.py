"""`evaluate`: from a file of sampled solutions to the paper's table.

The file is read record by record, so its size does not matter. Rewards come either from the file or from a model, never
from both. A journal stores those that a model computes, so that a stopped run can be resumed. Only numbers are kept for
each question.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medprm_scorer.aggregate import AGGREGATES, aggregate_rewards
from medprm_scorer.errors import InputError, check_choice
from medprm_scorer.evaluation.choices import Candidates, Winners, authors_selection, winners
from medprm_scorer.evaluation.exports import Export, Outcome, per_question_file, scored_file
from medprm_scorer.evaluation.labelled_records import LabelledQuestion, StepRewards
from medprm_scorer.evaluation.paper import AuthorsTally, paper_table
from medprm_scorer.evaluation.provenance import made_with, trace
from medprm_scorer.evaluation.questions import Question, Questions, Repeats, Selection
from medprm_scorer.evaluation.results import Disagreement, Evaluation
from medprm_scorer.evaluation.reward_sources import (
    RewardSource,
    StoredRewards,
    refuse_stored,
    reward_source,
)
from medprm_scorer.evaluation.stopping_table import StoppingTally
from medprm_scorer.evaluation.subset_accuracy import draw_subsets, expected_accuracy
from medprm_scorer.evaluation.table import Resampling, Tally, average_result, columns, group_of, source_result
from medprm_scorer.sampling.stopping import Rule
from medprm_scorer.scorer import MedPRM
from medprm_scorer.text.answers.callers_functions import AnswerFunction

DISAGREEMENTS_KEPT = 100
_MOST_ORDERS = 1000


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Args:
        sizes: Numbers of candidates n, each at least 1; None: powers of two, and the largest number in the file.
        aggregates: One or more of `min last mean prod geomean max min_of_three`; disagreements are by the first.
        subsets: Largest number of subsets of n candidates per question, at least 1.
        how: Settings of the intervals and the paired test; the seed is also that of the subsets.
        rewards: Whether to use rewards. Without them there are only a single sample, majority vote and the oracle.
        rescore: Whether a model may score a file that holds rewards; those are then left alone.
        selection: Which questions, candidates and documents take part.
        groups: Names and patterns of data sources (`("MMLU", "mmlu_*")`): matching sources form one group in the
            tables; the first matching pattern counts.
        paper: Whether to make the paper's table as well.
        stopping: Stopping rules to simulate, with the first aggregate and at most as many samples as the largest size.
        orders: Number of random orders of each question's candidates in which the rules are simulated, at least 1.

    Raises:
        InputError: An option is out of range or unknown.
    """

    sizes: Sequence[int] | None = None
    aggregates: Sequence[str] = ("min",)
    subsets: int = 100
    how: Resampling = field(default_factory=Resampling)
    rewards: bool = True
    rescore: bool = False
    selection: Selection = field(default_factory=Selection)
    groups: Sequence[tuple[str, str]] = ()
    paper: bool = False
    stopping: Sequence[Rule] = ()
    orders: int = 20

    def __post_init__(self) -> None:
        if self.sizes is not None and (not self.sizes or any(n < 1 for n in self.sizes)):
            raise InputError("the numbers of candidates must be whole numbers from 1, such as 1,2,4,8")
        if not self.aggregates or len(set(self.aggregates)) < len(self.aggregates):
            raise InputError("give at least one aggregate, and each only once")
        for aggregate in self.aggregates:
            check_choice("aggregate", aggregate, AGGREGATES)
        if self.subsets < 1:
            raise InputError("subsets must be at least 1")
        if self.stopping and not self.rewards:
            raise InputError("stopping rules need rewards")
        if len(set(self.stopping)) < len(self.stopping):
            raise InputError("give each stopping rule only once")
        if not 1 <= self.orders <= _MOST_ORDERS:
            raise InputError(f"orders must be from 1 to {_MOST_ORDERS:,}")

    @property
    def used_aggregates(self) -> tuple[str, ...]:
        """The aggregates that are evaluated: none without rewards."""
        return tuple(self.aggregates) if self.rewards else ()

    def sizes_up_to(self, total: int) -> list[int]:
        """The numbers of candidates for questions with at most `total`, ascending."""
        if self.sizes is not None:
            return sorted(set(self.sizes))
        return sorted({2**power for power in range(total.bit_length()) if 2**power <= total} | {total})


def evaluate(
    path: str | Path,
    prm: MedPRM | Callable[[], MedPRM] | None = None,
    *,
    plan: Plan | None = None,
    model: str | None = None,
    revision: str | None = None,
    journal: str | Path | None = None,
    per_question: str | Path | None = None,
    scored: str | Path | None = None,
    answer: AnswerFunction | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Compare selection methods on sampled solutions, from a file of questions with known answers.

    Args:
        path: JSON list or JSONL: records of the released test set, requests with `correct_answer`, or the output of
            `medprm score` (see `medprm_scorer.evaluation.labelled_records`).
        prm: Scores the questions of a file without rewards. A function that loads the scorer is called at the first
            question. None takes the rewards in the file.
        plan: What to evaluate; None takes the defaults.
        model: Name of the scorer, for the result.
        revision: Its requested revision, for the result.
        journal: File that stores computed rewards, so that a run can be resumed; None to store none. One journal may
            hold the rewards of several models: only those of this model are read.
        per_question: File for one row per question, `.jsonl` or `.parquet`; see `exports.Outcome.row`.
        scored: File for the questions with their rewards, in the format of the released test set.
        answer: Reads the answer from a chain's text if the file records none; None uses the package's own rules.
        progress: Whether to show a progress bar on stderr. None: a bar on a terminal, otherwise an occasional line.

    Returns:
        The figures, in total and by data source.

    Raises:
        InputError: The file or an option is wrong; the file holds no rewards and `prm` is None; it holds some and `prm`
            is not None, without `plan.rescore`.
        ScoringError: The model gave NaN.
        OutputError: The disk is full.

    Example:
        >>> import json, tempfile
        >>> record = {"question": "Which?", "candidates": ["The answer is (A)", "The answer is (B)"],
        ...           "correct_answer": "B", "step_rewards": [[0.2], [0.9]]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "samples.jsonl")
        ...     _ = file.write_text(json.dumps(record))
        ...     found = evaluate(file)
        >>> [found.total.cell(2, *choice).accuracy.value for choice in (("majority_vote",), ("weighted_vote", "min"))]
        [0.0, 1.0]
    """
    plan = plan or Plan()
    if prm is None and plan.selection.documents != "given":
        raise InputError("the choice of documents needs a model that computes the rewards: name one")
    if prm is None and plan.rescore:
        raise InputError("scoring a file again needs a model: name one")
    if prm is not None and not plan.rewards:
        raise InputError("name a model or leave rewards out, not both")
    if scored is not None and not plan.rewards:
        raise InputError("a file with rewards cannot be written if rewards are left out")
    questions = Questions(path, plan.selection, answer, progress)
    if prm is not None:
        refuse_stored(path, questions.check(), plan.rescore)
    run = _Run(plan, reward_source(prm, journal), model)
    with ExitStack() as stack:
        stack.enter_context(run.source)
        exports: list[Export] = []
        if per_question is not None:
            rows = stack.enter_context(per_question_file(per_question))
            exports.append(lambda outcome: rows(outcome) if outcome.chosen else None)
        if scored is not None:
            exports.append(stack.enter_context(scored_file(scored)))
        for question in questions:
            outcome = run.take(question)
            if outcome is None:
                continue
            if outcome.chosen is not None:
                questions.judged(_right(outcome.chosen, outcome.rewards))
            for export in exports:
                export(outcome)
    return run.result(path, revision)


def _right(chosen: Winners, rewards: StepRewards | None) -> dict[str, float]:
    """Which selection methods were right on a question, for the progress bar."""
    voted = {"majority vote": float(chosen.majority_right)}
    return voted if rewards is None else {"weighted vote": float(chosen.weighted_right), **voted}


class _Run:
    """One pass over the questions: adds up their figures and discards their texts."""

    def __init__(self, plan: Plan, source: RewardSource, model: str | None) -> None:
        self.plan, self.source, self.model = plan, source, model
        self._tallies: dict[str, Tally] = {}
        self._authors: dict[str, AuthorsTally] = {}
        self._disagreements: list[Disagreement] = []
        self._repeats = Repeats()
        most = max(plan.sizes) if plan.sizes is not None else None
        self._stopping = StoppingTally(plan.stopping, plan.orders, most, plan.how.seed) if plan.stopping else None
        self._disagreed = self._failed = self._options_appended = 0

    def take(self, question: Question) -> Outcome | None:
        """Add one question's figures; None if nothing is known about it."""
        if question.labelled is None:
            self._failed += 1
            return None
        labelled, plan = question.labelled, self.plan
        name = group_of(labelled.source, plan.groups)
        tally = self._tallies.setdefault(name, Tally(name))
        self._options_appended += labelled.request.options_appended
        if labelled.right is None:
            tally.open_ended += 1
            stored = labelled.rewards if plan.rewards and isinstance(self.source, StoredRewards) else None
            self._count_as_authors(tally, labelled, stored)
            return self._outcome(question, labelled, stored)
        rewards = self.source.of(question.place, labelled, plan.aggregates) if plan.rewards else None
        self._repeats.add(question.place, labelled)
        self._count_as_authors(tally, labelled, rewards)
        _take(tally, question.place, labelled, labelled.right, rewards, plan)
        first = plan.aggregates[0]
        by_first = _chain_rewards(rewards, first) if rewards is not None else [None] * len(labelled.answers)
        candidates = Candidates(labelled.answers, labelled.right, tuple(by_first))
        if self._stopping is not None:
            self._stopping.add(question.place, candidates)
        chosen = winners(candidates)
        if rewards is not None and chosen.weighted_answer != chosen.majority_answer:
            self._disagreed += 1
            if len(self._disagreements) < DISAGREEMENTS_KEPT:
                self._disagreements.append(_disagreement(question.place, labelled, chosen))
        return self._outcome(question, labelled, rewards, chosen, first)

    def _outcome(
        self,
        question: Question,
        labelled: LabelledQuestion,
        rewards: StepRewards | None,
        chosen: Winners | None = None,
        first: str | None = None,
    ) -> Outcome:
        run = made_with(self.source, self.plan.selection, self.model) if rewards is not None else None
        return Outcome(question.place, question.record, labelled, rewards, chosen, first, run)

    def _count_as_authors(self, tally: Tally, question: LabelledQuestion, rewards: StepRewards | None) -> None:
        if question.scores is None:
            return
        smallest = None if rewards is None else _chain_rewards(rewards, "min")
        chosen = authors_selection(question.raw_answers, question.scores, smallest)
        tally.authors.add(question.scores, chosen)
        self._authors.setdefault(question.source, AuthorsTally()).add(question.scores, chosen)

    def result(self, path: str | Path, revision: str | None) -> Evaluation:
        """All figures."""
        plan, every = self.plan, list(self._tallies.values())
        aggregates = plan.used_aggregates
        sizes = plan.sizes_up_to(max((total for tally in every for total in tally.totals), default=1))
        return Evaluation(
            total=source_result("all", every, sizes, aggregates, plan.how),
            sources=[source_result(tally.source, [tally], sizes, aggregates, plan.how) for tally in every],
            average=average_result(every, sizes, aggregates, plan.how),
            sizes=sizes,
            aggregates=list(aggregates),
            subsets=plan.subsets,
            resamples=plan.how.resamples,
            flips=plan.how.flips,
            seed=plan.how.seed,
            disagreements=self._disagreements,
            disagreed=self._disagreed,
            repeated=self._repeats.count,
            repeated_places=self._repeats.places,
            paper=paper_table(self._authors, plan.rewards) if plan.paper else None,
            options_appended=self._options_appended,
            failed=self._failed,
            stopping=self._stopping.result(sizes, plan.how, aggregates[0]) if self._stopping else None,
            **trace(
                path,
                self.source,
                plan.selection,
                model=self.model,
                revision=revision,
                aggregates=aggregates,
                used=plan.rewards,
            ),
        )


def _take(
    tally: Tally,
    place: int,
    question: LabelledQuestion,
    right: Sequence[bool],
    rewards: StepRewards | None,
    plan: Plan,
) -> None:
    total = len(right)
    by_aggregate = {name: _chain_rewards(rewards, name) for name in plan.used_aggregates} if rewards is not None else {}
    rows = {}
    for n in {min(n, total) for n in plan.sizes_up_to(total)} | {total}:
        subsets = draw_subsets(total, n, plan.subsets, [plan.how.seed, place, n])
        found = expected_accuracy(question.answers, right, by_aggregate, subsets)
        rows[n] = np.array([found[column] for column in columns(plan.used_aggregates)])
    tally.places.append(place)
    tally.totals.append(total)
    tally.rows.append(rows)
    tally.candidates += total
    tally.unjudged += question.unjudged
    tally.unanswered += sum(answer is None for answer in question.answers)
    if rewards is not None:
        tally.unscored += sum(steps is None for steps in rewards)
        tally.without_rewards += all(steps is None for steps in rewards)


def _chain_rewards(rewards: StepRewards, aggregate: str) -> list[float | None]:
    return [None if steps is None else aggregate_rewards(steps, aggregate) for steps in rewards]


def _disagreement(place: int, question: LabelledQuestion, chosen: Winners) -> Disagreement:
    """What to show of a question on which the two votes differ."""
    return Disagreement(
        place=place,
        id=question.id,
        source=question.source,
        question=question.request.question,
        answer=chosen.weighted_answer,
        right=chosen.weighted_right,
        reward=chosen.weighted_reward,
        majority_answer=chosen.majority_answer,
        majority_right=chosen.majority_right,
        counts=chosen.counts,
    )
