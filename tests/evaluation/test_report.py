import re
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from medprm_scorer.evaluation.report import WIDTH, sheets, source_name, summary, to_rich, to_text
from medprm_scorer.evaluation.results import Cell, Evaluation, Interval
from tests.support.evaluations import SIZES, cells, empty_evaluation, example_evaluation, hostile_evaluation, source

HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
AGGREGATES = ["min", "last", "mean", "prod", "geomean", "max"]


def render(evaluation: Evaluation, width: int, **options: bool) -> str:
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(to_rich(evaluation, **options))
    return out.getvalue()


def with_cells(found: list[Cell], **changes: object) -> Evaluation:
    evaluation = example_evaluation(**changes)
    return evaluation.model_copy(update={"total": evaluation.total.model_copy(update={"cells": found})})


def rows_after(text: str, title: str) -> list[list[str]]:
    """The lines of one table, split at runs of two blanks."""
    after = text[text.index(title) :].split("\n\n")[0].splitlines()[1:]
    return [re.split(r"\s{2,}", line.strip()) for line in after]


def test_scaling_table_holds_every_accuracy_with_its_interval():
    evaluation = example_evaluation()
    head, *rows = rows_after(to_text(evaluation), "Accuracy in percent by number")
    assert head == ["n", "single", "majority vote", "best-of-n", "weighted vote", "oracle"]
    assert [row[0] for row in rows] == [str(n) for n in SIZES]
    by_n = {n: [cell for cell in evaluation.total.cells if cell.n == n] for n in SIZES}
    for n, row in zip(SIZES, rows, strict=True):
        values = [cell.accuracy for cell in by_n[n]]  # the builder's order is the table's
        assert row[1:] == [f"{100 * v.value:.1f} [{100 * v.low:.1f}, {100 * v.high:.1f}]" for v in values]


def test_gains_are_signed_points_and_p_values_stand_beside_them():
    evaluation = example_evaluation()
    head, *rows = rows_after(to_text(evaluation), "Gain over majority vote in points")
    assert head == ["n", "weighted vote", "p", "best-of-n", "p"]
    for n, row in zip(SIZES, rows, strict=True):
        for choice, shown, p in (("weighted_vote", *row[1:3]), ("best_of_n", *row[3:5])):
            cell = evaluation.total.cell(n, choice, "min")
            assert float(shown.split()[0]) == pytest.approx(100 * cell.gain.value, abs=0.0501)
            assert shown[0] in "+-"
            assert p == ("<=0.0001" if cell.p_value < 0.0001 else f"{cell.p_value:.4f}")


@pytest.mark.parametrize(
    ("p_value", "flips", "shown"),
    [
        (1 / 10001, 10000, "<=0.0001"),
        (2 / 10001, 10000, "0.0002"),
        (0.00012, 100_000, "0.0001"),
        (1e-6, 999_999, "<=0.0001"),
        (1 / 100, 99, "<=0.0100"),
        (1 / 7, 6, "<=0.1429"),
        (1.0, 10000, "1.0000"),
        (None, 10000, "-"),
        (float("nan"), 10000, "-"),
    ],
)
def test_p_value_is_never_shown_smaller_than_the_flips_can_tell(p_value, flips, shown):
    found = [
        cell.model_copy(update={"p_value": p_value if cell.choice == "weighted_vote" else 0.5})
        for cell in cells([8], ["min"], 0)
    ]
    text = to_text(with_cells(found, sizes=[8], flips=flips))
    assert rows_after(text, "Gain over majority vote in points")[1][2] == shown


def test_a_gain_that_rounds_to_nothing_has_no_minus():
    tiny = Interval(value=-0.0004, low=-0.0006, high=0.0)
    found = [cell.model_copy(update={"gain": tiny}) for cell in cells([8], ["min"], 0)]
    assert rows_after(to_text(with_cells(found, sizes=[8])), "Gain over")[1][1] == "+0.0 [-0.1, +0.0]"


def test_each_other_aggregate_has_a_table_of_what_depends_on_it():
    evaluation = hostile_evaluation(AGGREGATES)
    text = to_text(evaluation)
    for aggregate in AGGREGATES[1:]:
        head, *rows = rows_after(text, f"Chain reward = {aggregate}: ")
        assert head == ["n", "best-of-n", "weighted vote", "gain", "p"]
        for n, row in zip(SIZES, rows, strict=True):
            value = evaluation.total.cell(n, "weighted_vote", aggregate).accuracy
            assert row[2] == f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"
    assert "Chain reward = min:" not in text


def test_sources_stand_at_the_largest_n_with_mean_and_total():
    evaluation = example_evaluation(sizes=[64, 1, 8])
    [sheet] = [sheet for sheet in sheets(evaluation) if "by data source" in sheet.title]
    assert "n = 64;" in sheet.title
    assert [row[:2] for row in sheet.rows] == [
        ("medqa", "1,273"),
        ("medbullets", "308"),
        ("mmlu", "1,089"),
        ("mean of sources", "–"),
        ("all questions", "2,670"),
    ]
    parts = [*evaluation.sources, evaluation.average, evaluation.total]
    for row, part in zip(sheet.rows, parts, strict=True):
        names = [("single", None), ("majority_vote", None), ("best_of_n", "min"), ("weighted_vote", "min")]
        assert list(row[2:6]) == [f"{100 * part.cell(64, *name).accuracy.value:.1f}" for name in names]


