import re
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from medprm_scorer.evaluation.provenance import provenance_lines
from medprm_scorer.evaluation.report import headline, method, summary, to_rich, to_text
from medprm_scorer.evaluation.report_tables import sheets, source_name
from medprm_scorer.evaluation.results import CHOICES, REWARD_CHOICES, Cell, Evaluation, Interval
from medprm_scorer.evaluation.sheets import WIDTH
from tests.support.evaluations import (
    HOSTILE,
    SIZES,
    cells,
    empty_evaluation,
    example_evaluation,
    hostile_evaluation,
    rewardless_evaluation,
    source,
    traced_evaluation,
)
from tests.support.properties import examples

HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
AGGREGATES = ["min", "last", "mean", "prod", "geomean", "max"]


def render(evaluation: Evaluation, width: int, **options: bool) -> str:
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(to_rich(evaluation, **options))
    return out.getvalue()


def with_cells(found: list[Cell], **changes: object) -> Evaluation:
    evaluation = example_evaluation(**changes)
    return evaluation.model_copy(update={"total": evaluation.total.model_copy(update={"cells": found})})


def table(evaluation: Evaluation, title: str, **options: bool) -> list[list[str]]:
    """The head and the rows of the one table whose title begins so."""
    [sheet] = [one for one in sheets(evaluation, ascii_only=True, **options) if one.title.startswith(title)]
    return [list(sheet.columns), *map(list, sheet.rows)]


def test_the_headline_comes_first_and_is_the_weighted_vote_with_all_candidates():
    evaluation = example_evaluation()
    vote = evaluation.total.cell(64, "weighted_vote", "min")
    majority = evaluation.total.cell(64, "majority_vote")
    assert headline(evaluation, ascii_only=True) == (
        f"Weighted vote {100 * vote.accuracy.value:.1f}, majority vote {100 * majority.accuracy.value:.1f}, "
        f"{100 * vote.gain.value:+.1f} [{100 * vote.gain.low:+.1f}, {100 * vote.gain.high:+.1f}], "
        f"p {vote.p_value:.4f} (percent of 2,670 questions, n = 64)"
    )
    assert " ".join(to_text(evaluation).split()).startswith(headline(evaluation, ascii_only=True))


def test_without_rewards_the_headline_and_the_tables_have_what_needs_none():
    evaluation = rewardless_evaluation()
    assert re.match(r"Majority vote [\d.]+, single [\d.]+, oracle [\d.]+ \(percent of 2,670", headline(evaluation))
    assert table(evaluation, "Accuracy in percent by number")[0] == ["n", "single", "majority vote", "oracle"]
    text = to_text(evaluation)
    assert "No rewards were used." in text
    assert "ain over majority" not in text
    assert "p-value" not in text


def test_scaling_table_holds_every_accuracy_with_its_interval():
    evaluation = example_evaluation()
    head, *rows = table(evaluation, "Accuracy in percent by number")
    assert head == ["n", "single", "majority vote", "best of n", "weighted vote", "oracle"]
    assert [row[0] for row in rows] == [str(n) for n in SIZES]
    by_n = {n: [cell for cell in evaluation.total.cells if cell.n == n] for n in SIZES}
    for n, row in zip(SIZES, rows, strict=True):
        values = [cell.accuracy for cell in by_n[n]]  # the builder's order is the table's
        single, *others, oracle = values
        assert [row[1], row[-1]] == [f"{100 * v.value:.1f}" for v in (single, oracle)]
        assert row[2:-1] == [f"{100 * v.value:.1f} [{100 * v.low:.1f}, {100 * v.high:.1f}]" for v in others]


def test_gains_are_signed_points_and_p_values_stand_beside_them():
    evaluation = example_evaluation()
    head, *rows = table(evaluation, "Gain over majority vote in points")
    assert head == ["n", "weighted vote", "p", "best of n", "p"]
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
    assert table(with_cells(found, sizes=[8], flips=flips), "Gain over majority vote in points")[1][2] == shown


def test_a_gain_that_rounds_to_nothing_has_no_minus():
    tiny = Interval(value=-0.0004, low=-0.0006, high=0.0)
    found = [cell.model_copy(update={"gain": tiny}) for cell in cells([8], ["min"], 0)]
    assert table(with_cells(found, sizes=[8]), "Gain over")[1][1] == "+0.0 [-0.1, +0.0]"


def test_each_other_aggregate_has_a_table_of_what_depends_on_it():
    evaluation = hostile_evaluation(AGGREGATES)
    text = to_text(evaluation)
    for aggregate in AGGREGATES[1:]:
        head, *rows = table(evaluation, f"Chain reward = {aggregate}: ")
        assert head == ["n", "best of n", "weighted vote", "gain", "p"]
        for n, row in zip(SIZES, rows, strict=True):
            value = evaluation.total.cell(n, "weighted_vote", aggregate).accuracy
            assert row[2] == f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"
    assert "Chain reward = min:" not in text


