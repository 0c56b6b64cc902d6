"""`calibrate` makes of a file the rankings that `MedPRM.rank` makes, and the command says what it found."""

import json
import os
import stat

import pytest

from medprm_scorer import InputError, MedPRM, Trust, calibrate
from medprm_scorer.cli.app import main
from medprm_scorer.evaluation.calibrate import judged_ranking
from medprm_scorer.evaluation.calibration_report import headline, save_plot, to_text
from medprm_scorer.evaluation.labelled_records import parse_labelled
from medprm_scorer.sampling.stopping import Agree
from medprm_scorer.trust.calibration import calibrate_rankings
from tests.support.cheap_engine import CheapEngine
from tests.support.judged_rankings import made_up, records


def write(path, lines) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "labelled.jsonl"
    write(path, records(made_up(400, 0)))
    return path


def test_a_file_gives_what_its_rankings_give(file):
    found = calibrate(file, risk=0.05, delta=0.1)
    same = calibrate_rankings(made_up(400, 0), risk=0.05, delta=0.1)
    assert found.trust.model_dump(exclude={"fitted_on"}) == same.trust.model_dump(exclude={"fitted_on"})
    assert found.rows == same.rows
    assert found.trust.threshold is not None


@pytest.mark.parametrize("strategy", ["weighted_vote", "best_of_n", "majority_vote"])
@pytest.mark.parametrize("aggregate", ["min", "mean"])
def test_a_judged_ranking_is_the_ranking_of_the_scorer(demo, strategy, aggregate):
    prm = MedPRM(CheapEngine(), demo.encoder)
    candidates = [
        "Step 1: X.\nStep 2: The answer is (A)",
        "Step 1: Y.\nStep 2: The answer is (B)",
        "",
        "Step 1: Z.\nStep 2: The answer is (B)",
        "Step 1: It cannot be determined from the information given.",
        "Step 1: Nothing.",
    ]
    record = {"question": "Which? (A) one (B) two", "candidates": candidates, "documents": ["A note."]}
    ranking = prm.rank(**record, strategy=strategy, aggregate=aggregate)
    chains = sorted(ranking.chains, key=lambda chain: chain.index)
    stored = [chain.step_rewards if chain.error is None else None for chain in chains]
    labelled = parse_labelled({**record, "step_rewards": stored, "correct_answer": "B"})
    made, right = judged_ranking(labelled, labelled.rewards, strategy, aggregate, documents=1)
    for name in ("answer", "declined", "votes", "strategy", "aggregate", "documents_used"):
        assert getattr(made, name) == getattr(ranking, name)
    assert [chain.index for chain in made.chains] == [chain.index for chain in ranking.chains]
    assert right == (ranking.answer == "B")


def test_a_question_of_which_nothing_can_be_scored_has_no_answer():
    labelled = parse_labelled(
        {"question": "Which?", "candidates": ["(A)", "(B)"], "step_rewards": [None, None], "correct_answer": "A"}
    )
    ranking, right = judged_ranking(labelled, labelled.rewards, "weighted_vote", "min")
    assert (ranking.answer, right, len(ranking.chains)) == (None, False, 2)


def test_a_stopping_rule_takes_the_candidates_in_front():
    answers = ["A", "B", "A", "B", "B"]
    labelled = parse_labelled(
        {
            "question": "Which?",
            "candidates": [f"The answer is ({answer})" for answer in answers],
            "step_rewards": [[0.5]] * 5,
            "correct_answer": "A",
        }
    )
    ranking, right = judged_ranking(labelled, labelled.rewards, "weighted_vote", "min", stop=Agree(2))
    assert (len(ranking.chains), ranking.answer, right) == (3, "A", True)
    ranking, right = judged_ranking(labelled, labelled.rewards, "weighted_vote", "min")
    assert (len(ranking.chains), ranking.answer, right) == (5, "B", False)


def test_the_rule_is_kept_and_the_numbers_of_candidates_are(file):
    fitted = calibrate(file, risk=0.1, delta=0.1, stop=Agree(2)).trust.fitted_on
    assert (fitted.stop, fitted.fewest, fitted.most) == ("agree=2", 2, 4)  # of three answers


def test_questions_that_repeat_are_left_out(file, tmp_path):
    twice = tmp_path / "twice.jsonl"
    twice.write_text(file.read_text(encoding="utf-8") * 2, encoding="utf-8")
    found = calibrate(twice, risk=0.05, delta=0.1)
    assert (found.questions, found.repeated) == (400, 400)
    assert found.trust == calibrate(file, risk=0.05, delta=0.1).trust