def test_one_source_has_no_mean():
    evaluation = example_evaluation(average=None, sources=[source("medqa", 2670, SIZES, ["min"])])
    assert "mean of sources" not in to_text(evaluation, official=True)


def test_official_counts_appear_only_when_asked_for():
    evaluation = example_evaluation()
    assert "authors" not in to_text(evaluation)
    rows = rows_after(to_text(evaluation, official=True), "Right by the authors' own selection")[1:]
    for row, part in zip([*rows[:3], rows[4]], [*evaluation.sources, evaluation.total], strict=True):
        right = part.official.right
        assert row[1] == f"{right:,} / {part.questions:,} ({100 * right / part.questions:.1f}%)"
    shares = [100 * part.official.majority_right / part.questions for part in evaluation.sources]
    assert rows[3] == ["mean of sources", rows[3][1], f"{sum(shares) / 3:.1f}%"]


def test_summary_counts_what_was_left_out():
    lines = summary(
        example_evaluation(scored_here=20, model="some/model", engine="e (cpu, x)", kept=7, without_documents=3)
    )
    assert lines[0] == "2,670 questions, 170,880 candidates, 3 data sources"
    assert any(line.startswith("12 questions left out: it is not known of every candidate") for line in lines)
    assert any(line.startswith("3 questions without documents: ") for line in lines)
    assert any(line.startswith("34 candidates give no answer") for line in lines)
    assert any(line.startswith("5 candidates could not be scored") for line in lines)
    assert any(line.startswith("3 questions have fewer than 32 candidates, 10 fewer than 64;") for line in lines)
    assert lines[-1] == "Rewards of 20 questions were computed by some/model [e (cpu, x)]; 7 of them by earlier runs."


def test_summary_is_silent_about_what_did_not_happen():
    plain = example_evaluation(total=source("all", 30, SIZES, ["min"]))
    assert summary(plain) == ["30 questions, 1,920 candidates, 3 data sources", "All rewards were in the file."]


def test_few_questions_are_told_of_whatever_their_sources():
    few = example_evaluation(total=source("all", 29, SIZES, ["min"]))
    assert summary(few)[-1] == "Fewer than 30 questions in all: the intervals are too narrow."


def test_closing_line_names_subsets_seed_and_methods():
    text = " ".join(to_text(example_evaluation(subsets=77, seed=5, flips=123)).split())
    assert "at most 77 per question, seed 5" in text
    assert "95% bootstrap intervals over questions (2,000 resamples)" in text
    assert "paired sign-flip permutation test against majority vote (123 flips)" in text


@pytest.mark.parametrize("official", [False, True])
def test_nothing_judged_still_renders_with_dashes(official):
    text = to_text(empty_evaluation(), official=official)
    assert text.startswith("0 questions, 0 candidates, 1 data source\n7 questions left out")
    for row in rows_after(text, "Accuracy in percent by number")[2:]:
        assert row[1:] == ["-"] * 5
    assert ("0 / 0 (-)" in text) == official


def test_figures_that_are_no_numbers_are_dashes():
    nan = Interval(value=float("nan"), low=float("nan"), high=float("nan"))
    found = [cell.model_copy(update={"accuracy": nan, "gain": nan}) for cell in cells(SIZES, ["min"], 0)]
    assert "nan" not in to_text(with_cells(found))


def test_no_sizes_leaves_no_tables():
    assert sheets(with_cells([], sizes=[])) == []


def test_text_is_ascii_and_at_most_110_columns():
    text = to_text(example_evaluation(), official=True)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= WIDTH == 110


def test_every_accuracy_at_100_percent_still_fits_on_its_line():
    full = Interval(value=1.0, low=1.0, high=1.0)
    found = [cell.model_copy(update={"accuracy": full}) for cell in cells(SIZES, ["min"], 0)]
    text = to_text(with_cells(found))
    assert text.count("100.0 [100.0, 100.0] 100.0 [100.0, 100.0]") == 2 * len(SIZES)


@pytest.mark.parametrize("width", [40, 80, 110, 200])
def test_hostile_names_cannot_steer_the_terminal(width):
    text = render(hostile_evaluation(), width, official=True)
    assert not HARMFUL.search(text.replace("\n", ""))
    assert all(cell_len(line) <= width for line in text.splitlines())
    folded = re.sub(r"\s", "", text)
    assert "[boldred]" in folded or width < 110  # rich markup is text
    if width >= 110:
        assert "внутренние болезни" in text
        assert "(no source)" in text


def test_80_columns_put_the_interval_under_its_figure():
    text = render(example_evaluation(), 80)
    value = example_evaluation().total.cell(1, "single").accuracy
    assert f"{100 * value.value:.1f} [" not in text.split("Gain over")[0]
    assert f"[{100 * value.low:.1f}, {100 * value.high:.1f}]" in text


@settings(max_examples=30, deadline=None)
@given(name=st.text(max_size=60), counts=st.lists(st.integers(0, 10**7), min_size=2, max_size=2))
def test_any_name_and_count_keeps_lines_short_and_safe(name, counts):
    sources = [source(name, count, [1, 8], ["min"]) for count in counts]
    text = to_text(example_evaluation(sources=sources, sizes=[1, 8], scored_here=1, model=name), official=True)
    assert not HARMFUL.search(text.replace("\n", ""))
    assert all(cell_len(line) <= WIDTH for line in text.splitlines())
    assert "\n" not in source_name(name)
    assert source_name(name)
