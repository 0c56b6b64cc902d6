import re
import subprocess
import sys
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.plots import (
    check_plot_path,
    reliability_figure,
    save_figure,
    save_scaling_plot,
    scaling_figure,
    scaling_svg,
)
from tests.support.evaluations import SIZES, cells, empty_evaluation, example_evaluation, hostile_evaluation

pytest.importorskip("matplotlib")

NAMES = ["oracle", "weighted vote", "best-of-n", "majority vote", "single"]
BINS = [(0.05, 0.1, 300), (0.5, 0.0, 0), (0.55, 0.4, 20), (0.95, 0.99, 4000)]


def with_sizes(sizes):
    evaluation = example_evaluation(sizes=sizes)
    total = evaluation.total.model_copy(update={"cells": cells(sizes, ["min"], 3)})
    return evaluation.model_copy(update={"total": total})


def curves(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def boxes(figure):
    """Boxes of the legend, the axes without their labels, and all visible labels of the x axis, in pixels."""
    figure.draw_without_rendering()
    [legend] = figure.legends
    labels = [text for text in figure.axes[0].get_xticklabels() if text.get_text()]
    return legend.get_window_extent(), figure.axes[0].get_window_extent(), [t.get_window_extent() for t in labels]


def texts(figure):
    figure.draw_without_rendering()
    found = [figure.axes[0].title, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [
            axes._left_title,
            axes.xaxis.label,
            axes.yaxis.label,
            *axes.get_xticklabels(),
            *axes.get_yticklabels(),
        ]
    return [text for text in found if text.get_text()]


def test_ticks_stand_exactly_at_the_sizes_on_a_log_axis():
    [axes] = scaling_figure(example_evaluation()).axes
    assert axes.get_xscale() == "log"
    assert list(axes.get_xticks()) == SIZES
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(n) for n in SIZES]
    assert list(axes.get_xticks(minor=True)) == []


def test_curves_are_the_cells_in_percent_each_with_a_shade():
    evaluation = example_evaluation()
    figure = scaling_figure(evaluation)
    found = curves(figure)
    assert sorted(found) == sorted(NAMES)
    for name, choice in (("weighted vote", "weighted_vote"), ("oracle", "oracle"), ("single", "single")):
        expected = [100 * c.accuracy.value for c in evaluation.total.cells if c.choice == choice]
        assert list(found[name].get_xdata()) == SIZES
        assert list(found[name].get_ydata()) == pytest.approx(expected)
    shades = figure.axes[0].collections
    assert len(shades) == 5
    highest = max(point[1] for point in shades[-1].get_paths()[0].vertices)
    assert highest == pytest.approx(100 * max(c.accuracy.high for c in evaluation.total.cells))


def test_curves_differ_in_colour_and_marker_and_line():
    lines = curves(scaling_figure(example_evaluation())).values()
    for look in ("get_color", "get_marker", "_dash_pattern"):
        seen = [getattr(line, look)() if look.startswith("get") else str(getattr(line, look)) for line in lines]
        assert len(set(seen)) == 5


def test_legend_is_in_the_order_of_the_curves_and_title_counts_questions():
    figure = scaling_figure(example_evaluation())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == NAMES
    assert "2,670 questions" in figure.axes[0].get_title(loc="left")
    assert "%" in figure.axes[0].get_ylabel()


@pytest.mark.parametrize("sizes", [SIZES, [8], [1, 64], [60, 61, 62, 63, 64], list(range(1, 65)), [1, 2, 3, 10**6]])
def test_legend_is_off_the_axes_and_labels_do_not_touch(sizes):
    figure = scaling_figure(with_sizes(sizes))
    legend, axes, labels = boxes(figure)
    assert not legend.overlaps(axes)
    assert legend.x1 <= figure.bbox.x1
    assert legend.y0 >= figure.bbox.y0
    assert list(figure.axes[0].get_xticks()) == sizes
    assert len(labels) >= min(len(sizes), 3)
    assert all(left.x1 < right.x0 for left, right in pairwise(labels))
    assert axes.width > figure.bbox.width / 2


def test_no_text_is_smaller_than_9_points_and_dots_suffice():
    for figure in (scaling_figure(example_evaluation()), reliability_figure(BINS, 0.03, "Steps")):
        assert figure.dpi >= 150
        assert min(text.get_fontsize() for text in texts(figure)) >= 9
        assert min(legend.get_title().get_fontsize() for legend in figure.legends) >= 9


def test_one_n_draws_bars_beside_each_other():
    figure = scaling_figure(with_sizes([8]))
    places = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert len(set(places)) == 5
    assert all(6 < place < 10 for place in places)
    low, high = figure.axes[0].get_xlim()
    assert low < min(places) < max(places) < high


def test_other_aggregate_is_another_curve_and_unknown_ones_are_refused():
    evaluation = hostile_evaluation()
    first, other = (curves(scaling_figure(evaluation, name)) for name in (None, "max"))
    assert list(first["weighted vote"].get_ydata()) != list(other["weighted vote"].get_ydata())
    assert list(first["oracle"].get_ydata()) == list(other["oracle"].get_ydata())
    expected = [100 * evaluation.total.cell(n, "best_of_n", "max").accuracy.value for n in SIZES]
    assert list(other["best-of-n"].get_ydata()) == pytest.approx(expected)
    with pytest.raises(InputError, match="no aggregate 'median'"):
        scaling_figure(evaluation, "median")


def test_nothing_judged_draws_a_figure_that_says_so():
    figure = scaling_figure(empty_evaluation())
    assert [text.get_text() for text in figure.axes[0].texts] == ["no judged question"]
    assert figure.axes[0].lines[:] == []


def test_svg_is_the_same_twice_and_in_two_threads():
    found = [scaling_svg(example_evaluation())]
    threads = [
        threading.Thread(target=lambda: found.append(scaling_svg(example_evaluation())), daemon=True) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1


def test_svg_can_stand_in_a_page():
    svg = scaling_svg(example_evaluation())
    assert svg.startswith("<svg ")
    assert svg.endswith("</svg>")
    for absent in ("<?xml", "<!DOCTYPE", "<script", "http:", "https:", "<metadata", "<image", "<dc:date", "@import"):
        assert absent not in svg
    references = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', svg)
    assert references
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    for name in (first or second for first, second in references):
        assert name.startswith("#")
        assert name[1:] in ids
    assert "currentColor" in svg


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")])
def test_format_follows_the_suffix(tmp_path, suffix, start):
    path = tmp_path / f"curve{suffix}"
    save_scaling_plot(example_evaluation(), path)
    first = path.read_bytes()
    assert first.startswith(start)
    assert len(first) > 5000
    save_scaling_plot(example_evaluation(), str(path))
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", ["curve", "curve.jpg", "curve.png.exe", ".svg", ""])
def test_other_suffixes_are_refused_by_name(tmp_path, name):
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
        check_plot_path(tmp_path / name)


def test_missing_folder_and_folder_in_the_way_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        save_scaling_plot(example_evaluation(), tmp_path / "none" / "curve.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        check_plot_path(tmp_path / "folder.png")
    assert check_plot_path(str(tmp_path / "curve.png")) == tmp_path / "curve.png"


def test_unwritable_file_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(InputError, match=r"cannot write .*curve\.svg: Permission denied"):
        save_figure(scaling_figure(with_sizes([8])), tmp_path / "curve.svg")


def test_missing_matplotlib_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for call in (
        lambda: scaling_figure(example_evaluation()),
        lambda: scaling_svg(example_evaluation()),
        lambda: reliability_figure(BINS, 0.03, "Steps"),
        lambda: check_plot_path(tmp_path / "curve.png"),
    ):
        with pytest.raises(InputError, match=r'^plots need matplotlib: pip install "medprm\[plot\]"$'):
            call()


def test_importing_plots_does_not_import_matplotlib():
    code = "import sys, medprm_scorer.evaluation.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reliability_shows_the_filled_bins_over_their_counts(tmp_path):
    figure = reliability_figure(BINS, 0.0312, "Steps $x$ \x1b[31m")
    top, below = figure.axes
    observed = curves(figure)["observed"]
    assert list(observed.get_xdata()) == [0.05, 0.55, 0.95]
    assert list(observed.get_ydata()) == [0.1, 0.4, 0.99]
    heights = [segment[1][1] for segment in below.collections[0].get_segments()]
    assert heights == [300, 20, 4000]
    assert "ECE 0.031, count 4,320" in below.get_xlabel()
    assert top.get_title(loc="left") == "Steps $x$ �[31m"
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


@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(1, 300), min_size=1, max_size=40))
def test_any_sizes_have_their_ticks_and_labels_apart(sizes):
    figure = scaling_figure(with_sizes(sorted(sizes)))
    _, _, labels = boxes(figure)
    assert list(figure.axes[0].get_xticks()) == sorted(sizes)
    assert all(left.x1 < right.x0 for left, right in pairwise(labels))
