"""`evaluate`: from a file of sampled solutions to the paper's table.

The file is read record by record, so its size does not matter. Rewards that it holds are taken; the others are computed
and written to a journal, from which an interrupted run goes on. Of each question only numbers are kept.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medprm_scorer.aggregate import AGGREGATES, aggregate_rewards
from medprm_scorer.errors import InputError, MedPRMError, NothingScoredError, QuestionTooLongError
from medprm_scorer.evaluation.labelled_records import JudgedQuestion, parse_judged
from medprm_scorer.evaluation.results import Disagreement, Evaluation
from medprm_scorer.evaluation.subset_accuracy import (
    Candidates,
    Winners,
    draw_subsets,
    expected_accuracy,
    official,
    winners,
)
from medprm_scorer.evaluation.table import Resampling, Tally, average_result, columns, source_result
from medprm_scorer.files.journal import Journal
from medprm_scorer.files.progress import file_bar
from medprm_scorer.files.records import read_records
from medprm_scorer.scorer import MedPRM
from medprm_scorer.text.answers import extract_answer

StepRewards = Sequence[Sequence[float] | None]
"""Of each candidate its step rewards, or None if it could not be scored."""

DISAGREEMENTS_KEPT = 100
_PROBLEMS_NAMED = 5


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Args:
        sizes: Numbers of candidates n, each at least 1; None: powers of two, and the largest number in the file.
        aggregates: One or more of `min last mean prod geomean max min_of_three`; disagreements are by the first.
        subsets: Most subsets of n candidates per question, at least 1.
        how: Of the intervals and the paired test; its seed is that of the subsets, too.

    Raises:
        InputError: An option is out of range or unknown.
    """

    sizes: Sequence[int] | None = None
    aggregates: Sequence[str] = ("min",)
    subsets: int = 100
    how: Resampling = field(default_factory=Resampling)

    def __post_init__(self) -> None:
        if self.sizes is not None and (not self.sizes or any(n < 1 for n in self.sizes)):
            raise InputError("the numbers of candidates must be whole numbers from 1, such as 1,2,4,8")
        if not self.aggregates or len(set(self.aggregates)) < len(self.aggregates):
            raise InputError("give at least one aggregate, and each only once")
        for aggregate in self.aggregates:
            if aggregate not in AGGREGATES:
                raise InputError(f"unknown aggregate {aggregate!r}: choose one of {', '.join(AGGREGATES)}")
        if self.subsets < 1:
            raise InputError("subsets must be at least 1")

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
    journal: str | Path | None = None,
    answer: Callable[[str], str | None] = extract_answer,
    progress: bool | None = None,
) -> Evaluation:
    """Compare ways of choosing among sampled solutions, on a file of judged questions.

    Args:
        path: JSON list or JSONL: records of the released test set, or requests with `correct_answer` (see
            `medprm_scorer.evaluation.labelled_records`).
        prm: Scores questions whose rewards are not in the file; a function is called when the first of them comes.
        plan: What to evaluate; None takes the defaults.
        model: What the scorer is called in the result.
        journal: File that keeps computed rewards, so that an interrupted run can go on; None: keep none.
        answer: Reads the answer from a chain's text where the file records none.
        progress: Whether to show a progress bar on stderr; None: if it is a terminal.

    Returns:
        The figures by data source and in all.

    Raises:
        InputError: The file or an option is wrong; rewards are missing and `prm` is None; the journal is another
            model's.
        ScoringError: The model gave NaN.

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
    scorer = _Scorer(prm, journal, lambda: _check_all(path, answer, progress))
    tallies: dict[str, Tally] = {}
    disagreements: list[Disagreement] = []
    disagreed = repeated = 0
    seen: set[bytes] = set()
    try:
        for place, question in _judged_questions(path, answer, progress):
            tally = tallies.setdefault(question.source, Tally(question.source))
            if question.right is None:
                tally.open_ended += 1
                continue
            try:
                rewards = question.rewards if question.rewards is not None else scorer.rewards(question)
            except MedPRMError as error:
                raise type(error)(f"record {place}: {error}") from None
            known = hashlib.sha256(question.question.encode()).digest()[:8]
            repeated += known in seen
            seen.add(known)
            by_first = _chain_rewards(rewards, plan.aggregates[0])
            chosen = winners(Candidates(question.answers, question.right, tuple(by_first)))
            _take(tally, place, question, question.right, rewards, plan)
            tally.majority_right += chosen.majority_right
            if chosen.weighted_answer != chosen.majority_answer:
                disagreed += 1
                if len(disagreements) < DISAGREEMENTS_KEPT:
                    disagreements.append(_disagreement(place, question, chosen))
    finally:
        scorer.close()
    largest = max((total for tally in tallies.values() for total in tally.totals), default=1)
    sizes = plan.sizes_up_to(largest)
    every = list(tallies.values())
    return Evaluation(
        total=source_result("all", every, sizes, plan.aggregates, plan.how),
        sources=[source_result(tally.source, [tally], sizes, plan.aggregates, plan.how) for tally in every],
        average=average_result(every, sizes, plan.aggregates, plan.how),
        sizes=sizes,
        aggregates=list(plan.aggregates),
        subsets=plan.subsets,
        resamples=plan.how.resamples,
        flips=plan.how.flips,
        seed=plan.how.seed,
        disagreements=disagreements,
        disagreed=disagreed,
        scored_here=scorer.count,
        kept=scorer.kept,
        without_documents=scorer.bare,
        documents_left_out=scorer.cut,
        repeated=repeated,
        model=(model or scorer.name) if scorer.count else None,
        engine=scorer.name,
    )


def _judged_questions(
    path: str | Path, answer: Callable[[str], str | None], progress: bool | None
) -> Iterator[tuple[int, JudgedQuestion]]:
    """The records, each with its place in the file, while a bar shows how much of the file is done."""
    with file_bar(path, "evaluating", progress) as bar:
        for record in read_records(path):
            try:
                question = parse_judged(record.value, answer)
            except InputError as error:
                raise InputError(f"{path}: record {record.place}: {error}") from None
            yield record.place, question
            bar.update(record.end - bar.n)


def _check_all(path: str | Path, answer: Callable[[str], str | None], progress: bool | None) -> None:
    """Read the whole file once before the first question is scored: a bad record must not show after hours of that.

    Raises:
        InputError: Records cannot be used; it counts them, and names the first few.
    """
    problems: list[str] = []
    count = 0
    with file_bar(path, "checking", progress) as bar:
        for record in read_records(path):
            try:
                parse_judged(record.value, answer)
            except InputError as error:
                count += 1
                if len(problems) < _PROBLEMS_NAMED:
                    problems.append(f"record {record.place}: {error}")
            bar.update(record.end - bar.n)
    if count:
        many = f"{count:,} records cannot be used, " if count > 1 else ""
        raise InputError(f"{path}: {many}{'; '.join(problems)}{'; …' if count > len(problems) else ''}")


def _take(
    tally: Tally, place: int, question: JudgedQuestion, right: Sequence[bool], rewards: StepRewards, plan: Plan
) -> None:
    total = len(right)
    by_aggregate = {name: _chain_rewards(rewards, name) for name in plan.aggregates}
    rows = {}
    for n in {min(n, total) for n in plan.sizes_up_to(total)} | {total}:
        subsets = draw_subsets(total, n, plan.subsets, [plan.how.seed, place, n])
        found = expected_accuracy(question.answers, right, by_aggregate, subsets)
        rows[n] = np.array([found[column] for column in columns(plan.aggregates)])
    tally.places.append(place)
    tally.totals.append(total)
    tally.rows.append(rows)
    tally.candidates += total
    tally.unanswered += sum(answer is None for answer in question.answers)
    tally.unscored += sum(steps is None for steps in rewards)
    tally.without_rewards += all(steps is None for steps in rewards)
    tally.right += official(right, _chain_rewards(rewards, "min"))


def _chain_rewards(rewards: StepRewards, aggregate: str) -> list[float | None]:
    return [None if steps is None else aggregate_rewards(steps, aggregate) for steps in rewards]


def _disagreement(place: int, question: JudgedQuestion, chosen: Winners) -> Disagreement:
    """What there is to show of a question where the two votes differ."""
    return Disagreement(
        place=place,
        id=question.id,
        source=question.source,
        question=question.question,
        answer=chosen.weighted_answer,
        right=chosen.weighted_right,
        reward=chosen.best_reward,
        majority_answer=chosen.majority_answer,
        majority_right=chosen.majority_right,
        counts=chosen.counts,
    )


class _Scorer:
    """Computes step rewards when they are first needed, and keeps them in a journal.

    Before the first of them is computed, `before` is called.
    """

    def __init__(
        self, prm: MedPRM | Callable[[], MedPRM] | None, path: str | Path | None, before: Callable[[], None]
    ) -> None:
        self._given, self._before = prm, before
        self._path = path
        self._prm: MedPRM | None = None
        self._journal: Journal | None = None
        self.count = self.kept = 0
        self.cut = self.bare = 0

    @property
    def name(self) -> str | None:
        """What computes the rewards, for people."""
        return self._prm.engine.name if self._prm else None

    def rewards(self, question: JudgedQuestion) -> StepRewards:
        """The step rewards of a question's candidates, from the journal if they are there."""
        prm = self._open()
        self.count += 1
        request = question.request
        key = hashlib.sha256(json.dumps([request.question, request.documents, request.candidates]).encode()).hexdigest()
        known = self._journal.get(key) if self._journal is not None else None
        self.bare += not request.documents
        self.kept += known is not None
        if known is None:
            known = _score(prm, question)
            if self._journal is not None:
                self._journal.add(key, known)
        self.cut += known["documents_left_out"]
        rewards: StepRewards = known["rewards"]
        return rewards

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def _open(self) -> MedPRM:
        if self._prm is None:
            if self._given is None:
                raise InputError("it holds no step rewards for some candidate: give a model to compute them")
            self._before()
            self._prm = self._given if isinstance(self._given, MedPRM) else self._given()
            if self._path is not None:
                self._journal = Journal(self._path, {"holds": "step rewards", **self._prm.settings})
        return self._prm


def _score(prm: MedPRM, question: JudgedQuestion) -> dict[str, Any]:
    """What the journal keeps of a question: its candidates' step rewards, and whether all documents were read."""
    request = question.request
    try:
        ranking = prm.rank(request.question, request.candidates, request.documents)
    except (NothingScoredError, QuestionTooLongError):  # counted as unscored; the others are worth it
        return {"rewards": [None] * len(request.candidates), "documents_left_out": False}
    chains = sorted(ranking.chains, key=lambda chain: chain.index)
    return {
        "rewards": [chain.step_rewards if chain.error is None else None for chain in chains],
        "documents_left_out": ranking.documents_used < ranking.documents_given,
    }
