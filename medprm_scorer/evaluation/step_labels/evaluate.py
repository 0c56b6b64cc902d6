"""`evaluate_steps`: how well step rewards separate valid steps from wrong ones, on chains with a label per step."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.labelled_records import LabelledQuestion, StepRewards
from medprm_scorer.evaluation.provenance import trace
from medprm_scorer.evaluation.questions import Question, Questions, Repeats, Selection
from medprm_scorer.evaluation.reward_sources import RewardSource, refuse_stored, reward_source
from medprm_scorer.evaluation.sheets import counted
from medprm_scorer.evaluation.step_labels.figures import ChainTable, StepTable, step_figures
from medprm_scorer.evaluation.step_labels.labels import LabelFile, Labels, LabelSource, OwnLabels
from medprm_scorer.evaluation.step_labels.results import StepEvaluation
from medprm_scorer.evaluation.table import Resampling, group_of
from medprm_scorer.files.records import file_digest
from medprm_scorer.scorer import MedPRM
from medprm_scorer.text.steps import split_steps
from medprm_scorer.text.tagged import tagged_pieces
from medprm_scorer.trust.calibration import reliability

_ONLY_MIN = "it holds only PRM_min_score: labels need a reward for each step; score the file again (--rescore)"
_NUMBERS = 10  # steps with this number or a later one share a row


def evaluate_steps(
    path: str | Path,
    labels: str | Path | None = None,
    prm: MedPRM | Callable[[], MedPRM] | None = None,
    *,
    threshold: float = 0.5,
    selection: Selection | None = None,
    groups: Sequence[tuple[str, str]] = (),
    rescore: bool = False,
    how: Resampling | None = None,
    model: str | None = None,
    revision: str | None = None,
    journal: str | Path | None = None,
    progress: bool | None = None,
) -> StepEvaluation:
    """Compare step rewards with step labels.

    Args:
        path: JSON list or JSONL of questions with candidates, in any form that `evaluate` reads; it needs no correct
            answers.
        labels: File with the labels by id; None: they are in the records of `path`, under `step_labels`. See
            `medprm_scorer.evaluation.step_labels.labels`.
        prm: Scores the questions, or a function that loads the scorer; None takes the rewards in the file.
        threshold: A step is predicted to be wrong if its reward is below it, in [0, 1].
        selection: Which questions, candidates and documents take part.
        groups: Names and patterns of data sources, as in `Plan`.
        rescore: Whether `prm` may score a file that already holds rewards, which are then ignored.
        how: Settings of the bootstrap; None takes the defaults.
        model: Name of the scorer, for the result.
        revision: Its requested revision, for the result.
        journal: File that stores computed rewards, so that a run can be resumed; None to store none.
        progress: Whether to show a progress bar on stderr. None: a bar on a terminal, otherwise an occasional line.

    Returns:
        The figures of all steps, by data source and by step number.

    Raises:
        InputError: A file or an option is wrong, no question has labels, there is not one label for each step, rewards
            are missing or only minimum rewards, or the file already holds rewards that a model is to compute.
        ScoringError: The model gave NaN.

    Example:
        >>> import json, tempfile
        >>> record = {"question": "Which?", "candidates": [["Fever.", "So (B)."], ["No fever.", "So (A)."]],
        ...           "step_rewards": [[0.9, 0.8], [0.3, 0.6]], "step_labels": [[1, 1], [0, None]]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "steps.jsonl")
        ...     _ = file.write_text(json.dumps(record))
        ...     found = evaluate_steps(file)
        >>> found.total.steps, found.total.auroc.value, found.total.first_error.f1.value
        (3, 1.0, 1.0)
    """
    if not 0 <= threshold <= 1:
        raise InputError("the threshold must be a number from 0 to 1")
    selection, how = selection or Selection(), how or Resampling()
    if prm is None and (rescore or selection.documents != "given"):
        raise InputError("to score again, or to use other documents, name a model")
    known: LabelSource = OwnLabels() if labels is None else LabelFile(labels)
    questions = Questions(path, selection, progress=progress)
    run = _Run(path, known, threshold, groups)
    with reward_source(prm, journal) as source:
        if prm is not None:
            source.open()
            checked = questions.check(_Check(known, str(source.settings["steps"])))
            refuse_stored(path, checked, rescore)
        for question in questions:
            run.take(question, source)
        if not run.chains.truth:
            where = f"{path}: no question" if labels is None else f"no question of {path} that {labels}"
            raise InputError(
                f"{where} has {'' if labels is None else 'labels for has '}a candidate with step labels and rewards"
            )
        found = run.result(how, trace(path, source, selection, model=model, revision=revision))
    if labels is None:
        return found
    return found.model_copy(update={"labels_file": Path(labels).name, "labels_sha256": file_digest(labels)})


class _Check:
    """Whether a question will be scored, and whether its labels are as many as its candidates have steps."""

    def __init__(self, labels: LabelSource, rule: str) -> None:
        self._labels, self._rule = labels, rule

    def __call__(self, question: Question) -> bool:
        labelled = question.labelled
        labels = None if labelled is None else self._labels.of(question)
        if labelled is None or labels is None:
            return False
        for index, given in enumerate(labels):
            steps = 0 if given is None else self._steps(labelled, index)
            if given is not None and steps:
                what = f"steps (by the rule {self._rule})"
                _check_length(index, len(given), self._labels.where(question), steps, what)
        return True

    def _steps(self, question: LabelledQuestion, index: int) -> int:
        """The number of steps of a candidate that will be scored; 0 if it will not be."""
        request = question.request
        tagged = request.tagged[index].steps if request.tagged and self._rule == "auto" else None
        if tagged is not None:
            return len(tagged_pieces(tagged))
        try:
            return len(split_steps(request.candidates[index], self._rule).steps)
        except InputError:  # it cannot be scored, which is counted later
            return 0


class _Run:
    """One pass over the questions: keeps their numbers and discards their texts."""

    def __init__(
        self, path: str | Path, labels: LabelSource, threshold: float, groups: Sequence[tuple[str, str]]
    ) -> None:
        self._path, self._labels, self.threshold, self._groups = path, labels, threshold, groups
        self.steps, self.chains = StepTable(), ChainTable(threshold)
        self._by_source: dict[str, tuple[StepTable, ChainTable]] = {}
        self._repeats = Repeats()
        self._unknown = self._unlabelled = self._unlabelled_chains = self._unscored = self._failed = 0

    def take(self, question: Question, source: RewardSource) -> None:
        """Add one question's steps.

        Raises:
            InputError: Its labels or its rewards cannot be used; the message names the record.
        """
        labelled = question.labelled
        if labelled is None:
            self._failed += 1
            return
        try:
            labels = self._labels.of(question)
            if labels is None or not any(labels):
                self._unlabelled += 1
                return
            if labelled.only_min and not source.computes:
                raise InputError(_ONLY_MIN)
        except InputError as error:
            raise InputError(f"{self._path}: record {question.place}: {error}") from None
        rewards = source.of(question.place, labelled, ())
        self._repeats.add(question.place, labelled)
        try:
            self._add(question, labelled, labels, rewards)
        except InputError as error:
            raise InputError(f"{self._path}: record {question.place}, {error}") from None

    def _add(self, question: Question, labelled: LabelledQuestion, labels: Labels, rewards: StepRewards) -> None:
        name, place = group_of(labelled.source, self._groups), question.place
        steps, chains = self._by_source.setdefault(name, (StepTable(), ChainTable(self.threshold)))
        for index, (given, found) in enumerate(zip(labels, rewards, strict=True)):
            if given is None:
                self._unlabelled_chains += 1
            elif found is None:
                self._unscored += 1
            else:
                _check_length(index, len(given), self._labels.where(question), len(found), "step rewards")
                self._unknown += given.count(None)
                for step_table in (self.steps, steps):
                    step_table.add(place, found, given)
                for chain_table in (self.chains, chains):
                    chain_table.add(place, found, given)

    def result(self, how: Resampling, rewards: dict[str, object]) -> StepEvaluation:
        """All figures."""
        last = min(max(self.steps.numbers, default=0), _NUMBERS - 1)
        is_open = max(self.steps.numbers, default=0) > last
        numbers = []
        for number in range(last + 1):
            tail = is_open and number == last
            some = self.steps.of_number(number, math.inf if tail else number)
            if some.good:
                numbers.append(step_figures(f"{number + 1}{'+' * tail}", some, None, how.resamples, how.seed))
        return StepEvaluation(
            total=step_figures("all", self.steps, self.chains, how.resamples, how.seed),
            sources=[
                step_figures(name, steps, chains, how.resamples, how.seed)
                for name, (steps, chains) in self._by_source.items()
            ],
            numbers=numbers,
            bins=reliability(self.steps.rewards, self.steps.good).bins,
            threshold=self.threshold,
            best=self.chains.best(),
            chains=len(self.chains.truth),
            unknown_steps=self._unknown,
            unlabelled_questions=self._unlabelled,
            unlabelled_chains=self._unlabelled_chains,
            unscored=self._unscored,
            unused_labels=self._labels.unused,
            repeated=self._repeats.count,
            repeated_places=self._repeats.places,
            failed=self._failed,
            resamples=how.resamples,
            seed=how.seed,
            **rewards,  # type: ignore[arg-type]
        )


def _check_length(index: int, labels: int, where: str, steps: int, what: str) -> None:
    if labels != steps:
        raise InputError(f"candidate {index}: {counted(labels, 'label')}{where} for {steps} {what}; give one for each")
