"""A file that an evaluation wrote says what made its rewards, and that is checked when it is read back."""

import json

import pytest

from medprm_scorer import MedPRM, cli
from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.calibrate import calibrate
from medprm_scorer.evaluation.evaluate import Plan, evaluate
from medprm_scorer.evaluation.questions import Selection
from medprm_scorer.evaluation.table import Resampling

HOW = Resampling(5, 5)
TEXTS = ["Step 1: Fever.\nStep 2: The answer is (A)", "Step 1: No. The answer is (B)"]


def question(number, **changes):
    made = {"id": number, "question": f"Which, {number}?", "candidates": TEXTS, "correct_answer": "A"}
    return made | {"documents": ["A leaflet."]} | changes


@pytest.fixture(scope="module")
def demo():
    return MedPRM.from_pretrained()


@pytest.fixture(scope="module")
def scored(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    asked, out = folder / "asked.jsonl", folder / "scored.json"
    asked.write_text("\n".join(json.dumps(question(number)) for number in range(3)))
    evaluate(asked, demo, plan=Plan(how=HOW), model="demo", scored=out)
    return out


def test_each_question_says_what_made_its_rewards(scored, demo):
    runs = [record["run"] for record in json.loads(scored.read_text())]
    assert runs == [{"name": "demo", **demo.settings, "documents": "given"}] * 3


def test_read_back_it_is_in_the_report(scored, demo):
    known = evaluate(scored, plan=Plan(how=HOW)).provenance
    assert (known.rewards, known.model) == ("file", "demo")
    assert known.settings == {**demo.settings, "documents": "given"}


def test_written_again_it_is_still_there(scored, tmp_path):
    again = tmp_path / "again.json"
    evaluate(scored, plan=Plan(how=HOW), scored=again)
    assert json.loads(again.read_text()) == json.loads(scored.read_text())


def test_without_documents_it_says_so(demo, scored, tmp_path):
    bare = tmp_path / "bare.json"
    evaluate(
        scored, demo, plan=Plan(how=HOW, rescore=True, selection=Selection(documents="none")), scored=bare, model="m"
    )
    assert {record["run"]["documents"] for record in json.loads(bare.read_text())} == {"none"}
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps(json.loads(scored.read_text())[:1] + json.loads(bare.read_text())[1:]))
    with pytest.raises(InputError, match="record 1: its rewards were computed with another model or settings"):
        evaluate(mixed, plan=Plan(how=HOW))


@pytest.mark.parametrize("key", ["model", "system", "steps", "dtype", "documents"])
def test_rewards_of_two_kinds_in_one_file_are_refused(scored, tmp_path, key):
    records = json.loads(scored.read_text())
    records[2]["run"][key] = "another"
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps(records))
    with pytest.raises(InputError, match="record 2"):
        evaluate(mixed, plan=Plan(how=HOW))


@pytest.mark.parametrize("run", [{"model": 3}, {"system": ["rag"]}, {"name": None}, {"name": "x" * 5000}])
def test_a_run_that_is_none(scored, tmp_path, run):
    records = json.loads(scored.read_text())
    records[1]["run"] = run
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(records))
    with pytest.raises(InputError, match="record 1: run: not as medprm writes it"):
        evaluate(wrong, plan=Plan(how=HOW))


@pytest.mark.parametrize("run", [..., None, "exp-7", {"seed": 1}])
def test_files_that_do_not_say_are_read_as_before(scored, tmp_path, run):
    records = [
        {key: value for key, value in (record | {"run": run}).items() if value is not ...}
        for record in json.loads(scored.read_text())
    ]
    old = tmp_path / "old.json"
    old.write_text(json.dumps(records))
    found = evaluate(old, plan=Plan(how=HOW), scored=tmp_path / "again.json")
    assert (found.provenance.model, found.provenance.settings) == (None, {})
    assert all("run" not in record for record in json.loads((tmp_path / "again.json").read_text()))


def test_lines_of_score_are_not_scored_again_without_their_documents(demo, tmp_path, capsys):
    asked, lines = tmp_path / "asked.jsonl", tmp_path / "lines.jsonl"
    asked.write_text("\n".join(json.dumps(question(number)) for number in range(2)))
    assert cli.main(["score", str(asked), str(lines), "--model", "demo"]) == 0
    model = ["evaluate", str(lines), "--model", "demo", "--rescore", "--resamples", "5"]
    capsys.readouterr()
    assert cli.main(model) == 2
    said = capsys.readouterr().err
    assert "2 records cannot be used" in said
    assert "does not keep the documents" in said
    assert "Which" not in said
    assert cli.main([*model, "--documents", "none"]) == 0
    assert "2 questions without documents" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(InputError, match="does not keep the documents"):
        calibrate(lines, demo, risk=0.5, delta=0.5, rescore=True)


def test_lines_of_score_that_had_no_documents_are_scored_again(demo, tmp_path):
    asked, lines = tmp_path / "asked.jsonl", tmp_path / "lines.jsonl"
    asked.write_text(json.dumps(question(0, documents=[])))
    assert cli.main(["score", str(asked), str(lines), "--model", "demo"]) == 0
    assert evaluate(lines, demo, plan=Plan(how=HOW, rescore=True)).scored_here == 1
