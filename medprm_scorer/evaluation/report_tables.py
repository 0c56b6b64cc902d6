"""The figures of an `Evaluation` as tables of text, the same for the terminal and the page.

Accuracies are percentages with one decimal and, in brackets, their 95% interval, which is omitted for a single sample
and the oracle; gains are in percentage points. A figure that does not exist is a dash.
"""

from medprm_scorer.evaluation.results import (
    CHOICES,
    REWARD_CHOICES,
    Cell,
    Comparison,
    Evaluation,
    Paper,
    SourceResult,
    Stopping,
)
from medprm_scorer.evaluation.sheets import Sheet, Signs
from medprm_scorer.text.sanitize import one_line

LABELS = {
    "single": "single",
    "majority_vote": "majority vote",
    "best_of_n": "best of n",
    "weighted_vote": "weighted vote",
    "oracle": "oracle",
}
"""The label of each of `CHOICES`."""

ENDS = ("single", "oracle")
"""The two choices that bound the others: shown without intervals."""


def sheets(evaluation: Evaluation, *, ascii_only: bool = False, official: bool = False) -> list[Sheet]:
    """All the tables.

    Args:
        evaluation: Where the figures come from.
        ascii_only: Write dashes, marks and `<=` in ASCII.
        official: Include the authors' own selection.

    Returns:
        The paper's table, if the evaluation has it. For the first aggregate, accuracies and gains by n; for each other
        aggregate, one table of both; accuracies and gains of the sources at the largest n. Without sizes, none of
        these; without rewards, only those of accuracies. Then the stopping rules and the authors' selection, if
        requested.
    """
    signs = Signs.of(evaluation.flips, ascii_only)
    found: list[Sheet] = []
    if evaluation.paper is not None:
        found.append(_paper(evaluation.paper, signs))
    if evaluation.sizes:
        found.append(_accuracies(evaluation, signs))
        if evaluation.aggregates:
            first, *others = evaluation.aggregates
            found.append(_gains(evaluation, first, signs))
            found += [_other_aggregate(evaluation, aggregate, signs) for aggregate in others]
        found.append(_sources(evaluation, signs))
        if evaluation.aggregates:
            found.append(_source_gains(evaluation, evaluation.aggregates[0], signs))
    if evaluation.stopping is not None:
        found += _stopping(evaluation.stopping, signs)
    if official:
        found.append(_official(evaluation, signs))
    return found


def source_name(source: str) -> str:
    """The name of a data source on one line, safe to show.

    Example:
        >>> source_name("med_qa"), source_name("")
        ('med_qa', '(no source)')
    """
    return one_line(source) or "(no source)"


def find_cell(part: SourceResult, n: int, choice: str, aggregate: str | None) -> Cell | None:
    """The cell of one n and choice; None if there is none, as in a part without judged questions."""
    try:
        return part.cell(n, choice, aggregate if choice in REWARD_CHOICES else None)
    except KeyError:
        return None


def _choices(evaluation: Evaluation) -> list[str]:
    return [choice for choice in CHOICES if evaluation.aggregates or choice not in REWARD_CHOICES]


def _first(evaluation: Evaluation) -> str | None:
    return evaluation.aggregates[0] if evaluation.aggregates else None


def _accuracies(evaluation: Evaluation, signs: Signs) -> Sheet:
    aggregate, choices = _first(evaluation), _choices(evaluation)
    rows = []
    for n in evaluation.sizes:
        row = [f"{n}"]
        for choice in choices:
            cell = find_cell(evaluation.total, n, choice, aggregate)
            show = signs.value if choice in ENDS else signs.accuracy
            row.append(show(cell.accuracy if cell else None))
        rows.append(tuple(row))
    title = "Accuracy in percent by number of candidates n"
    if aggregate is not None:
        title += f", chain reward = {one_line(aggregate)} of its steps"
    return Sheet(title, ("n", *(LABELS[choice] for choice in choices)), tuple(rows))


def _gains(evaluation: Evaluation, aggregate: str, signs: Signs) -> Sheet:
    rows = []
    for n in evaluation.sizes:
        row = [f"{n}"]
        for choice in ("weighted_vote", "best_of_n"):
            row += _gain_and_p(find_cell(evaluation.total, n, choice, aggregate), signs)
        rows.append(tuple(row))
    title = "Gain over majority vote in points"
    return Sheet(title, ("n", LABELS["weighted_vote"], "p", LABELS["best_of_n"], "p"), tuple(rows))


def _other_aggregate(evaluation: Evaluation, aggregate: str, signs: Signs) -> Sheet:
    """The part that depends on the aggregate: the two choices by rewards, and the weighted vote's gain."""
    rows = []
    for n in evaluation.sizes:
        best, vote = (find_cell(evaluation.total, n, choice, aggregate) for choice in REWARD_CHOICES)
        accuracies = (signs.accuracy(cell.accuracy if cell else None) for cell in (best, vote))
        rows.append((f"{n}", *accuracies, *_gain_and_p(vote, signs)))
    title = f"Chain reward = {one_line(aggregate)}: accuracy in percent, the weighted vote's gain in points"
    columns = ("n", *(LABELS[choice] for choice in REWARD_CHOICES), "gain", "p")
    return Sheet(title, columns, tuple(rows))


