import re
import subprocess
import sys
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError, OutputError
from medprm_scorer.evaluation.plots import (
    check_plot_path,
    save_figure,
    save_scaling_plot,
    scaling_figure,
    scaling_svg,
)
from tests.support.evaluations import (
    SIZES,
    cells,
    empty_evaluation,
    example_evaluation,
    example_stopping,
    hostile_evaluation,
    rewardless_evaluation,
    source,
    traced_evaluation,
)
from tests.support.properties import examples

pytest.importorskip("matplotlib")
from matplotlib.text import Text

NAMES = ["oracle", "weighted vote", "best of n", "majority vote", "single"]


def with_sizes(sizes):
    evaluation = example_evaluation(sizes=sizes)
    total = evaluation.total.model_copy(update={"cells": cells(sizes, ["min"], 3)})
    return evaluation.model_copy(update={"total": total})


def curves(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def legend_of(figure):
    [legend] = figure.subfigs[0].legends
    return legend


def panels(figure):
    """The small panels by their titles."""
    return {axes.get_title(loc="left").split("\n")[0]: axes for axes in figure.axes[1:]}


def boxes(figure):
    """Boxes of the legend, the axes without their labels, and all visible labels of the x axis, in pixels."""
    figure.draw_without_rendering()
    legend = legend_of(figure)
    labels = [text for text in figure.axes[0].get_xticklabels() if text.get_text()]
    return legend.get_window_extent(), figure.axes[0].get_window_extent(), [t.get_window_extent() for t in labels]


def texts(figure):
    figure.draw_without_rendering()
    found = [figure.axes[0].title, *legend_of(figure).get_texts(), *figure.findobj(Text)]
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
    axes = scaling_figure(example_evaluation()).axes[0]
    assert axes.get_xscale() == "log"
    assert list(axes.get_xticks()) == SIZES
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(n) for n in SIZES]
    assert list(axes.get_xticks(minor=True)) == []


def test_curves_are_the_cells_in_percent_and_the_ends_have_no_shade():
    evaluation = example_evaluation()
    figure = scaling_figure(evaluation)
    found = curves(figure)
    assert sorted(found) == sorted(NAMES)
    for name, choice in (("weighted vote", "weighted_vote"), ("oracle", "oracle"), ("single", "single")):
        expected = [100 * c.accuracy.value for c in evaluation.total.cells if c.choice == choice]
        assert list(found[name].get_xdata()) == SIZES
        assert list(found[name].get_ydata()) == pytest.approx(expected)
    shades = figure.axes[0].collections
    assert len(shades) == 3
    highest = max(point[1] for point in shades[-1].get_paths()[0].vertices)
    votes = [c for c in evaluation.total.cells if c.choice == "weighted_vote"]
    assert highest == pytest.approx(100 * max(c.accuracy.high for c in votes))


def test_curves_differ_in_colour_and_marker_and_line():
    lines = curves(scaling_figure(example_evaluation())).values()
    for look in ("get_color", "get_marker", "_dash_pattern"):
        seen = [getattr(line, look)() if look.startswith("get") else str(getattr(line, look)) for line in lines]
        assert len(set(seen)) == 5


def test_legend_is_in_the_order_of_the_curves_and_title_counts_questions():
    figure = scaling_figure(example_evaluation())
    assert [text.get_text() for text in legend_of(figure).get_texts()] == NAMES
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


@pytest.mark.filterwarnings("ignore:Glyph")
def test_no_text_is_smaller_than_9_points_and_dots_suffice():
    figure = scaling_figure(hostile_evaluation())
    assert figure.dpi >= 150
    assert min(text.get_fontsize() for text in texts(figure)) >= 9
    assert legend_of(figure).get_title().get_fontsize() >= 9


def test_each_source_has_a_small_panel_with_its_own_figures():
    evaluation = example_evaluation()
    found = panels(scaling_figure(evaluation))
    assert list(found) == ["medqa", "medbullets", "mmlu"]
    for part, axes in zip(evaluation.sources, found.values(), strict=True):
        lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        expected = [100 * part.cell(n, "weighted_vote", "min").accuracy.value for n in SIZES]
        assert lines["weighted vote"] == pytest.approx(expected)
        assert axes.get_title(loc="left").endswith(f"{part.questions:,} questions")
        assert axes.get_ylim() == found["medqa"].get_ylim()  # so that panels can be compared
    [axes] = scaling_figure(example_evaluation(sources=evaluation.sources[:1])).axes
    assert axes.get_xlabel()


