"""How an `Evaluation` looks in a terminal: `to_rich` for the command line, `to_text` for a file or a log.

The figures become `Sheet`s first, tables of text that are safe to show; the page in `evaluation_html` draws the same
ones. Accuracies are percentages with one decimal and, in brackets, their 95% interval; gains are points of percent.
A figure that does not exist is a dash.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medprm_scorer.evaluation.results import CHOICES, REWARD_CHOICES, Cell, Evaluation, Interval, SourceResult
from medprm_scorer.text.sanitize import clean_text

WIDTH = 110
"""Columns of `to_text`."""

LABELS = {
    "single": "single",
    "majority_vote": "majority vote",
    "best_of_n": "best-of-n",
    "weighted_vote": "weighted vote",
    "oracle": "oracle",
}
"""What each of `CHOICES` is called."""

_INDENT = 2
_LABEL_WIDTH = 22  # of the first column; longer names of sources are folded
_P_SHOWN = 0.0001
_FEW = 30  # questions; with fewer, a percentile bootstrap covers less than it says


@dataclass(frozen=True)
class Sheet:
    """A table whose texts are safe to show; rich draws it, each interval under its figure where columns are few.

    Args:
        title: What the figures are; one line.
        columns: Heads of the columns; the first is that of the labels.
        rows: One text for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table as wide as it must be, within the console's width."""
        stacked = tuple((row[0], *(cell.replace(" [", "\n[") for cell in row[1:])) for row in self.rows)
        for rows, gap in ((self.rows, 2), (self.rows, 1), (stacked, 2), (stacked, 1)):
            widths = self._widths(rows)
            if sum(widths) + gap * (len(widths) - 1) + _INDENT <= options.max_width:
                break
        table = Table.grid(padding=(0, gap))
        for place, width in enumerate(widths):
            if place:
                table.add_column(justify="right", max_width=width)
            else:
                numbers = all(row[0].isdigit() for row in rows)
                table.add_column(justify="right" if numbers else "left", max_width=width, overflow="fold")
        heads = [
            name if len(name) <= width else _stacked(name) for name, width in zip(self.columns, widths, strict=True)
        ]
        table.add_row(*(Text(head, style="dim") for head in heads))
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        yield Text(self.title, style="bold")
        yield Padding(table, (0, 0, 0, _INDENT), expand=False)

    def _widths(self, rows: Sequence[Sequence[str]]) -> list[int]:
        """Columns of the screen for each column: its longest line, or its head with one word to a line."""
        widths = []
        for place, name in enumerate(self.columns):
            lines = [line for row in rows for line in row[place].split("\n")] + name.split()
            widths.append(max(map(cell_len, lines), default=0))
        widths[0] = min(widths[0], _LABEL_WIDTH)
        return widths


def to_text(evaluation: Evaluation, *, official: bool = False) -> str:
    """The evaluation as plain text of at most 110 columns: no ANSI codes, and ASCII but for what names hold.

    Args:
        evaluation: What to draw.
        official: With the authors' own selection.
    """
    out = StringIO()
    console = Console(
        file=out, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    )
    console.print(to_rich(evaluation, ascii_only=True, official=official))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def to_rich(evaluation: Evaluation, *, ascii_only: bool = False, official: bool = False) -> RenderableType:
    """The evaluation for a rich console.

    Args:
        evaluation: What to draw.
        ascii_only: Write signs in ASCII, for an output that can show nothing else.
        official: With the authors' own selection, beside majority vote.
    """
    first, *others = summary(evaluation)
    parts: list[RenderableType] = [Text(first, style="bold"), *(Text(line) for line in others)]
    for sheet in sheets(evaluation, ascii_only=ascii_only, official=official):
        parts += [Text(), sheet]
    return Group(*parts, Text(), Text(method(evaluation), style="dim"))