def test_sources_stand_at_the_largest_n_with_mean_and_total():
    evaluation = example_evaluation(sizes=[64, 1, 8])
    head, *rows = table(evaluation, "Accuracy in percent by data source, n = 64")
    assert head[:2] == ["source", "count"]
    assert [row[:2] for row in rows] == [
        ["medqa", "1,273"],
        ["medbullets", "308"],
        ["mmlu", "1,089"],
        ["macro average", "-"],
        ["all questions", "2,670"],
    ]
    gains = table(evaluation, "The weighted vote's gain over majority vote in points by data source, n = 64")[1:]
    parts = [*evaluation.sources, evaluation.average, evaluation.total]
    names = [(choice, "min" if choice in REWARD_CHOICES else None) for choice in CHOICES]
    for row, gain, part in zip(rows, gains, parts, strict=True):
        assert row[2:] == [f"{100 * part.cell(64, *name).accuracy.value:.1f}" for name in names]
        assert float(gain[1].split()[0]) == pytest.approx(
            100 * part.cell(64, "weighted_vote", "min").gain.value, abs=0.0501
        )


def test_one_source_has_no_mean():
    evaluation = example_evaluation(average=None, sources=[source("medqa", 2670, SIZES, ["min"])])
    assert "macro average" not in to_text(evaluation, official=True)


def test_official_counts_appear_only_when_asked_for():
    evaluation = example_evaluation()
    assert "authors" not in to_text(evaluation)
    rows = table(evaluation, "Right by the authors", official=True)[1:]
    for row, part in zip([*rows[:3], rows[4]], [*evaluation.sources, evaluation.total], strict=True):
        right = part.official.right
        assert row[1] == f"{right:,} / {part.questions:,} ({100 * right / part.questions:.1f}%)"
    shares = [100 * part.official.majority_right / part.questions for part in evaluation.sources]
    assert rows[3] == ["macro average", rows[3][1], f"{sum(shares) / 3:.1f}%"]


def test_summary_counts_what_was_left_out():
    lines = summary(
        example_evaluation(scored_here=20, model="some/model", engine="e (cpu, x)", kept=7, without_documents=3)
    )
    assert lines[0] == "2,670 questions, 170,880 candidates, 3 data sources"
    assert any(line.startswith("12 questions left out: it is not known for any candidate") for line in lines)
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
    assert text.startswith("Nothing to compare: no question has a judged answer.\n\n0 questions, 0 candidates")
    assert "7 questions left out" in text
    for row in table(empty_evaluation(), "Accuracy in percent by number")[2:]:
        assert row[1:] == ["-"] * 5
    assert ("authors' own selection" in text) == official


def test_figures_that_are_no_numbers_are_dashes():
    nan = Interval(value=float("nan"), low=float("nan"), high=float("nan"))
    found = [cell.model_copy(update={"accuracy": nan, "gain": nan}) for cell in cells(SIZES, ["min"], 0)]
    assert "nan" not in to_text(with_cells(found))


def test_no_sizes_leaves_no_tables():
    assert sheets(with_cells([], sizes=[])) == []


SOURCES = ("med_qa_4op", "mmlu_professional_medicine", "mmlu_clinical_knowledge", "pubmed_qa")  # as in the test set


def test_text_is_ascii_and_at_most_80_columns_and_nothing_breaks_within_a_word():
    sources = [source(name, 1273, SIZES, AGGREGATES, seed) for seed, name in enumerate(SOURCES)]
    evaluation = traced_evaluation(
        sources=sources, aggregates=AGGREGATES, total=source("all", 5469, SIZES, AGGREGATES, 9)
    )
    text = to_text(evaluation, official=True)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= WIDTH == 80
    words = set(text.split())
    for sheet in sheets(evaluation, ascii_only=True, official=True):
        for cell in (sheet.title, *sheet.columns, *(cell for row in sheet.rows for cell in row)):
            assert set(cell.split()) <= words, cell
    for row in table(evaluation, "Accuracy in percent by number")[1:]:  # all of a row on one line
        assert re.search(r" +".join(map(re.escape, row)), text)


def test_accuracies_of_100_percent_break_between_words_only():
    full = Interval(value=1.0, low=1.0, high=1.0)
    found = [cell.model_copy(update={"accuracy": full}) for cell in cells(SIZES, ["min"], 0)]
    text = to_text(with_cells(found))
    assert len(re.findall(r"100\.0(?= \[)", text)) == 3 * len(SIZES)
    assert text.count("100.0]") == 3 * len(SIZES)