def test_every_aggregate_has_a_panel_unless_one_is_asked_for():
    evaluation = hostile_evaluation(["min", "last", "max"])
    found = panels(scaling_figure(evaluation))
    assert list(found)[:2] == ["chain reward = last", "chain reward = max"]
    lines = {line.get_label(): list(line.get_ydata()) for line in found["chain reward = max"].lines}
    expected = [100 * evaluation.total.cell(n, "weighted_vote", "max").accuracy.value for n in SIZES]
    assert lines["weighted vote"] == pytest.approx(expected)
    assert not any("chain reward" in title for title in panels(scaling_figure(evaluation, "max")))


def test_many_sources_are_counted_and_the_first_ones_drawn():
    many = [source(f"source {place}", 10, [1, 8], ["min"], place) for place in range(25)]
    figure = scaling_figure(example_evaluation(sources=many, sizes=[1, 8]))
    assert len(figure.axes) == 1 + 18
    assert "the first 18 of 25 data sources" in figure.get_supxlabel()


def test_a_figure_that_is_passed_on_says_what_it_is_of():
    figure = scaling_figure(traced_evaluation())
    assert "med_prm_test.json, SHA-256 abababababababab…" in figure.get_supxlabel()
    assert "medprm 0.1.0, 2026-11-26" in figure.get_supxlabel()
    assert "revision 1a2b3c4" in figure.get_supxlabel()
    assert "rewards by dmis-lab/" in figure.axes[0].get_title(loc="left")


def test_without_rewards_three_curves_are_drawn():
    figure = scaling_figure(rewardless_evaluation())
    assert set(curves(figure)) == {"single", "majority vote", "oracle"}
    assert "chain reward" not in figure.axes[0].get_title(loc="left")


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
    assert list(other["best of n"].get_ydata()) == pytest.approx(expected)
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

    monkeypatch.setattr("medprm_scorer.files.whole_file.owner_only", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*curve\.svg: Permission denied"):
        save_figure(scaling_figure(with_sizes([8])), tmp_path / "curve.svg")


def test_missing_matplotlib_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for call in (
        lambda: scaling_figure(example_evaluation()),
        lambda: scaling_svg(example_evaluation()),
        lambda: check_plot_path(tmp_path / "curve.png"),
    ):
        with pytest.raises(InputError, match=r'^plots need matplotlib: pip install "medprm\[plot\]"$'):
            call()


def test_importing_plots_does_not_import_matplotlib():
    code = "import sys, medprm_scorer.evaluation.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(max_examples=examples(8))
@given(st.sets(st.integers(1, 300), min_size=1, max_size=40))
def test_any_sizes_have_their_ticks_and_labels_apart(sizes):
    figure = scaling_figure(with_sizes(sorted(sizes)))
    _, _, labels = boxes(figure)
    assert list(figure.axes[0].get_xticks()) == sorted(sizes)
    assert all(left.x1 < right.x0 for left, right in pairwise(labels))


def test_stopping_rules_are_points_at_their_mean_number_of_samples():
    evaluation = example_evaluation(stopping=example_stopping())
    figure = scaling_figure(evaluation)
    found = curves(figure)
    assert set(found) == {*NAMES, "vote, agree =\n3", "vote, confident =\n0.9, 0.95"}
    line = found["vote, confident =\n0.9, 0.95"]
    assert line.get_xdata().tolist() == [9.6, 12.2]
    assert line.get_ydata().tolist() == pytest.approx([97.9, 98.0])
    legend, axes, _ = boxes(figure)
    assert not legend.overlaps(axes)
    assert {text.get_text() for text in legend_of(figure).get_texts()} == set(found)


def test_stopping_rules_beside_other_sizes_and_aggregates():
    evaluation = example_evaluation(stopping=example_stopping(), sizes=[16, 64])
    left, right = scaling_figure(evaluation).axes[0].get_xlim()
    assert left < 4.2 < 64 < right
    other = evaluation.stopping.model_copy(update={"aggregate": "mean"})
    assert set(curves(scaling_figure(evaluation.model_copy(update={"stopping": other})))) == set(NAMES)


def test_a_full_disk_leaves_the_earlier_image(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "curve.png"
    path.write_bytes(b"the earlier one")
    from matplotlib.figure import Figure

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot write"):
            save_figure(Figure(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"the earlier one"
    assert list(tmp_path.iterdir()) == [path]