def summary(evaluation: Evaluation) -> list[str]:
    """What was evaluated and what was left out, a sentence to a line."""
    total = evaluation.total
    lines = [
        f"{_count(total.questions, 'question')}, {_count(total.candidates, 'candidate')}, "
        f"{_count(len(evaluation.sources), 'data source')}"
    ]
    if total.open_ended:
        lines.append(
            f"{_count(total.open_ended, 'question')} left out: it is not known of every candidate whether it is right "
            "(open-ended, or without a correct answer)."
        )
    if not total.questions:
        lines.append("There is nothing to compare: no question has a judged answer.")
    if evaluation.repeated:
        lines.append(
            f"{_count(evaluation.repeated, 'question')} stood in the file before: intervals and tests take them as new."
        )
    if total.unanswered:
        gives = "gives no answer and never votes" if total.unanswered == 1 else "give no answer and never vote"
        lines.append(f"{_count(total.unanswered, 'candidate')} {gives}.")
    if total.unscored:
        lines.append(f"{_count(total.unscored, 'candidate')} could not be scored; rewards never choose such a one.")
    if total.without_rewards:
        lines.append(
            f"{_count(total.without_rewards, 'question')} without any scored candidate: choices by rewards count as "
            "wrong there."
        )
    if evaluation.without_documents:
        lines.append(
            f"{_count(evaluation.without_documents, 'question')} without documents: the model judged such chains "
            "without any evidence."
        )
    if evaluation.documents_left_out:
        lines.append(
            f"{_count(evaluation.documents_left_out, 'question')} with more documents than the model reads: the last "
            "ones were left out."
        )
    fewer = [(n, count) for n, count in sorted(total.fewer.items()) if count]
    if fewer:
        have = "has" if fewer[0][1] == 1 else "have"
        first = f"{_count(fewer[0][1], 'question')} {have} fewer than {_count(fewer[0][0], 'candidate')}"
        rest = "".join(f", {count:,} fewer than {n:,}" for n, count in fewer[1:])
        lines.append(f"{first}{rest}; such a question takes part with all that it has.")
    if evaluation.scored_here:
        model = f" by {_line(evaluation.model)}" if evaluation.model else ""
        engine = f" [{_line(evaluation.engine)}]" if evaluation.engine not in (None, evaluation.model) else ""
        kept = f"; {evaluation.kept:,} of them by earlier runs" if evaluation.kept else ""
        lines.append(f"Rewards of {_count(evaluation.scored_here, 'question')} were computed{model}{engine}{kept}.")
    elif total.questions:
        lines.append("All rewards were in the file.")
    few = [source for source in evaluation.sources if 0 < source.questions < _FEW]
    if 0 < total.questions < _FEW:
        lines.append(f"Fewer than {_FEW} questions in all: the intervals are too narrow.")
    elif few:
        lines.append(f"{_count(len(few), 'source')} with fewer than {_FEW} questions: such intervals are too narrow.")
    return lines


def sheets(evaluation: Evaluation, *, ascii_only: bool = False, official: bool = False) -> list[Sheet]:
    """The tables: by number of candidates, by data source and, if asked for, of the authors' selection.

    Args:
        evaluation: Where the figures come from.
        ascii_only: Write dashes and `<=` in ASCII.
        official: With the authors' own selection.

    Returns:
        For the first aggregate, accuracies and gains by n; for each other aggregate one table of both; then one table
        of the sources at the largest n. None of these without sizes or aggregates.
    """
    signs = _Signs(ascii_only, smallest_p=max(_P_SHOWN, 1 / (1 + evaluation.flips)))
    found: list[Sheet] = []
    if evaluation.sizes and evaluation.aggregates:
        first, *others = evaluation.aggregates
        found += [_accuracies(evaluation, first, signs), _gains(evaluation, first, signs)]
        found += [_other_aggregate(evaluation, aggregate, signs) for aggregate in others]
        found.append(_by_source(evaluation, first, signs))
    if official:
        found.append(_official(evaluation, signs))
    return found


def method(evaluation: Evaluation) -> str:
    """How the figures came about."""
    return (
        "Where n is less than a question's number of candidates, its figures are expected values over subsets of n (at "
        f"most {evaluation.subsets:,} per question, seed {evaluation.seed}). Intervals are 95% bootstrap intervals "
        f"over questions ({evaluation.resamples:,} resamples); p is of the two-sided paired sign-flip permutation test "
        f"against majority vote ({evaluation.flips:,} flips); where few questions differ, an interval may leave out 0 "
        "though p is large: believe p. A tie of votes goes to the answer that stands first in the file."
    )


def source_name(source: str) -> str:
    """The name of a data source on one line, safe to show.

    Example:
        >>> source_name("med_qa"), source_name("")
        ('med_qa', '(no source)')
    """
    return _line(source) or "(no source)"


@dataclass(frozen=True)
class _Signs:
    """Numbers as text, with signs that the output can show."""

    ascii_only: bool
    smallest_p: float

    @property
    def none(self) -> str:
        return "-" if self.ascii_only else "–"

    def percent(self, value: float | None) -> str:
        return self.none if value is None or not math.isfinite(value) else f"{100 * value:.1f}"

    def accuracy(self, interval: Interval | None) -> str:
        """`71.2 [69.9, 72.4]`."""
        return self._with_interval(interval, ".1f")

    def gain(self, interval: Interval | None) -> str:
        """`+1.3 [-0.2, +2.8]`, in points."""
        return self._with_interval(interval, "+.1f")

    def p(self, value: float | None) -> str:
        """Four decimals; what these or the number of flips cannot tell from less is shown as that much or less."""
        if value is None or not math.isfinite(value):
            return self.none
        if value > self.smallest_p:
            return f"{value:.4f}"
        return f"{'<=' if self.ascii_only else '≤'}{math.ceil(1e4 * self.smallest_p) / 1e4:.4f}"

    def _with_interval(self, interval: Interval | None, form: str) -> str:
        if interval is None:
            return self.none
        values = (interval.value, interval.low, interval.high)
        if not all(map(math.isfinite, values)):
            return self.none
        # adding 0.0 makes a rounded -0.0 positive
        value, low, high = (format(round(100 * value, 1) + 0.0, form) for value in values)
        return f"{value} [{low}, {high}]"


