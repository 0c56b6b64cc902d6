import pytest

pytest.importorskip("matplotlib")
from examples.formulary.reliability_plot import reliability_figure
from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.plots import save_figure

BINS = [(0.05, 0.1, 300), (0.5, 0.0, 0), (0.55, 0.4, 20), (0.95, 0.99, 4000)]


def test_reliability_shows_the_filled_bins_over_their_counts(tmp_path):
    figure = reliability_figure(BINS, 0.0312, "Steps $x$")
    top, below = figure.axes
    observed = next(line for line in top.lines if line.get_label() == "observed")
    assert list(observed.get_xdata()) == [0.05, 0.55, 0.95]
    assert list(observed.get_ydata()) == [0.1, 0.4, 0.99]
    heights = [segment[1][1] for segment in below.collections[0].get_segments()]  # type: ignore[attr-defined]
    assert heights == [300, 20, 4000]
    assert "ECE 0.031, count 4,320" in below.get_xlabel()
    assert top.get_title(loc="left") == "Steps $x$"
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert not any(legend.overlaps(axes.get_tightbbox()) for axes in (top, below))
    save_figure(figure, tmp_path / "reliability.svg")
    assert (tmp_path / "reliability.svg").stat().st_size > 5000


@pytest.mark.parametrize("bad", [(1.1, 0.5, 3), (0.5, -0.1, 3), (0.5, float("nan"), 3), (0.5, 0.5, -1)])
def test_bins_out_of_range_are_refused_by_their_place(bad):
    with pytest.raises(InputError, match=r"bins\[1\]"):
        reliability_figure([BINS[0], bad], 0.1, "Steps")
    with pytest.raises(InputError, match="ece"):
        reliability_figure(BINS, float("nan"), "Steps")


def test_no_bins_still_draw(tmp_path):
    save_figure(reliability_figure([], 0.0, "Nothing"), tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000