def test_computed_rewards_name_their_model(demo, tmp_path):
    path = tmp_path / "plain.jsonl"
    write(path, [{k: v for k, v in one.items() if k != "step_rewards"} for one in records(made_up(40, 1))])
    engine = CheapEngine()
    prm = MedPRM(engine, demo.encoder)
    found = calibrate(path, prm, risk=0.3, delta=0.3, journal=tmp_path / "kept.sqlite3")
    assert found.trust.fitted_on.settings == prm.settings
    calls = len(engine.calls)
    assert calibrate(path, prm, risk=0.3, delta=0.3, journal=tmp_path / "kept.sqlite3") == found
    assert len(engine.calls) == calls  # the journal had them


def test_too_few_questions_are_refused_before_the_model_is_loaded(tmp_path):
    path = tmp_path / "few.jsonl"
    write(path, [{k: v for k, v in one.items() if k != "step_rewards"} for one in records(made_up(9, 1))])

    def never():
        raise AssertionError

    with pytest.raises(InputError, match="too few questions"):
        calibrate(path, never, risk=0.05, delta=0.1)


def test_stored_rewards_are_not_scored_again_by_accident(file):
    with pytest.raises(InputError, match="holds rewards"):
        calibrate(file, lambda: None, risk=0.05, delta=0.1)


def test_the_command_writes_a_file_that_rank_takes(file, tmp_path, capsys):
    out, request = tmp_path / "trust.json", tmp_path / "request.json"
    assert main(["calibrate", str(file), "--risk", "0.05", "--delta", "0.1", "-o", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("Answers with a confidence of at least")
    assert "does not say which model" in shown.err
    assert Trust.load(out).threshold is not None
    assert not stat.S_IMODE(os.stat(out).st_mode) & 0o111
    chains = [f"Step 1: Give {n} mg. The answer is (A)" for n in range(5)]
    request.write_text(json.dumps({"question": "Which?", "documents": ["A note."], "candidates": chains}))
    assert main(["rank", str(request), "--trust", str(out), "--json"]) == 0
    ranking = json.loads(capsys.readouterr().out)
    assert ranking["trusted"] in (True, False)
    assert 0 <= ranking["confidence"] <= 1
    assert main(["rank", str(request), "--trust", str(out), "--strategy", "best_of_n"]) == 2
    assert "strategy weighted_vote then and best_of_n now" in capsys.readouterr().err


def test_the_command_says_that_nothing_can_be_trusted(tmp_path, capsys):
    path, out = tmp_path / "noise.jsonl", tmp_path / "trust.json"
    write(path, records(made_up(300, 2, noise=1.0)))
    assert main(["calibrate", str(path), "--risk", "0.02", "-o", str(out)]) == 0
    assert capsys.readouterr().out.startswith(
        "Nothing can be trusted: at the first threshold tested, at most 2.0% errors"
    )
    trust = Trust.load(out)
    assert trust.threshold is None
    assert not any(trust.judge(ranking).trusted for ranking, _ in made_up(50, 3))


def test_json_and_the_plot(file, tmp_path, capsys):
    plot = tmp_path / "risk.svg"
    assert main(["calibrate", str(file), "--json", "--plot", str(plot)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["coverage"] == pytest.approx(found["trust"]["answered"] / found["trust"]["calibrated"])
    assert "Хворий" not in json.dumps(found, ensure_ascii=False)
    assert plot.read_text().startswith("<?xml")


def test_a_plot_of_nothing_is_drawn(tmp_path):
    found = calibrate_rankings(made_up(60, 4, noise=1.0), risk=0.06, delta=0.1)
    save_plot(found, tmp_path / "nothing.png")
    assert (tmp_path / "nothing.png").stat().st_size > 1000


def test_the_report_fits_a_terminal(file):
    text = to_text(calibrate(file, risk=0.05, delta=0.1))
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    assert headline(calibrate(file, risk=0.05, delta=0.1)).split()[0] in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--risk", "0"], "risk must be a number above 0"),
        (["--delta", "nan"], "delta must be a number above 0"),
        (["--strategy", "best"], "unknown strategy"),
        (["--stop", "never"], "a stopping rule is"),
        (["--rescore"], "--rescore needs --model"),
        (["--documents", "none"], "name a model"),
        (["--plot", "risk.txt"], "its name must end in"),
        (["--risk", "0.001"], "too few questions"),
    ],
)
def test_bad_usage_is_one_line(file, capsys, arguments, message):
    assert main(["calibrate", str(file), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_nothing_that_is_read_is_overwritten(file, capsys):
    before = file.read_bytes()
    assert main(["calibrate", str(file), "-o", str(file)]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert file.read_bytes() == before