def _accuracies(evaluation: Evaluation, aggregate: str, signs: _Signs) -> Sheet:
    rows = []
    for n in evaluation.sizes:
        found = [_cell(evaluation.total, n, choice, aggregate) for choice in CHOICES]
        rows.append((f"{n}", *(signs.accuracy(cell.accuracy if cell else None) for cell in found)))
    title = f"Accuracy in percent by number of candidates n, chain reward = {_line(aggregate)} of its steps"
    return Sheet(title, ("n", *(LABELS[choice] for choice in CHOICES)), tuple(rows))


def _gains(evaluation: Evaluation, aggregate: str, signs: _Signs) -> Sheet:
    rows = []
    for n in evaluation.sizes:
        row = [f"{n}"]
        for choice in ("weighted_vote", "best_of_n"):
            row += _gain_and_p(_cell(evaluation.total, n, choice, aggregate), signs)
        rows.append(tuple(row))
    title = "Gain over majority vote in points"
    return Sheet(title, ("n", "weighted vote", "p", "best-of-n", "p"), tuple(rows))


def _other_aggregate(evaluation: Evaluation, aggregate: str, signs: _Signs) -> Sheet:
    """What depends on the aggregate: the two choices by rewards, and the weighted vote's gain."""
    rows = []
    for n in evaluation.sizes:
        best, vote = (_cell(evaluation.total, n, choice, aggregate) for choice in REWARD_CHOICES)
        accuracies = (signs.accuracy(cell.accuracy if cell else None) for cell in (best, vote))
        rows.append((f"{n}", *accuracies, *_gain_and_p(vote, signs)))
    title = (
        f"Chain reward = {_line(aggregate)}: accuracy in percent; the weighted vote's gain over majority vote in points"
    )
    columns = ("n", *(LABELS[choice] for choice in REWARD_CHOICES), "gain", "p")
    return Sheet(title, columns, tuple(rows))


def _by_source(evaluation: Evaluation, aggregate: str, signs: _Signs) -> Sheet:
    n = max(evaluation.sizes)
    parts = [(source_name(part.source), f"{part.questions:,}", part) for part in evaluation.sources]
    if evaluation.average is not None:
        parts.append(("mean of sources", signs.none, evaluation.average))
    parts.append(("all questions", f"{evaluation.total.questions:,}", evaluation.total))
    rows = []
    for name, questions, part in parts:
        found = [_cell(part, n, choice, aggregate) for choice in CHOICES]
        values = (signs.percent(cell.accuracy.value if cell else None) for cell in found)
        vote = _cell(part, n, "weighted_vote", aggregate)
        rows.append((name, questions, *values, *_gain_and_p(vote, signs)))
    title = f"Accuracy in percent by data source, n = {n}; the weighted vote's gain over majority vote in points"
    return Sheet(title, ("source", "questions", *(LABELS[choice] for choice in CHOICES), "gain", "p"), tuple(rows))


def _official(evaluation: Evaluation, signs: _Signs) -> Sheet:
    def of(right: int, questions: int) -> str:
        return f"{right:,} / {questions:,} ({right / questions:.1%})" if questions else f"{right:,} / 0 ({signs.none})"

    rows = []
    for name, part in [
        *((source_name(part.source), part) for part in evaluation.sources),
        ("all questions", evaluation.total),
    ]:
        counts = (part.official.right, part.official.majority_right)
        rows.append((name, *(of(right, part.questions) for right in counts)))
    judged = [part for part in evaluation.sources if part.questions]
    if len(judged) > 1:
        best = sum(part.official.right / part.questions for part in judged) / len(judged)
        majority = sum(part.official.majority_right / part.questions for part in judged) / len(judged)
        rows.insert(-1, ("mean of sources", f"{best:.1%}", f"{majority:.1%}"))
    title = "Right by the authors' own selection (highest min reward, all candidates) and by majority vote"
    return Sheet(title, ("source", "authors' selection", "majority vote"), tuple(rows))


def _gain_and_p(cell: Cell | None, signs: _Signs) -> tuple[str, str]:
    return (signs.gain(cell.gain), signs.p(cell.p_value)) if cell else (signs.none, signs.none)


def _cell(part: SourceResult, n: int, choice: str, aggregate: str) -> Cell | None:
    """The cell, or None where there is none: a part without judged questions may have no figures."""
    try:
        return part.cell(n, choice, aggregate if choice in REWARD_CHOICES else None)
    except KeyError:
        return None


def _stacked(name: str) -> str:
    return name.replace(" ", "\n")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _line(text: str) -> str:
    return clean_text(text, newlines=False).strip()
