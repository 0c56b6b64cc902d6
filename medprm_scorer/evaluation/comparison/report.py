"""The report of a `RunComparison`, for the terminal and the page."""

from medprm_scorer.evaluation.comparison.results import ChoiceComparison, RunComparison, Side
from medprm_scorer.evaluation.provenance import document_lines, provenance_lines
from medprm_scorer.evaluation.report_tables import LABELS, source_name
from medprm_scorer.evaluation.sheets import FEW, Report, Sheet, Signs, counted
from medprm_scorer.text.sanitize import one_line


def report(found: RunComparison, *, ascii_only: bool = False) -> Report:
    """The report.

    Args:
        found: What to show.
        ascii_only: Write symbols in ASCII, for an output that can show nothing else.
    """
    signs, exact = Signs.of(found.flips, ascii_only), Signs.of(10**6, ascii_only)
    sheets = [_differences(found, signs), _tests(found, exact), _by_source(found, signs)]
    notes = [*_method(found, sheets)]
    for name, side in (("A", found.here), ("B", found.there)):
        notes += [f"{name}: {line}" for line in provenance_lines(side.provenance)]
    return Report(_headline(found, exact), _summary(found), sheets, notes)


def _headline(found: RunComparison, signs: Signs) -> str:
    first = found.total.choices[0]
    name = LABELS[first.choice]
    figures = f"A {signs.value(first.accuracy)}, B {signs.value(first.other_accuracy)}"
    p = signs.p(first.p_value if first.mcnemar is None else first.mcnemar)
    about = f"percent of {counted(found.total.questions, 'question')} in both files"
    return f"{name[0].upper()}{name[1:]}: {figures}, A less B {signs.gain(first.difference)}, p {p} ({about})"


def _summary(found: RunComparison) -> list[str]:
    lines = []
    for name, side in (("A", found.here), ("B", found.there)):
        file = f" ({one_line(side.provenance.file)})" if side.provenance is not None else ""
        lines.append(f"{name}{file}: {counted(side.judged, 'judged question')}, {_left_out(side)}")
        if side.without_rewards:
            lines.append(
                f"{name}: {counted(side.without_rewards, 'question')} without any scored candidate: choices by rewards "
                "count as wrong there."
            )
        lines += [f"{name}: {line}" for line in document_lines(side)]
    how = "their ids and their texts" if found.by_id else "their texts (some have no id)"
    lines.append(f"Questions were matched by {how}.")
    if found.conflicts:
        lines.append(f"{counted(found.conflicts, 'id')} in both files with different questions: left out.")
    if found.same_candidates:
        lines.append("The candidates are the same, so ways of choosing without rewards are, too, and are left out.")
    if found.total.questions < FEW:
        lines.append(f"Fewer than {FEW} questions in all: the intervals are too narrow.")
    return lines


def _left_out(side: Side) -> str:
    parts = [f"{side.unmatched:,} of them not in the other file"]
    if side.unjudged:
        parts.append(f"{side.unjudged:,} more without judged answers")
    if side.failed:
        parts.append(f"{counted(side.failed, 'line')} with an error")
    return ", ".join(parts)


def _name(row: ChoiceComparison) -> str:
    if row.aggregate is None:
        return LABELS[row.choice]
    against = "" if row.other_aggregate == row.aggregate else f" / {row.other_aggregate}"
    return f"{LABELS[row.choice]}, {row.aggregate}{against}"


def _differences(found: RunComparison, signs: Signs) -> Sheet:
    rows = tuple(
        (
            _name(row),
            signs.value(row.accuracy),
            signs.value(row.other_accuracy),
            signs.gain(row.difference),
            signs.p(row.p_value),
        )
        for row in found.total.choices
    )
    title = "Accuracy in percent with all candidates, and the difference in points"
    return Sheet(title, ("choice", "A", "B", "A less B", "p"), rows)


def _tests(found: RunComparison, signs: Signs) -> Sheet:
    rows = tuple(
        (
            _name(row),
            signs.none if row.only_here is None else f"{row.only_here:,}",
            signs.none if row.only_there is None else f"{row.only_there:,}",
            signs.p(row.mcnemar),
            signs.p(row.adjusted),
        )
        for row in found.total.choices
    )
    title = "Questions that only one run answers correctly, McNemar's exact test, and Holm's correction"
    return Sheet(title, ("choice", "only A", "only B", "p", "p by Holm"), rows)


def _by_source(found: RunComparison, signs: Signs) -> Sheet:
    rows = []
    for part in (*found.sources, found.total):
        name = "all questions" if part is found.total else source_name(part.source)
        row = part.choices[0]
        figures = (signs.value(row.accuracy), signs.value(row.other_accuracy), signs.gain(row.difference))
        rows.append((name, f"{part.questions:,}", *figures))
    title = f"By data source: {_name(found.total.choices[0])}, in percent"
    return Sheet(title, ("source", "count", "A", "B", "A less B"), tuple(rows))


def _method(found: RunComparison, sheets: list[Sheet]) -> list[str]:
    notes = [
        f"Intervals are 95% bootstrap intervals over questions ({found.resamples:,} resamples, seed {found.seed}); p "
        f"beside a difference is of the two-sided paired sign-flip permutation test ({found.flips:,} flips), p beside "
        "counts of McNemar's exact test. Holm's correction is for the number of rows, of McNemar's p where there is "
        "one; differences by data source are not corrected. Where few questions differ, the two p may differ, and an "
        "interval may leave out 0 although p is large: trust McNemar's p then, which is exact."
    ]
    if len(found.total.choices) > 1 and sheets:
        notes.append("Choose the row that counts before looking, or trust the corrected p.")
    return notes
