"""Labels that could be misread are refused, with the record and the candidate, and never with a text."""

import json
import math

import pytest

from medprm_scorer import cli
from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.page import report_to_html
from medprm_scorer.evaluation.questions import Selection
from medprm_scorer.evaluation.step_labels.evaluate import evaluate_steps
from medprm_scorer.evaluation.step_labels.labels import parse_labels
from medprm_scorer.evaluation.step_labels.report import report
from medprm_scorer.evaluation.table import Resampling
from tests.support.evaluations import HOSTILE
from tests.support.pages import Page

HOW = Resampling(20, 20)
SECRET = "Пацієнтка Олена К."


def record(number=0, **changes):
    made = {
        "id": number,
        "question": f"{SECRET} Which, {number}?",
        "candidates": [["Fever.", "So (A)."], "Step 1: No fever.\nStep 2: So (B)."],
        "step_rewards": [[0.9, 0.8], [0.7, 0.2]],
        "step_labels": [[1, 1], [1, 0]],
        "data_source": "med_qa",
    }
    return {key: value for key, value in (made | changes).items() if value is not ...}


def write(path, *records):
    path.write_text("\n".join(map(json.dumps, records)))
    return path


@pytest.fixture
def file(tmp_path):
    return lambda *records: write(tmp_path / "questions.jsonl", *records)


@pytest.fixture
def label_file(tmp_path):
    return lambda *records: write(tmp_path / "labels.jsonl", *records)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "step_labels: expected a list"),
        ("1", "step_labels: expected a list"),
        (["10"], "candidate 0: expected a list of labels or null, found a string"),
        ([[1], 1], "candidate 1: expected a list of labels or null, found a number"),
        ([[1, True]], "candidate 0, step 1: a label must be 1, 0 or null, found true or false"),
        ([None, [2]], "candidate 1, step 0: a label must be 1, 0 or null, found a number that is neither"),
        ([[-1]], "candidate 0, step 0"),
        ([[0.5]], "candidate 0, step 0"),
        ([[math.nan]], "candidate 0, step 0"),
        ([[math.inf]], "candidate 0, step 0"),
        ([["1"]], "candidate 0, step 0: a label must be 1, 0 or null, found a string"),
        ([["None"]], "candidate 0, step 0"),
        ([[[1]]], "candidate 0, step 0"),
        ([[10**400]], "candidate 0, step 0"),
    ],
)
def test_what_is_no_label(value, message):
    with pytest.raises(InputError, match=message):
        parse_labels(value)