def test_the_number_of_p_values_is_told():
    evaluation = example_evaluation()
    found = sheets(evaluation)
    count = 2 * len(SIZES) + len(evaluation.sources) + 2
    assert sum(sheet.p_values for sheet in found) == count
    assert f"There are {count} p-values above." in method(evaluation, found)[1]
    assert "0.05 / 19 = 0.0026" in method(evaluation, found)[1]
    assert len(method(evaluation, [])) == 1


def test_provenance_says_what_the_figures_rest_on():
    file, rewards, limits, made = provenance_lines(traced_evaluation().provenance)
    assert file == f"File: med_prm_test.json, SHA-256 {'ab' * 32}"
    assert rewards == (
        "Rewards: computed by dmis-lab/llama-3.1-medprm-reward-v1.0; revision 1a2b3c4; weights ab12cd34; "
        "system prompt documents; steps by rule auto; dtype bfloat16; chain reward = min"
    )
    assert limits == (
        "Limited to: data sources mmlu_*; at most 100 questions; at most 16 candidates of each question; "
        "documents of another question"
    )
    assert made == "Evaluated 2026-11-26T15:00:00Z with medprm 0.1.0, Python 3.11.2, torch 2.9.0"
    whole = " ".join(to_text(traced_evaluation()).split())
    assert all(line in whole for line in (file, rewards, limits, made))
    assert provenance_lines(example_evaluation().provenance) == []


def test_provenance_of_stored_rewards_and_of_none():
    known = traced_evaluation().provenance
    for changes, line in (
        ({"rewards": "none", "model": None}, "Rewards: not used"),
        ({"rewards": "file", "model": None, "revision": None, "settings": {}}, "Rewards: stored in the file; chain"),
        ({"rewards": "file"}, "Rewards: stored in the file; computed by dmis-lab/"),
    ):
        evaluation = traced_evaluation(provenance=known.model_copy(update=changes))
        assert provenance_lines(evaluation.provenance)[1].startswith(line)


def test_hostile_provenance_cannot_steer_the_terminal():
    known = traced_evaluation().provenance.model_copy(
        update={"file": HOSTILE, "model": HOSTILE, "sources": [HOSTILE], "settings": {HOSTILE: HOSTILE}}
    )
    text = to_text(traced_evaluation(provenance=known))
    assert not HARMFUL.search(text.replace("\n", ""))


def test_the_papers_table_has_the_published_figures_and_checks_the_counts():
    head, *rows = table(traced_evaluation(), "The paper's benchmarks")
    assert head[-2:] == ["majority right", "as released"]
    assert rows == [
        ["MedQA-4", "1,273", "60.0", "70.0", "71.0", "72.0", "957", "ok"],
        ["  published", "", "-", "70.0", "-", "-", "", ""],
        ["MMLU-Med", "1,000", "60.0", "70.0", "71.0", "72.0", "950", "-7"],
        ["  published", "", "-", "70.0", "-", "-", "", ""],
        ["average of 2", "", "60.0", "70.4", "71.0", "73.5", "", ""],
        ["  published", "", "-", "70.0", "-", "-", "", ""],
        ["all of these", "2,273", "-", "-", "-", "-", "1,907", "-7"],
    ]


def test_a_benchmark_without_questions_has_no_figures():
    paper = traced_evaluation().paper
    absent = paper.rows[0].model_copy(update={"questions": 0, "majority_right": 0, "single": 0.0})
    evaluation = traced_evaluation(paper=paper.model_copy(update={"rows": [absent]}))
    assert table(evaluation, "The paper's benchmarks")[1] == ["MedQA-4", "0", *["-"] * 6]


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


@settings(max_examples=examples(30))
@given(name=st.text(max_size=60), counts=st.lists(st.integers(0, 10**7), min_size=2, max_size=2))
def test_any_name_and_count_keeps_lines_short_and_safe(name, counts):
    sources = [source(name, count, [1, 8], ["min"]) for count in counts]
    text = to_text(example_evaluation(sources=sources, sizes=[1, 8], scored_here=1, model=name), official=True)
    assert not HARMFUL.search(text.replace("\n", ""))
    assert all(cell_len(line) <= WIDTH for line in text.splitlines())
    assert "\n" not in source_name(name)
    assert source_name(name)


@pytest.mark.parametrize("build", [example_evaluation, rewardless_evaluation, hostile_evaluation])
def test_the_headline_is_two_lines_of_80_columns(build):
    evaluation = build()
    first, second, third = to_text(evaluation).splitlines()[:3]
    assert f"{first} {second}" == headline(evaluation, ascii_only=True)
    assert second.startswith("(percent of ")
    assert third == ""
