"""Figures: accuracy by number of candidates, over all questions and by data source.

matplotlib is an optional extra, imported only when a figure is drawn. Figures are made without pyplot, so they need no
display and threads share no state. The colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which
people with common colour blindness can tell apart; every curve also has its own marker and line style.
"""

import math
import re
from collections.abc import Sequence
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.report_tables import ENDS, LABELS, source_name
from medprm_scorer.evaluation.results import CHOICES, REWARD_CHOICES, Evaluation, Provenance, SourceResult, Stopping
from medprm_scorer.files.whole_file import whole_file
from medprm_scorer.text.sanitize import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
"""Formats that figures are written in."""

DPI = 160
"""Dots per inch of a PNG."""

_STYLES: dict[str, tuple[str, str, Any]] = {  # colour, marker, line
    "single": ("#7f7f7f", "x", ":"),
    "majority_vote": ("#E69F00", "s", "--"),
    "best_of_n": ("#CC79A7", "^", "-."),
    "weighted_vote": ("#0072B2", "o", "-"),
    "oracle": ("#009E73", "D", (0, (6, 2, 1, 2, 1, 2))),
    "confident": ("#D55E00", "P", (0, (5, 1))),
    "agree": ("#56B4E9", "v", (0, (3, 1, 1, 1))),
}
_INK = "#1a1a1b"  # of all text and of lines that are not curves; a page substitutes its own colour
_GRID = "#80808059"
_SMALL, _MIDDLE, _LARGE = 9.5, 10.5, 12.0  # points
_LABELLED = 18  # most labels that fit under the large axis
_TITLE_WIDTH, _PANEL_TITLE = 54, 32  # columns of a terminal
_ACROSS = 3  # small panels per row
_SOURCES = 18  # most panels of data sources


def scaling_figure(evaluation: Evaluation, aggregate: str | None = None) -> "Figure":
    """Accuracy in percent over the number of candidates n, one curve for each choice.

    A large panel shows all questions; below it are small ones with the same axes: one for each other aggregate of the
    evaluation, if `aggregate` is None, and one for each data source, if there are several (the first 18). Majority vote
    and the choices by rewards have their 95% intervals. Stopping rules with the same aggregate, if any, are in the
    large panel at their mean number of samples.

    Args:
        evaluation: Where the figures come from.
        aggregate: Which of its aggregates the choices by rewards use; None for the first, with panels of the others.

    Returns:
        The figure, with a tick at each n, and the legend beside the large panel in the order of the curves' right ends.

    Raises:
        InputError: There is no such aggregate, or matplotlib is missing.
    """
    made = figure_type()
    if aggregate is not None and aggregate not in evaluation.aggregates:
        raise InputError(f"the evaluation has no aggregate {aggregate!r}: choose one of {evaluation.aggregates}")
    others = evaluation.aggregates[1:] if aggregate is None else []
    if aggregate is None and evaluation.aggregates:
        aggregate = evaluation.aggregates[0]
    small: list[tuple[str, SourceResult, str | None]]
    small = [(f"chain reward = {one_line(other)}", evaluation.total, other) for other in others]
    sources = [part for part in evaluation.sources if part.cells] if len(evaluation.sources) > 1 else []
    small += [(source_name(part.source), part, aggregate) for part in sources[:_SOURCES]]
    rows = math.ceil(len(small) / _ACROSS)
    figure = made(figsize=(8.4, 5.0 + 2.3 * rows), dpi=DPI, layout="constrained", facecolor="white")
    heights = [5.0, 2.3 * rows] if rows else [5.0]
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = parts[0].subplots()
    sizes = sorted(set(evaluation.sizes))
    curves = _panel(axes, evaluation.total, aggregate, sizes)
    if evaluation.stopping is not None and evaluation.stopping.aggregate == aggregate:
        curves += _stopping_curves(axes, evaluation.stopping)
    axes.set_title(_title(evaluation, aggregate), fontsize=_LARGE, color=_INK, loc="left", parse_math=False)
    number = "number of candidates n" + (" (of stopping rules: the mean)" if evaluation.stopping else "")
    axes.set_xlabel(number, fontsize=_MIDDLE, color=_INK)
    axes.set_ylabel("questions answered correctly (%)", fontsize=_MIDDLE, color=_INK)
    if curves:
        curves.sort(key=lambda curve: -curve[0])
        handles = [handle for _, handle in curves]
        legend = parts[0].legend(
            handles=handles, loc="outside right upper", fontsize=_SMALL, frameon=False, labelcolor=_INK, handlelength=4
        )
        legend.set_title("shaded: 95% interval" if len(sizes) > 1 else "bar: 95% interval")
        legend.get_title().set(color=_INK, fontsize=9)
    else:
        axes.text(0.5, 0.5, "no judged question", transform=axes.transAxes, ha="center", fontsize=_LARGE, color=_INK)
    panels = parts[1].subplots(rows, _ACROSS, sharey=True, squeeze=False).flat if rows else []
    for panel, content in zip_longest(panels, small):
        if content is None:
            panel.remove()
            continue
        name, part, own = content
        _panel(panel, part, own, sizes, labels=_LABELLED // 4)
        title = f"{_shortened(name, _PANEL_TITLE)}\n{_questions(part.questions)}"
        panel.set_title(title, fontsize=_SMALL, color=_INK, loc="left", parse_math=False)
    notes = [f"the first {_SOURCES} of {len(sources):,} data sources"] if len(sources) > _SOURCES else []
    if evaluation.provenance is not None:
        notes += _origin(evaluation.provenance)
    if notes:
        text = figure.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=9, color=_INK)
        text.set_parse_math(False)
    return figure


