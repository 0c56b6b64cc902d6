"""Differences of two runs agree with a plain count, and turn their sign with the runs; questions are the same ones."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer import MedPRM, cli
from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.comparison.compare import compare, holm, match, mcnemar
from medprm_scorer.evaluation.comparison.report import report
from medprm_scorer.evaluation.comparison.verdicts import Run, Verdict
from medprm_scorer.evaluation.evaluate import Plan, evaluate
from medprm_scorer.evaluation.page import report_to_html
from medprm_scorer.evaluation.questions import Selection
from medprm_scorer.evaluation.table import Resampling
from tests.support.cheap_engine import CheapEngine
from tests.support.evaluations import HOSTILE
from tests.support.pages import Page
from tests.support.properties import examples

HOW = Resampling(60, 60)
SECRET = "Пацієнтка Олена К."


def record(number, seed=0, candidates=5, policy=0):
    """The same question and candidates for every seed; the rewards are the seed's, the candidates the policy's."""
    texts = random.Random(f"{policy} {number}")
    draw = random.Random(f"{seed} {number}")
    return {
        "id": number,
        "question": f"{SECRET} Which, {number}?",
        "candidates": [f"Step 1: x. The answer is ({texts.choice('ABC')})" for _ in range(candidates)],
        "step_rewards": [[draw.randint(0, 10) / 10 for _ in range(3)] for _ in range(candidates)],
        "correct_answer": "A",
        "data_source": "ab"[number % 2],
    }


@pytest.fixture
def write(tmp_path):
    def write(name, records):
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, records)))
        return path

    return write


@pytest.fixture
def files(write):
    here, there = ([record(number, seed) for number in range(60)] for seed in (1, 2))
    random.Random(0).shuffle(there)
    return write("a.jsonl", here), write("b.jsonl", there)


def test_accuracies_are_those_of_an_evaluation(files):
    found = compare(*files, aggregates=("min", "last"), how=HOW)
    assert found.same_candidates
    assert [(row.choice, row.aggregate) for row in found.total.choices] == [
        (choice, aggregate) for aggregate in ("min", "last") for choice in ("weighted_vote", "best_of_n")
    ]
    alone = [evaluate(file, plan=Plan(aggregates=("min", "last"))).total for file in files]
    for row in found.total.choices:
        ours, theirs = (one.cell(5, row.choice, row.aggregate).accuracy.value for one in alone)
        assert (row.accuracy.value, row.other_accuracy.value) == pytest.approx((ours, theirs))
        assert row.difference.value == pytest.approx(ours - theirs)
        assert (row.only_here - row.only_there) / 60 == pytest.approx(ours - theirs)
        assert row.difference.low <= row.difference.value <= row.difference.high


def test_a_against_b_is_b_against_a_with_the_sign_turned(files):
    there, back = compare(*files, how=HOW), compare(*reversed(files), how=HOW)
    parts = {part.source: part for part in back.sources}
    for one, two in [(there.total, back.total), *((part, parts[part.source]) for part in there.sources)]:
        for row, turned in zip(one.choices, two.choices, strict=True):
            assert turned.difference.value == -row.difference.value
            assert (turned.difference.low, turned.difference.high) == pytest.approx(
                (-row.difference.high, -row.difference.low)
            )
            assert (turned.only_here, turned.only_there) == (row.only_there, row.only_here)
            same = [(one.p_value, one.mcnemar, one.adjusted) for one in (row, turned)]
            assert same[0] == same[1]
            assert (turned.accuracy, turned.other_accuracy) == (row.other_accuracy, row.accuracy)


def test_a_run_against_a_copy_of_itself_differs_in_nothing(files, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(files[0].read_bytes())
    for row in compare(files[0], copy, how=HOW).total.choices:
        assert (row.difference.value, row.difference.low, row.difference.high) == (0.0, 0.0, 0.0)
        assert (row.p_value, row.mcnemar, row.adjusted, row.only_here, row.only_there) == (1.0, 1.0, 1.0, 0, 0)


def test_another_aggregate_of_the_same_file(files):
    found = compare(files[0], files[0], aggregates=["min"], other_aggregates=["max"], how=HOW)
    assert {(row.aggregate, row.other_aggregate) for row in found.total.choices} == {("min", "max")}
    assert "min / max" in report(found).to_text()
    with pytest.raises(InputError, match="would be compared with itself"):
        compare(files[0], files[0], how=HOW)


def test_computed_rewards_under_two_aggregates_are_computed_once(write, tmp_path):
    from medprm_scorer import MedPRM

    bare = write("bare.jsonl", without("step_rewards", [record(number) for number in range(3)]))
    prm = MedPRM.from_pretrained()
    found = compare(bare, bare, prm, aggregates=["min"], other_aggregates=["last"], how=HOW, model="m")
    assert (found.here.scored_here, found.there.scored_here, found.total.questions) == (3, 3, 3)
    assert (found.here.provenance.aggregates, found.there.provenance.aggregates) == (["min"], ["last"])
    stored = tmp_path / "stored.json"
    evaluate(bare, prm, plan=Plan(how=HOW), scored=stored)
    alone = compare(stored, stored, aggregates=["min"], other_aggregates=["last"], how=HOW)
    assert alone.total == found.total
    again = compare(stored, stored, prm, rescore=True, how=HOW)  # the model against what it gave before
    assert {row.difference.value for row in again.total.choices} == {0.0}
    with pytest.raises(InputError, match="holds rewards for 3"):
        compare(stored, stored, prm, aggregates=["min"], other_aggregates=["last"], how=HOW)


def test_other_candidates_are_compared_without_rewards_too(write, files):
    other = write("c.jsonl", [record(number, 1, policy=1) for number in range(60)])
    found = compare(files[0], other, how=HOW)
    rows = {row.choice: row for row in found.total.choices}
    assert set(rows) == {"weighted_vote", "best_of_n", "majority_vote", "oracle", "single"}
    assert rows["single"].mcnemar is rows["single"].only_here is None
    assert not found.same_candidates
    bare = compare(files[0], other, rewards=False, how=HOW)
    assert [row.choice for row in bare.total.choices] == ["majority_vote", "oracle", "single"]
    for row in bare.total.choices:  # sums of fewer columns may be rounded otherwise
        assert row.difference.model_dump() == pytest.approx(rows[row.choice].difference.model_dump(), abs=1e-12)
    with pytest.raises(InputError, match="nothing else can differ"):
        compare(*files, rewards=False, how=HOW)


def test_what_does_not_match_is_counted_and_named(write):
    here = [record(number, 1) for number in range(40)] + [{**record(90), "correct_answer": None}]
    there = [record(number, 2) for number in range(10, 45)]
    there[0] = {**there[0], "question": "Something else?"}
    found = compare(write("a.jsonl", here), write("b.jsonl", there), how=HOW)
    assert (found.total.questions, found.here.unmatched, found.there.unmatched) == (29, 11, 6)
    assert (found.here.unjudged, found.there.unjudged, found.conflicts) == (1, 0, 1)
    text = " ".join(report(found).to_text().split())
    assert "40 judged questions, 11 of them not in the other file, 1 more without" in text
    assert "1 id in both files with different questions" in text
    assert sum(part.questions for part in found.sources) == 29


def without(key, records):
    return [{name: value for name, value in one.items() if name != key} for one in records]


def test_without_ids_the_texts_decide(write):
    here, there = ([record(number, seed) for number in range(8)] for seed in (1, 2))
    found = compare(write("a.jsonl", here), write("b.jsonl", without("id", there)), how=HOW)
    assert (found.by_id, found.total.questions) == (False, 8)
    assert "texts (some have no id)" in " ".join(report(found).to_text().split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda some: [*some, some[3]], "record 8 is the question of record 3 again"),
        (lambda some: without("id", [*some, {**some[3], "id": 99}]), "record 8 is the question of record 3 again"),
        (lambda some: [{**one, "question": "Q?"} for one in some], "only 0 of the 8 questions of .* and the 8 of"),
        (lambda some: [{**one, "id": one["id"] + 100} for one in some], "8 have the same text, but other ids"),
        (lambda some: [{**one, "correct_answer": "B"} for one in some[:2]] + some[2:], "2 questions have another"),
        (lambda some: [{**one, "correct_answer": None} for one in some], "no question has a judged answer"),
        (lambda some: without("step_rewards", some), "record 0: the file holds no rewards"),
    ],
)
def test_what_cannot_be_compared_is_refused(write, change, message):
    here, there = ([record(number, seed) for number in range(8)] for seed in (1, 2))
    with pytest.raises(InputError, match=message) as caught:
        compare(write("a.jsonl", here), write("b.jsonl", change(there)), how=HOW)
    assert SECRET not in str(caught.value)


def test_a_bad_second_file_is_named_before_the_first_is_scored(demo, write):
    here, there = ([record(number, seed) for number in range(8)] for seed in (1, 2))
    engine = CheapEngine()
    bad = write("b.jsonl", without("step_rewards", there))
    with pytest.raises(InputError, match=r"b\.jsonl: record 0: the file holds no rewards") as caught:
        compare(write("a.jsonl", without("step_rewards", here)), bad, MedPRM(engine, demo.encoder), how=HOW)
    assert engine.calls == []
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregates": ()}, "at least one aggregate"),
        ({"aggregates": ("min", "last"), "other_aggregates": ("min",)}, "as many"),
        ({"aggregates": ("median",)}, "aggregate"),
        ({"aggregates": ("min", "min")}, "only once"),
        ({"rescore": True}, "name a model"),
        ({"selection": Selection(documents="none")}, "name a model"),
    ],
)
def test_bad_options(files, options, message):
    with pytest.raises(InputError, match=message):
        compare(*files, how=HOW, **options)


def test_a_limit_and_sources(files):
    found = compare(*files, selection=Selection(("a",), limit=12, candidates=2), groups=[("G", "*")], how=HOW)
    assert found.total.questions == 12
    assert [part.source for part in found.sources] == ["G"]
    assert found.there.unmatched == 30 - 12


def test_mcnemar_counts_coins():
    for here, there in [(0, 1), (2, 7), (5, 5), (10, 0), (3, 4)]:
        total = here + there
        as_uneven = [k for k in range(total + 1) if abs(k - total / 2) >= abs(here - total / 2)]
        exact = sum(math.comb(total, k) for k in as_uneven) / 2**total
        assert mcnemar(here, there) == pytest.approx(exact)
    assert 0 <= mcnemar(30_000, 31_000) < 0.001


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_the_largest_of_the_steps_before(p_values):
    """By its definition: for each p, the largest of those up to it, each times how many are left."""
    ordered = sorted(p_values)
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        plain = [(len(ordered) - place) * one for place, one in enumerate(ordered[: ordered.index(p) + 1])]
        assert min(1.0, max(plain)) == adjusted
        assert p <= adjusted <= 1


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, unique=True, max_size=12), st.randoms())
def test_matching_does_not_depend_on_the_order(keys, draw):
    def run(some):
        return Run([Verdict(n, str(i), bytes([t]), "", None, b"", {}, False) for n, (i, t) in enumerate(some)])

    def shown(pairs):
        return sorted((one.id, one.digest, two.id, two.digest) for one, two in pairs)

    pairs, by_id = match(run(keys), run(draw.sample(keys, len(keys))))
    assert by_id
    assert len(pairs) == len(keys)
    assert shown(pairs) == sorted((str(i), bytes([t])) * 2 for i, t in keys)


def test_hostile_names_stay_names(write):
    here, there = ([{**record(n, seed), "data_source": HOSTILE} for n in range(40)] for seed in (1, 2))
    found = report(compare(write("a.jsonl", here), write("b.jsonl", there), how=HOW))
    page = report_to_html("comparison", found)
    assert "script" not in Page(page).tags
    assert "\x1b" not in page + found.to_text()
    assert SECRET not in page + found.to_text()


def test_the_command(files, tmp_path, capsys):
    here, there = map(str, files)
    page = tmp_path / "page.html"
    arguments = ["evaluate", here, "--against", there, "--resamples", "20"]
    assert cli.main([*arguments, "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "A less B" in out
    assert "McNemar" in page.read_text()
    assert cli.main([*arguments, "--json", "--aggregate", "min,last"]) == 0
    shown = capsys.readouterr().out
    assert len(json.loads(shown)["total"]["choices"]) == 4
    assert SECRET not in out + shown + page.read_text()
    assert cli.main(["evaluate", here, "--against-aggregate", "max", "--resamples", "20"]) == 0
    assert "min / max" in capsys.readouterr().out
    for bad in (["--stop", "all"], ["--plot", "x.png"], ["--subsets", "7"], ["--html", there], ["--html", here]):
        assert cli.main([*arguments, *bad]) == 2
    assert cli.main(["evaluate", here, "--against", str(tmp_path / "missing")]) == 2
    assert all(len(line) <= 80 for line in report(compare(*files, how=HOW), ascii_only=True).to_text().splitlines())