def test_what_is_a_label():
    assert parse_labels([[1, 0, None, 1.0], [], None]) == ((1, 0, None, 1), None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_labels": [[1, 1]]}, "record 1: step_labels: 1 entries for 2 candidates"),
        ({"step_labels": [[1, 1], [1, 0, 1]]}, "record 1, candidate 1: 3 labels for 2 step rewards"),
        ({"step_labels": [[1, 1], [1, math.nan]]}, "record 1: candidate 1, step 1"),
        ({"step_rewards": ...}, "record 1: the file holds no rewards for it"),
        ({"step_rewards": [[0.9], [0.7, 0.2]]}, "record 1: .*candidate 0 has 2 steps, but rewards for 1"),
    ],
)
def test_records_are_refused_with_their_number_and_no_text(file, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        evaluate_steps(file(record(), record(1, **changes)), how=HOW)
    assert SECRET not in str(caught.value)


def test_smallest_rewards_are_not_enough(file):
    solutions = [{"solution": "Step 1: x. Step 2: y.", "answer": "A", "score": 1, "PRM_min_score": 0.5}]
    released = {"question_id": 1, "question": "Which?", "solutions": solutions, "step_labels": [[1]]}
    with pytest.raises(InputError, match="record 0: it holds only PRM_min_score"):
        evaluate_steps(file(released), how=HOW)


def test_without_any_label_there_is_nothing_to_say(file, label_file):
    with pytest.raises(InputError, match="no question has a candidate with step labels and rewards"):
        evaluate_steps(file(record(step_labels=...)), how=HOW)
    with pytest.raises(InputError, match="no record has step_labels"):
        evaluate_steps(file(record()), label_file({"id": 0}), how=HOW)
    with pytest.raises(InputError, match="has labels for"):
        evaluate_steps(file(record()), label_file({"id": 9, "step_labels": [[1, 1], None]}), how=HOW)


def test_labels_of_another_number_name_both_records(file, label_file, demo):
    questions, own = [record(number, step_labels=...) for number in range(3)], "questions.jsonl: record 2"
    short = label_file({"id": 2, "step_labels": [[1], [1, 0]]})
    with pytest.raises(InputError, match=rf"{own}, candidate 0: 1 label in record 0 of \S+labels.jsonl for 2 step rew"):
        evaluate_steps(file(*questions), short, how=HOW)
    plain = [{key: value for key, value in one.items() if key != "step_rewards"} for one in questions]
    with pytest.raises(InputError, match=rf"{own}: candidate 0: 1 label in record 0 of \S+labels.jsonl for 2 steps"):
        evaluate_steps(file(*plain), short, demo, how=HOW)
    few = label_file({"id": 2, "step_labels": [[1, 1]]})
    with pytest.raises(InputError, match=rf"{own}: step_labels in record 0 of \S+labels.jsonl: 1 entries for 2 cand"):
        evaluate_steps(file(*questions), few, how=HOW)


def test_labels_of_processbench_are_told_how_to_become_ours(file, label_file):
    with pytest.raises(InputError, match="no record has step_labels; ProcessBench's label k becomes step_labels: k t"):
        evaluate_steps(file(record()), label_file({"id": 0, "label": -1}), how=HOW)
    with pytest.raises(InputError, match=r"label: unknown key beside candidates; .* ProcessBench's label k becomes"):
        evaluate_steps(file(record(label=1, step_labels=...)), how=HOW)


def test_a_repeated_question_is_named(file):
    found = evaluate_steps(file(record(), record(1), record()), how=HOW)
    assert (found.repeated, found.repeated_places) == (1, [(2, 0)])
    text = " ".join(report(found).to_text().split())
    assert "1 question repeated (record 2 is the question of record 0 again): intervals count each as a new" in text


def test_labels_by_id_are_those_of_the_record(file, label_file):
    records = [record(number) for number in range(4)]
    apart = [{"id": str(one["id"]), "step_labels": one.pop("step_labels")} for one in map(dict, reversed(records))]
    own = evaluate_steps(file(*records), how=HOW)
    by_id = evaluate_steps(file(*(record(n, step_labels=...) for n in range(4))), label_file(*apart), how=HOW)
    assert own.total == by_id.total
    assert own.numbers == by_id.numbers
    assert own.labels_file is None
    assert "Labels: labels.jsonl, SHA-256" in report(by_id).to_text()


def test_what_is_left_out_is_counted(file, label_file):
    questions = [
        record(0, step_rewards=[[0.9, 0.8], None]),
        record(1),
        record(2, step_labels=...),
        {"id": "x", "run": {}, "error": "not valid JSON"},
    ]
    labels = [
        {"id": 0, "step_labels": [[None, 0], [1, 1]]},
        {"id": 1, "step_labels": [[1, 0], None]},
        {"id": 77, "step_labels": [[1]]},
    ]
    found = evaluate_steps(file(*questions), label_file(*labels), how=HOW)
    assert (found.chains, found.total.steps, found.unknown_steps) == (2, 3, 1)
    assert (found.unscored, found.unlabelled_chains, found.unlabelled_questions) == (1, 1, 1)
    assert (found.unused_labels, found.failed, found.total.first_error.undetermined) == (1, 1, 1)
    text = report(found, ascii_only=True).to_text()
    for line in ("1 step without a known label", "1 chain left out", "1 question without labels", "1 record of labels"):
        assert line in text
    assert SECRET not in found.model_dump_json() + text


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([{"step_labels": [[1]]}], "record 0: labels in a separate file need an id"),
        ([{"id": True, "step_labels": [[1]]}], "need an id"),
        ([{"id": 0, "step_labels": [[1]]}] * 2, "record 1: it has the same id as record 0"),
        ([{"id": n, "step_labels": [[1]]} for n in (0, "0")], "record 1: it has the same id as record 0"),
        ([record(0, question="Another?")], "record 0 of .* has the same id but a different question"),
        ([record(0, candidates=[["Fever.", "So (C)."], "x"])], "has the same id but different candidates"),
        ([{"id": 0, "question": "Another?", "step_labels": [[1, 1], None]}], "but a different question"),
    ],
)
def test_labels_of_something_else_are_refused(file, label_file, label, message):
    with pytest.raises(InputError, match=message) as caught:
        evaluate_steps(file(record()), label_file(*label), how=HOW)
    assert SECRET not in str(caught.value)


def test_an_id_that_two_questions_have_names_none(file, label_file):
    questions = [record(0), record(0, question="Another?")]
    with pytest.raises(InputError, match="record 1: it has the same id as record 0"):
        evaluate_steps(file(*questions), label_file({"id": 0, "step_labels": [[1, 1], None]}), how=HOW)