def scaling_svg(evaluation: Evaluation, aggregate: str | None = None) -> str:
    """The scaling figure as an `<svg>` element to put into HTML; the same for the same evaluation.

    It loads nothing, holds no script, and its text takes the colour of the page, light or dark.

    Raises:
        InputError: As `scaling_figure`.
    """
    figure = scaling_figure(evaluation, aggregate)
    figure.set_facecolor("none")
    for axes in figure.axes:
        axes.set_facecolor("none")
    svg = _svg(figure)
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # needed only in separate files
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    return svg.replace("<svg ", '<svg role="img" aria-label="Accuracy by number of candidates" ', 1).strip()


def save_scaling_plot(evaluation: Evaluation, path: str | Path, aggregate: str | None = None) -> None:
    """Draw the scaling figure into a file.

    Raises:
        InputError: As `scaling_figure` and `check_plot_path`.
        OutputError: The file cannot be written.
    """
    check_plot_path(path)
    save_figure(scaling_figure(evaluation, aggregate), path)


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure in the format of the path's suffix; the same figure gives the same bytes of SVG.

    Raises:
        InputError: As `check_plot_path`.
        OutputError: The file cannot be written.
    """
    path = check_plot_path(path)
    suffix = path.suffix.lower()
    if suffix == ".svg":
        content = _svg(figure).encode()
    else:
        out = BytesIO()
        metadata: dict[str, Any] = {"CreationDate": None} if suffix == ".pdf" else {}
        figure.savefig(out, format=suffix[1:], dpi=DPI, metadata=metadata)
        content = out.getvalue()
    with whole_file(path) as file:
        file.write(content)


def check_plot_path(path: str | Path) -> Path:
    """Check, before long work, that a figure can be written to a path.

    Raises:
        InputError: Its suffix is none of `SUFFIXES`, there is no such folder, it is a folder, or matplotlib is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot plot to {path}: its name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not path.parent.is_dir():
        raise InputError(f"cannot plot to {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise InputError(f"cannot plot to {path}: it is a folder")
    figure_type()
    return path


def figure_type() -> "type[Figure]":
    """The class of figures.

    Raises:
        InputError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError('plots need matplotlib: pip install "medprm[plot]"') from None
    return Figure


def _panel(
    axes: "Axes", part: SourceResult, aggregate: str | None, sizes: list[int], labels: int = _LABELLED
) -> list[tuple[float, Any]]:
    """Draw every curve of one part of the questions; returns where each ends, in percent, and its handle."""
    curves = []
    for place, choice in enumerate(CHOICES):
        cells = [
            cell
            for cell in part.cells
            if cell.choice == choice
            and cell.aggregate == (aggregate if choice in REWARD_CHOICES else None)
            and math.isfinite(cell.accuracy.value)
        ]
        if cells:
            cells.sort(key=lambda cell: cell.n)
            points = [(cell.n, cell.accuracy.value, cell.accuracy.low, cell.accuracy.high) for cell in cells]
            handle = _curve(axes, choice, points, 1.0 if len(sizes) > 1 else 1.03 ** (place - 2))
            curves.append((100 * cells[-1].accuracy.value, handle))
    _number_axis(axes, sizes, labels)
    _plain(axes)
    return curves


def _stopping_curves(axes: "Axes", found: Stopping) -> list[tuple[float, Any]]:
    """Draw the rules of each kind at their mean number of samples; returns as `_panel`."""
    curves = []
    for kind in ("agree", "confident"):
        rows = [row for row in found.rules if row.rule.startswith(f"{kind}=")]
        if rows:
            rows.sort(key=lambda row: row.samples.value)
            points = [(row.samples.value, row.accuracy.value, row.accuracy.low, row.accuracy.high) for row in rows]
            label = f"vote, {kind} =\n" + ", ".join(row.rule.partition("=")[2] for row in rows)
            curves.append((100 * points[-1][1], _curve(axes, kind, points, 1.0, label)))
            left, right = axes.get_xlim()
            axes.set_xlim(min(left, points[0][0] / 1.1), max(right, points[-1][0] * 1.1))
    return curves


def _title(evaluation: Evaluation, aggregate: str | None) -> str:
    title = f"Accuracy on {_questions(evaluation.total.questions)}"
    if aggregate is not None:
        title += f", chain reward = {one_line(aggregate)} of its steps"
    model = evaluation.provenance.model if evaluation.provenance is not None else evaluation.model
    if model is not None:  # a figure that is shared on its own must not be mistaken for another model's
        title += f"\nrewards by {_shortened(one_line(model), _TITLE_WIDTH)}"
    return title


def _origin(known: Provenance) -> list[str]:
    """Lines under a figure, which may be shared on its own: the file and the version behind it."""
    file = f"{_shortened(one_line(known.file), _TITLE_WIDTH)}, SHA-256 {one_line(known.sha256)[:16]}…"
    depends = ({} if known.revision is None else {"revision": known.revision}) | known.settings
    settings = [f"{one_line(name)} {_shortened(one_line(value), 24)}" for name, value in depends.items()]
    made = f"medprm {one_line(known.versions.get('medprm', '?'))}, {one_line(known.date)}"
    return [file, ", ".join([*settings, made])]


def _questions(count: int) -> str:
    return f"{count:,} question{'' if count == 1 else 's'}"


def _shortened(text: str, most: int) -> str:
    """As much of a text as fits a width in terminal columns: some scripts are twice as wide."""
    return text if cell_len(text) <= most else f"{set_cell_size(text, most - 1)}…"


def _curve(
    axes: "Axes",
    choice: str,
    points: Sequence[tuple[float, float, float, float]],
    aside: float,
    label: str | None = None,
) -> Any:
    """Draw one curve and, except for `single` and `oracle`, its interval; a bar if there is only one n.

    Returns the legend's handle.

    Args:
        axes: Where to draw.
        choice: One of `CHOICES`, or a kind of stopping rules.
        points: n, accuracy, and the ends of its interval, by n.
        aside: Factor on n, so that the bars of a single n are side by side.
        label: Label in the legend; None for that of the choice.
    """
    colour, marker, line = _STYLES[choice]
    numbers = [n * aside for n, *_ in points]
    values, lows, highs = ([100 * point[place] for point in points] for place in (1, 2, 3))
    if choice not in ENDS:
        axes.fill_between(numbers, lows, highs, color=colour, alpha=0.18, linewidth=0)
        if len(points) == 1:
            axes.vlines(numbers, lows, highs, color=colour, linewidth=2)
    (handle,) = axes.plot(
        numbers,
        values,
        color=colour,
        marker=marker,
        linestyle=line,
        linewidth=1.8,
        markersize=5,
        label=label or LABELS[choice],
    )
    return handle


def _number_axis(axes: "Axes", sizes: list[int], most: int) -> None:
    """A log2 axis with a tick at each size; labels are left out where they would run into each other."""
    if not sizes:
        return
    axes.set_xscale("log", base=2)
    ratio = sizes[-1] / sizes[0]
    margin = ratio**0.04 if ratio > 1 else 1.5
    axes.set_xlim(sizes[0] / margin, sizes[-1] * margin)
    labels, right = [""] * len(sizes), math.inf
    for place in reversed(range(len(sizes))):
        position = math.log(sizes[place] / sizes[0]) / math.log(ratio) if ratio > 1 else 0.0
        if right - position >= 1 / most:
            labels[place], right = str(sizes[place]), position
    axes.set_xticks(sizes, labels=labels)
    axes.set_xticks([], minor=True)


def _plain(axes: "Axes") -> None:
    """An unobtrusive frame, grid and ticks."""
    axes.set_axisbelow(True)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(labelsize=_SMALL, color=_INK, labelcolor=_INK)


def _svg(figure: "Figure") -> str:
    """The figure as SVG without a date; random ids are replaced by numbers in order of appearance."""
    out = BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue().decode()
    numbers: dict[str, str] = {}
    for name in re.findall(r'\bid="([a-z]+[0-9a-f]{10})"', svg):
        numbers.setdefault(name, f"medprm-{len(numbers)}")
    return re.sub(r'(?<=["#])[a-z]+[0-9a-f]{10}(?=[")])', lambda match: numbers.get(match[0], match[0]), svg)
