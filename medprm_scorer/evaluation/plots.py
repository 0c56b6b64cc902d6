"""Figures: accuracy by number of candidates with its intervals, and the reliability of rewards.

matplotlib is an optional extra, imported only when a figure is drawn. Figures are made without pyplot, so they need no
display and threads do not share any. Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which
common colour blindness keeps apart; every curve has its own marker and line too.
"""

import math
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.report import LABELS
from medprm_scorer.evaluation.results import CHOICES, REWARD_CHOICES, Evaluation
from medprm_scorer.text.sanitize import clean_text

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
}
_INK = "#1a1a1b"  # of all text and lines that are no curve; a page puts its own colour in its place
_GRID = "#80808059"
_SMALL, _MIDDLE, _LARGE = 9.5, 10.5, 12.0  # points
_LABELLED = 18  # most labels that fit under the axis


_TITLE_WIDTH = 70


def scaling_figure(evaluation: Evaluation, aggregate: str | None = None) -> "Figure":
    """Accuracy in percent over the number of candidates n, one curve for each choice, with 95% intervals.

    Args:
        evaluation: Where the figures come from: its total over all questions.
        aggregate: Which of its aggregates the choices by rewards use; None for the first.

    Returns:
        The figure, with a tick at each n and the legend beside the axes, in the order in which the curves end.

    Raises:
        InputError: There is no such aggregate, or matplotlib is missing.
    """
    figure_type = _figure_type()
    if aggregate is None and evaluation.aggregates:
        aggregate = evaluation.aggregates[0]
    elif aggregate is not None and aggregate not in evaluation.aggregates:
        raise InputError(f"the evaluation has no aggregate {aggregate!r}: choose one of {evaluation.aggregates}")
    figure = figure_type(figsize=(8.4, 5.0), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    sizes = sorted(set(evaluation.sizes))
    curves = []
    for place, choice in enumerate(CHOICES):
        cells = [
            cell
            for cell in evaluation.total.cells
            if cell.choice == choice
            and cell.aggregate == (aggregate if choice in REWARD_CHOICES else None)
            and math.isfinite(cell.accuracy.value)
        ]
        if cells:
            cells.sort(key=lambda cell: cell.n)
            last = 100 * cells[-1].accuracy.value
            points = [(cell.n, cell.accuracy.value, cell.accuracy.low, cell.accuracy.high) for cell in cells]
            curves.append((last, _curve(axes, choice, points, 1.0 if len(sizes) > 1 else 1.03 ** (place - 2))))
    _number_axis(axes, sizes)
    count = evaluation.total.questions
    title = f"Accuracy on {count:,} question{'' if count == 1 else 's'}"
    if aggregate is not None:
        title += f", chain reward = {clean_text(aggregate, newlines=False)} of its steps"
    if evaluation.model is not None:  # a curve that is passed on alone must not be taken for another model's
        title += f"\nrewards by {clean_text(evaluation.model, newlines=False)[:_TITLE_WIDTH]}"
    axes.set_title(title, fontsize=_LARGE, color=_INK, loc="left", parse_math=False)
    axes.set_xlabel("number of candidates n", fontsize=_MIDDLE, color=_INK)
    axes.set_ylabel("questions answered rightly (%)", fontsize=_MIDDLE, color=_INK)
    if curves:
        curves.sort(key=lambda curve: -curve[0])
        handles = [handle for _, handle in curves]
        legend = figure.legend(
            handles=handles, loc="outside right upper", fontsize=_SMALL, frameon=False, labelcolor=_INK, handlelength=4
        )
        legend.set_title("shaded: 95% interval" if len(sizes) > 1 else "bar: 95% interval")
        legend.get_title().set(color=_INK, fontsize=9)
    else:
        axes.text(0.5, 0.5, "no judged question", transform=axes.transAxes, ha="center", fontsize=_LARGE, color=_INK)
    _plain(axes)
    return figure


def reliability_figure(bins: Sequence[tuple[float, float, int]], ece: float, title: str) -> "Figure":
    """A reliability diagram, how often steps of one reward are in fact valid, over a histogram of the rewards.

    Args:
        bins: For each bin the mean predicted probability in [0, 1], the share valid in [0, 1] and the count. Bins of
            count 0 are left out, whatever their other numbers.
        ece: Expected calibration error, the counts' weighted mean of |predicted - share|, in [0, 1].
        title: Title of the figure.

    Raises:
        InputError: A number is out of its range, or matplotlib is missing.
    """
    figure_type = _figure_type()
    for place, (predicted, share, count) in enumerate(bins):
        if count < 0 or (count and not (0.0 <= predicted <= 1.0 and 0.0 <= share <= 1.0)):
            raise InputError(f"bins[{place}]: expected two numbers in [0, 1] and a count of 0 or more")
    if not 0.0 <= ece <= 1.0:
        raise InputError(f"ece: expected a number in [0, 1], found {ece}")
    filled = sorted((float(predicted), float(share), count) for predicted, share, count in bins if count)
    figure = figure_type(figsize=(5.6, 6.4), dpi=DPI, layout="constrained", facecolor="white")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    predicted_values = [predicted for predicted, _, _ in filled]
    shares = [share for _, share, _ in filled]
    counts = [count for _, _, count in filled]
    colour = _STYLES["weighted_vote"][0]
    axes.plot([0, 1], [0, 1], ":", color=_STYLES["single"][0], label="perfectly calibrated")
    axes.vlines(predicted_values, predicted_values, shares, color=_STYLES["majority_vote"][0], linewidth=3, label="gap")
    axes.plot(predicted_values, shares, "o-", color=colour, label="observed")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.vlines(predicted_values, 0, counts, color=colour, linewidth=9)
    below.set_ylim(0, 1.1 * max(counts, default=1))
    axes.set_title(clean_text(title, newlines=False), fontsize=_LARGE, color=_INK, loc="left", parse_math=False)
    axes.set_ylabel("share in fact valid", fontsize=_MIDDLE, color=_INK)
    below.set_ylabel("count", fontsize=_MIDDLE, color=_INK)
    below.set_xlabel(f"predicted probability   (ECE {ece:.3f}, count {sum(counts):,})", fontsize=_MIDDLE, color=_INK)
    figure.legend(
        handles=axes.get_legend_handles_labels()[0],
        loc="outside lower center",
        ncols=3,
        fontsize=_SMALL,
        frameon=False,
        labelcolor=_INK,
    )
    for part in (axes, below):
        _plain(part)
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
    # needed in files of their own only
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    return svg.replace("<svg ", '<svg role="img" aria-label="Accuracy by number of candidates" ', 1).strip()


def save_scaling_plot(evaluation: Evaluation, path: str | Path, aggregate: str | None = None) -> None:
    """Draw the scaling figure into a file.

    Raises:
        InputError: As `scaling_figure` and `save_figure`.
    """
    check_plot_path(path)
    save_figure(scaling_figure(evaluation, aggregate), path)


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure in the format of the path's suffix; the same figure gives the same bytes of SVG.

    Raises:
        InputError: As `check_plot_path`, or the file cannot be written.
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
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or type(error).__name__}") from None


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
    _figure_type()
    return path