def _parts(evaluation: Evaluation, signs: Signs) -> list[tuple[str, str, SourceResult]]:
    """Name, number of questions and figures of each source, of their average, and of all questions."""
    parts = [(source_name(part.source), f"{part.questions:,}", part) for part in evaluation.sources]
    if evaluation.average is not None:
        parts.append(("macro average", signs.none, evaluation.average))
    return [*parts, ("all questions", f"{evaluation.total.questions:,}", evaluation.total)]


def _sources(evaluation: Evaluation, signs: Signs) -> Sheet:
    n, aggregate, choices = max(evaluation.sizes), _first(evaluation), _choices(evaluation)
    rows = []
    for name, questions, part in _parts(evaluation, signs):
        cells = [find_cell(part, n, choice, aggregate) for choice in choices]
        rows.append((name, questions, *(signs.value(cell.accuracy if cell else None) for cell in cells)))
    title = f"Accuracy in percent by data source, n = {n}"
    return Sheet(title, ("source", "count", *(LABELS[choice] for choice in choices)), tuple(rows))


def _source_gains(evaluation: Evaluation, aggregate: str, signs: Signs) -> Sheet:
    n = max(evaluation.sizes)
    rows = [
        (name, *_gain_and_p(find_cell(part, n, "weighted_vote", aggregate), signs))
        for name, _, part in _parts(evaluation, signs)
    ]
    title = f"The weighted vote's gain over majority vote in points by data source, n = {n}"
    return Sheet(title, ("source", "gain", "p"), tuple(rows))


def _official(evaluation: Evaluation, signs: Signs) -> Sheet:
    def share(right: int | None, questions: int) -> str:
        if right is None or not questions:
            return signs.none
        return f"{right:,} / {questions:,} ({right / questions:.1%})"

    rows = []
    judged: list[tuple[float | None, float]] = []
    for name, _, part in _parts(evaluation.model_copy(update={"average": None}), signs):
        found, questions = part.official, part.official.questions or part.questions
        rows.append((name, share(found.right, questions), share(found.majority_right, questions)))
        if part is not evaluation.total and questions:
            right = None if found.right is None else found.right / questions
            judged.append((right, found.majority_right / questions))
    if len(judged) > 1:
        bests = [best for best, _ in judged if best is not None]
        best = f"{sum(bests) / len(bests):.1%}" if len(bests) == len(judged) else signs.none
        rows.insert(-1, ("macro average", best, f"{sum(majority for _, majority in judged) / len(judged):.1%}"))
    title = "Right by the authors' own selection (highest min reward) and by majority vote"
    return Sheet(title, ("source", "authors' selection", "majority vote"), tuple(rows))


def _stopping(found: Stopping, signs: Signs) -> list[Sheet]:
    """The fixed numbers of samples and the rules; then the rules compared with fixed numbers of the same cost."""
    rows, gains = [], []
    for one in [*found.fixed, *found.rules]:
        name, samples = one_line(one.rule), f"{one.samples.value:.1f}"
        rows.append((name, samples, signs.accuracy(one.accuracy), *_compared(one.to_all, signs)))
        if one.to_equal is not None:
            gains.append((name, samples, *_compared(one.to_equal, signs)))
    all_ = f"gain over n={found.maximum}"
    return [
        Sheet(
            f"Stopping rules: mean samples, accuracy of the weighted vote in percent, chain reward = "
            f"{one_line(found.aggregate)}",
            ("rule", "samples", "accuracy", all_, "p"),
            tuple(rows),
        ),
        Sheet("Gain over a fixed number of samples with the same mean", ("rule", "samples", "gain", "p"), tuple(gains)),
    ]


def _compared(comparison: Comparison | None, signs: Signs) -> tuple[str, str]:
    return (signs.gain(comparison.gain), signs.p(comparison.p_value)) if comparison else (signs.none, signs.none)


def _paper(paper: Paper, signs: Signs) -> Sheet:
    """The paper's benchmarks, the published figures below ours, and majority vote's counts next to the known ones.

    A benchmark that the file has no questions of has dashes.
    """
    choices = CHOICES[:4]

    def row(name: str, questions: str, values: dict[str, float | None], *counts: str) -> tuple[str, ...]:
        return (name, questions, *(signs.percent(values.get(choice)) for choice in choices), *(counts or ("", "")))

    def check(right: int, released: int) -> str:
        return ("ok" if signs.ascii_only else "✓") if right == released else f"{right - released:+,}"

    rows = []
    for one in paper.rows:
        ours, counts = {}, (signs.none, signs.none)
        if one.questions:
            ours = {choice: getattr(one, choice) for choice in choices}
            counts = (f"{one.majority_right:,}", check(one.majority_right, one.released_right))
        rows.append(row(one_line(one.benchmark), f"{one.questions:,}", ours, *counts))
        if one.published:
            rows.append(row("  published", "", dict(one.published)))
    name = f"average of {paper.averaged}"
    rows.append(row(name, "", dict(paper.average)))
    if paper.published:
        rows.append(row("  published", "", dict(paper.published)))
    counts = (f"{paper.majority_right:,}", check(paper.majority_right, paper.released_right))
    rows.append(row("all of these", f"{paper.questions:,}", {}, *counts))
    title = "The paper's benchmarks: accuracy in percent, and right answers of majority vote"
    columns = ("benchmark", "count", *(LABELS[choice] for choice in choices), "majority right", "as released")
    return Sheet(title, columns, tuple(rows))


def _gain_and_p(cell: Cell | None, signs: Signs) -> tuple[str, str]:
    return (signs.gain(cell.gain), signs.p(cell.p_value)) if cell else (signs.none, signs.none)
