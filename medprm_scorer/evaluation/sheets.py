"""The parts of the reports of `medprm evaluate`: numbers as text, tables of text, and a report for a terminal.

The headline comes first, then what the figures are based on, then the tables. All tables fit into 80 columns, unless
names are long; on a narrower screen, rich folds them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medprm_scorer.evaluation.results import Interval

WIDTH = 80
"""Columns of a report as plain text."""

FEW = 30
"""Number of questions; with fewer, a percentile bootstrap interval is too narrow."""

_INDENT = 2
_P_SHOWN = 0.0001


@dataclass(frozen=True)
class Sheet:
    """A table whose texts are safe to show.

    Args:
        title: What the figures are; one line.
        columns: Headings of the columns; the first is that of the labels.
        rows: One text for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def has_numbers_for_labels(self) -> bool:
        """Whether the first column holds only numbers."""
        return all(row[0].isdigit() for row in self.rows)

    @property
    def p_values(self) -> int:
        """How many p-values it shows."""
        places = [place for place, name in enumerate(self.columns) if name == "p"]
        return sum(any(char.isdigit() for char in row[place]) for row in self.rows for place in places)


@dataclass(frozen=True)
class Signs:
    """Numbers as text, with symbols that the output can show."""

    ascii_only: bool
    smallest_p: float

    @classmethod
    def of(cls, flips: int, ascii_only: bool) -> "Signs":
        """The symbols for p-values from so many sign flips, which bound them from below."""
        return cls(ascii_only, smallest_p=max(_P_SHOWN, 1 / (1 + flips)))

    @property
    def none(self) -> str:
        """The text for a figure that does not exist."""
        return "-" if self.ascii_only else "–"

    def percent(self, value: float | None) -> str:
        """`71.2`, of a fraction."""
        return self.none if value is None or not math.isfinite(value) else f"{100 * value:.1f}"

    def value(self, interval: Interval | None) -> str:
        """`71.2`, without its interval."""
        return self.percent(None if interval is None else interval.value)

    def accuracy(self, interval: Interval | None) -> str:
        """`71.2 [69.9, 72.4]`."""
        return self._with_interval(interval, ".1f")

    def gain(self, interval: Interval | None) -> str:
        """`+1.3 [-0.2, +2.8]`, in points."""
        return self._with_interval(interval, "+.1f")

    def p(self, value: float | None) -> str:
        """Four decimals; a value at the limit of these or of the number of flips is shown as `<=` that limit."""
        if value is None or not math.isfinite(value):
            return self.none
        if value > self.smallest_p:
            return f"{value:.4f}"
        return f"{'<=' if self.ascii_only else '≤'}{math.ceil(1e4 * self.smallest_p) / 1e4:.4f}"

    def number(self, interval: Interval | None) -> str:
        """`0.873 [0.861, 0.884]`, of a figure that is no percentage."""
        return self._with_interval(interval, ".3f", 1)

    def plain(self, interval: Interval | None) -> str:
        """`0.873`, of a figure that is no percentage, without its interval."""
        return self.none if interval is None or not math.isfinite(interval.value) else f"{interval.value:.3f}"

    def _with_interval(self, interval: Interval | None, form: str, factor: int = 100) -> str:
        if interval is None:
            return self.none
        values = (interval.value, interval.low, interval.high)
        if not all(map(math.isfinite, values)):
            return self.none
        places = int(form[-2])
        # adding 0.0 makes a rounded -0.0 positive
        value, low, high = (format(round(factor * value, places) + 0.0, form) for value in values)
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Report:
    """A report whose texts are safe to show.

    Args:
        headline: The main figure and, in brackets at its end, what it covers.
        summary: What was evaluated and what was left out, one sentence per line.
        sheets: The tables.
        notes: How the figures were computed, and where they come from.
    """

    headline: str
    summary: Sequence[str]
    sheets: Sequence[Sheet]
    notes: Sequence[str]

    def to_rich(self) -> RenderableType:
        """The report for a rich console."""
        figures, bracket, about = self.headline.partition(" (")
        head = f"{figures}\n({about}" if bracket else figures  # a break elsewhere would be hard to read in 80 columns
        parts: list[RenderableType] = [Text(head, style="bold"), Text()]
        parts += [Text(line) for line in self.summary]
        for sheet in self.sheets:
            table = Padding(_table(sheet), (0, 0, 0, _INDENT), expand=False)
            parts += [Text(), Text(sheet.title, style="bold"), table]
        return Group(*parts, Text(), *(Text(note, style="dim") for note in self.notes))

    def to_text(self) -> str:
        """The report as plain text of at most 80 columns: no ANSI codes."""
        out = StringIO()
        console = Console(
            file=out, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
        )
        console.print(self.to_rich())
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural if needed.

    Example:
        >>> counted(1, "question"), counted(1200, "question")
        ('1 question', '1,200 questions')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _table(sheet: Sheet) -> Table:
    """A table that breaks within a word only if a name is longer than the screen."""
    table = Table.grid(padding=(0, 2))
    heads = []
    for place, name in enumerate(sheet.columns):
        cells = [row[place] for row in sheet.rows]
        is_name = place == 0 and not sheet.has_numbers_for_labels
        table.add_column(justify="left" if is_name else "right", overflow="fold")
        heads.append(wrap(name, max(map(cell_len, [*cells, *name.split()])), break_on_hyphens=False))
    height = max(map(len, heads))
    table.add_row(*(Text("\n".join([""] * (height - len(head)) + head), style="dim") for head in heads))
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table