def _figure_type() -> "type[Figure]":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError('plots need matplotlib: pip install "medprm[plot]"') from None
    return Figure


def _curve(axes: "Axes", choice: str, points: list[tuple[int, float, float, float]], aside: float) -> Any:
    """Draw one curve and its interval, a bar where there is one n only; returns the legend's handle.

    Args:
        axes: Where to draw.
        choice: One of `CHOICES`.
        points: n, accuracy, and the ends of its interval, by n.
        aside: Factor on n, so that the bars of a single n stand beside each other.
    """
    colour, marker, line = _STYLES[choice]
    numbers = [n * aside for n, *_ in points]
    values, lows, highs = ([100 * point[place] for point in points] for place in (1, 2, 3))
    axes.fill_between(numbers, lows, highs, color=colour, alpha=0.18, linewidth=0)
    if len(points) == 1:
        axes.vlines(numbers, lows, highs, color=colour, linewidth=2)
    (handle,) = axes.plot(
        numbers, values, color=colour, marker=marker, linestyle=line, linewidth=1.8, markersize=5, label=LABELS[choice]
    )
    return handle


def _number_axis(axes: "Axes", sizes: list[int]) -> None:
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
        if right - position >= 1 / _LABELLED:
            labels[place], right = str(sizes[place]), position
    axes.set_xticks(sizes, labels=labels)
    axes.set_xticks([], minor=True)


def _plain(axes: "Axes") -> None:
    """Frame, grid and ticks that leave the eye to the curves."""
    axes.set_axisbelow(True)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(labelsize=_SMALL, color=_INK, labelcolor=_INK)


def _svg(figure: "Figure") -> str:
    """The figure as SVG without a date; its random ids are numbered in the order in which they come."""
    out = BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue().decode()
    numbers: dict[str, str] = {}
    for name in re.findall(r'\bid="([a-z]+[0-9a-f]{10})"', svg):
        numbers.setdefault(name, f"medprm-{len(numbers)}")
    return re.sub(r'(?<=["#])[a-z]+[0-9a-f]{10}(?=[")])', lambda match: numbers.get(match[0], match[0]), svg)