def test_only_the_first_candidates_and_sources_that_are_asked_for(file):
    questions = [record(0), record(1, data_source="osce")]
    found = evaluate_steps(file(*questions), selection=Selection(("med*",), candidates=1), how=HOW)
    assert (found.chains, found.total.steps) == (1, 2)
    assert [part.name for part in found.sources] == ["med_qa"]
    grouped = evaluate_steps(file(*questions), groups=[("both", "*")], how=HOW)
    assert [(part.name, part.steps) for part in grouped.sources] == [("both", 8)]


def test_later_steps_are_one_row(file):
    texts = [f"s{number}" for number in range(14)]
    long = record(candidates=[texts], step_rewards=[[0.5] * 14], step_labels=[[1] * 14])
    found = evaluate_steps(file(long), how=HOW)
    assert [(part.name, part.steps) for part in found.numbers][-2:] == [("9", 1), ("10+", 5)]
    assert sum(part.steps for part in found.numbers) == 14


def test_hostile_names_stay_names(file):
    found = evaluate_steps(file(record(data_source=HOSTILE)), how=HOW)
    made = report(found)
    page = report_to_html("steps", made)
    assert "<script" not in page
    assert "script" not in Page(page).tags
    assert "\x1b" not in page + made.to_text()
    assert all(len(line) <= 80 for line in report(evaluate_steps(file(record()), how=HOW)).to_text().splitlines())


def test_the_command(file, tmp_path, capsys):
    path = file(*(record(number) for number in range(3)))
    page = tmp_path / "steps.html"
    arguments = ["evaluate", str(path), "--step-labels", str(path), "--resamples", "20"]
    assert cli.main([*arguments, "--html", str(page), "--threshold", "0.75"]) == 0
    out = capsys.readouterr().out
    assert "AUROC" in out
    assert "threshold 0.75" in out
    assert SECRET not in out + page.read_text()
    assert "First error" in page.read_text()
    assert cli.main([*arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["total"]["steps"] == 12
    assert shown["threshold"] == 0.5
    assert shown["provenance"]["file"] == path.name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--paper"], "--paper changes nothing with --step-labels"),
        (["--no-rewards"], "--no-rewards changes nothing"),
        (["--aggregate", "last"], "--aggregate changes nothing"),
        (["--against-aggregate", "last"], "--against changes nothing"),
        (["--threshold", "1.5"], "threshold"),
        (["--html", "questions.jsonl"], "would overwrite"),
    ],
)
def test_options_that_do_not_go_together(file, capsys, monkeypatch, tmp_path, more, message):
    path = file(record())
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", str(path), "--step-labels", str(path), *more]) == 2
    assert message in capsys.readouterr().err
    assert cli.main(["evaluate", str(path), "--threshold", "0.4"]) == 2


@pytest.mark.parametrize("rule", ["auto", "whole"])
def test_labels_are_checked_against_the_steps_before_anything_is_scored(file, demo, rule, monkeypatch):
    """The second record's labels are too many; no reward of the first is computed."""
    from medprm_scorer import MedPRM

    bare = {"step_rewards": ..., "candidates": ["Step 1: Fever.\nStep 2: So (A)."]}
    right = [[1, 0]] if rule == "auto" else [[1]]
    path = file(record(0, **bare, step_labels=right), record(1, **bare, step_labels=[[1, 1, 1]]))
    prm = demo if rule == "auto" else MedPRM.from_pretrained(steps=rule)
    monkeypatch.setattr(MedPRM, "rank_batch", lambda *args, **kwargs: pytest.fail("scored"))
    with pytest.raises(InputError, match=rf"record 1: candidate 0: 3 labels for {len(right[0])} steps"):
        evaluate_steps(path, prm=prm, how=HOW)


def test_computed_rewards_and_journal(file, demo, tmp_path):
    bare = {"step_rewards": ..., "candidates": ["Step 1: Fever.\nStep 2: So (A)."], "step_labels": [[1, 0]]}
    path = file(*(record(number, **bare) for number in range(3)))
    journal = tmp_path / "rewards.sqlite3"
    found = evaluate_steps(path, prm=demo, how=HOW, journal=journal)
    assert (found.scored_here, found.kept, found.total.steps) == (3, 0, 6)
    assert evaluate_steps(path, prm=demo, how=HOW, journal=journal).kept == 3
    assert found.without_documents == 3
    with pytest.raises(InputError, match="holds rewards for 1 questions"):
        evaluate_steps(file(record()), prm=demo, how=HOW)


@pytest.fixture(scope="module")
def demo():
    from medprm_scorer import MedPRM

    return MedPRM.from_pretrained()
