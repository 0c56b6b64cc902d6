"""The report of a `StepEvaluation`, for the terminal and the page."""

from medprm_scorer.evaluation.provenance import document_lines, provenance_lines, repeated_line, rewards_line
from medprm_scorer.evaluation.report_tables import source_name
from medprm_scorer.evaluation.sheets import FEW, Report, Sheet, Signs, counted
from medprm_scorer.evaluation.step_labels.results import BestThreshold, StepEvaluation, StepFigures
from medprm_scorer.text.sanitize import one_line


def report(found: StepEvaluation, *, ascii_only: bool = False) -> Report:
    """The report.

    Args:
        found: What to show.
        ascii_only: Write symbols in ASCII, for an output that can show nothing else.
    """
    signs = Signs.of(0, ascii_only)
    parts = [*((source_name(part.name), part) for part in found.sources), ("all", found.total)]
    sheets = [
        _first_errors(found, signs),
        _steps("Steps by data source: AUROC and calibration of the rewards", "source", parts, signs),
        _first_errors_by_source(found, parts, signs),
        _steps("Steps by their number in the chain", "step", [(part.name, part) for part in found.numbers], signs),
        _bins(found),
    ]
    labels = []
    if found.labels_file is not None:
        labels.append(f"Labels: {one_line(found.labels_file)}, SHA-256 {found.labels_sha256}")
    notes = [*_method(found), *provenance_lines(found.provenance), *labels]
    return Report(_headline(found, signs), _summary(found), sheets, notes)


def _headline(found: StepEvaluation, signs: Signs) -> str:
    total = found.total
    harmonic = total.first_error.f1 if total.first_error is not None else None
    about = f"{counted(total.steps, 'step')} of {counted(found.chains, 'chain')}, {_questions(total)}"
    return (
        f"AUROC {signs.number(total.auroc)}, F1 of the first error {signs.accuracy(harmonic)} "
        f"({about}, threshold {found.threshold:g})"
    )


def _questions(part: StepFigures) -> str:
    return counted(part.questions, "question")


def _summary(found: StepEvaluation) -> list[str]:
    total = found.total
    valid = total.steps - total.wrong
    lines = [f"{counted(valid, 'valid step')} and {counted(total.wrong, 'wrong step')} with a label"]
    if found.unknown_steps:
        lines.append(f"{counted(found.unknown_steps, 'step')} without a known label (null) left out.")
    if total.first_error is not None and total.first_error.undetermined:
        lines.append(
            f"{counted(total.first_error.undetermined, 'chain')} left out of the first error: an unknown label leaves "
            "open which step it is."
        )
    if found.unlabelled_questions:
        lines.append(f"{counted(found.unlabelled_questions, 'question')} without labels left out.")
    if found.unlabelled_chains:
        lines.append(f"{counted(found.unlabelled_chains, 'candidate')} without labels left out.")
    if found.unscored:
        lines.append(f"{counted(found.unscored, 'candidate')} with labels could not be scored and were left out.")
    if found.unused_labels:
        lines.append(f"{counted(found.unused_labels, 'record')} of labels belong to no question that was read.")
    if found.repeated:
        lines.append(repeated_line(found.repeated, found.repeated_places, "intervals"))
    if found.failed:
        lines.append(f"{counted(found.failed, 'line')} left out: an error of medprm score instead of a request.")
    lines += [*document_lines(found), rewards_line(found)]
    if total.questions < FEW:
        lines.append(f"Fewer than {FEW} questions in all: the intervals are too narrow.")
    return lines


def _first_errors(found: StepEvaluation, signs: Signs) -> Sheet:
    rows = []
    first, best = found.total.first_error, found.best
    if first is not None:
        figures = (signs.accuracy(first.found), signs.accuracy(first.passed), signs.accuracy(first.f1))
        rows.append((f"{found.threshold:g}", *figures))
    if best is not None:
        rows.append((f"best here: {best.threshold:.4g}", *_of_best(best, signs)))
    columns = ("threshold", "erroneous", "correct", "F1")
    return Sheet("First error: right predictions in percent of the chains, as in ProcessBench", columns, tuple(rows))


def _of_best(best: BestThreshold, signs: Signs) -> tuple[str, str, str]:
    return signs.percent(best.found), signs.percent(best.passed), signs.percent(best.f1)


def _first_errors_by_source(found: StepEvaluation, parts: list[tuple[str, StepFigures]], signs: Signs) -> Sheet:
    rows = []
    for name, part in parts:
        first = part.first_error
        if first is not None:
            figures = (signs.value(first.found), signs.value(first.passed), signs.accuracy(first.f1))
            rows.append((name, f"{first.erroneous:,}", f"{first.correct:,}", *figures))
    title = f"First error by data source, in percent, threshold {found.threshold:g}"
    columns = ("source", "erroneous chains", "correct chains", "found", "passed", "F1")
    return Sheet(title, columns, tuple(rows))


def _steps(title: str, head: str, parts: list[tuple[str, StepFigures]], signs: Signs) -> Sheet:
    rows = []
    for name, part in parts:
        calibration = (signs.plain(part.ece), signs.plain(part.brier))
        rows.append((name, f"{part.steps:,}", f"{part.wrong:,}", signs.number(part.auroc), *calibration))
    return Sheet(title, (head, "steps", "wrong", "AUROC", "ECE", "Brier"), tuple(rows))


def _bins(found: StepEvaluation) -> Sheet:
    rows = tuple((f"{part.mean:.3f}", f"{part.right:.3f}", f"{part.count:,}") for part in found.bins)
    title = "Reliability: rewards in ten bins, and how many of their steps are valid"
    return Sheet(title, ("mean reward", "valid", "steps"), rows)


def _method(found: StepEvaluation) -> list[str]:
    return [
        "AUROC is the probability that a valid step has a higher reward than a wrong one. ECE (ten bins) and Brier "
        "score take the reward for the probability that the step is valid. A chain is predicted to go wrong at its "
        f"first step with a reward below {found.threshold:g}: right on an erroneous chain if that is its first wrong "
        "step, on a correct chain if there is none; F1 is the harmonic mean of the two accuracies (ProcessBench, arXiv "
        "2412.06559).",
        "The best threshold was chosen on these same chains, so its figures are too optimistic: choose "
        "one on other chains.",
        f"Intervals are 95% bootstrap intervals over questions ({found.resamples:,} resamples, seed {found.seed}); a "
        "resample in which a figure does not exist is left out of its interval.",
    ]
