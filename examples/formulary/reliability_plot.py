"""A reliability diagram: how often steps of one reward are in fact valid, over a histogram of the rewards."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.plots import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREY, _INK = "#0072B2", "#E69F00", "#7f7f7f", "#1a1a1b"  # Okabe and Ito's
_SMALL, _MIDDLE, _LARGE = 9.5, 10.5, 12.0  # points


def reliability_figure(bins: Sequence[tuple[float, float, int]], ece: float, title: str) -> "Figure":
    """Draw the diagram.

    Args:
        bins: For each bin the mean predicted probability in [0, 1], the share valid in [0, 1] and the count. Bins of
            count 0 are left out, whatever their other numbers.
        ece: Expected calibration error, the counts' weighted mean of |predicted - share|, in [0, 1].
        title: Title of the figure.

    Raises:
        InputError: A number is out of its range.
    """
    from matplotlib.figure import Figure

    for place, (predicted, share, count) in enumerate(bins):
        if count < 0 or (count and not (0.0 <= predicted <= 1.0 and 0.0 <= share <= 1.0)):
            raise InputError(f"bins[{place}]: expected two numbers in [0, 1] and a count of 0 or more")
    if not 0.0 <= ece <= 1.0:
        raise InputError(f"ece: expected a number in [0, 1], found {ece}")
    filled = sorted((float(predicted), float(share), count) for predicted, share, count in bins if count)
    predicted_values = [predicted for predicted, _, _ in filled]
    shares = [share for _, share, _ in filled]
    counts = [count for _, _, count in filled]
    figure = Figure(figsize=(5.6, 6.4), dpi=DPI, layout="constrained", facecolor="white")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], ":", color=_GREY, label="perfectly calibrated")
    axes.vlines(predicted_values, predicted_values, shares, color=_ORANGE, linewidth=3, label="gap")
    axes.plot(predicted_values, shares, "o-", color=_BLUE, label="observed")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.vlines(predicted_values, 0, counts, color=_BLUE, linewidth=9)
    below.set_ylim(0, 1.1 * max(counts, default=1))
    axes.set_title(title, fontsize=_LARGE, color=_INK, loc="left", parse_math=False)
    axes.set_ylabel("share in fact valid", fontsize=_MIDDLE, color=_INK)
    below.set_ylabel("count", fontsize=_MIDDLE, color=_INK)
    below.set_xlabel(f"predicted probability   (ECE {ece:.3f}, count {sum(counts):,})", fontsize=_MIDDLE, color=_INK)
    handles, _ = axes.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=_SMALL, frameon=False, labelcolor=_INK)
    for part in (axes, below):
        part.set_axisbelow(True)
        part.grid(color="#80808059", linewidth=0.6)
        part.spines[["top", "right"]].set_visible(False)
        part.tick_params(labelsize=_SMALL, color=_INK, labelcolor=_INK)
    return figure
