"""From simulated stops to figures: means, comparisons with fixed numbers, `evaluate` and the command around them."""

import json

import numpy as np
import pytest

from medprm_scorer import cli
from medprm_scorer.errors import InputError
from medprm_scorer.evaluation import stopping_table
from medprm_scorer.evaluation.bootstrap import sign_flip_p_values
from medprm_scorer.evaluation.evaluate import Plan, evaluate
from medprm_scorer.evaluation.page import to_html
from medprm_scorer.evaluation.report import method, to_text
from medprm_scorer.evaluation.report_tables import sheets
from medprm_scorer.evaluation.stopping import Stops
from medprm_scorer.evaluation.stopping_table import stopping_result
from medprm_scorer.evaluation.table import Resampling
from medprm_scorer.sampling.stopping import Agree, Confident
from tests.evaluation.test_stopping import made_up
from tests.support.evaluations import example_evaluation, example_stopping

HOW = Resampling(resamples=50, flips=99, seed=1)
RULES = (Agree(2), Agree(3), Confident(0.8), Confident(0.95))


def stops(fixed, right, drawn):
    return Stops(np.array(fixed), np.array(right), np.array(drawn))


def test_means_and_comparisons_by_hand():
    """Two orders each; the second question has two candidates only, and takes part with all of them."""
    found = [stops([0, 1, 2, 2], [1], [4]), stops([1, 2], [2], [3])]
    result = stopping_result(found, ["rule"], 2, [1, 2, 9], HOW, "min")
    assert [row.rule for row in result.fixed] == ["n=1", "n=2", "n=4"]
    assert (result.maximum, result.orders, result.questions) == (4, 2, 2)
    assert [row.accuracy.value for row in result.fixed] == [0.25, 0.75, 1.0]
    assert [row.samples.value for row in result.fixed] == [1.0, 2.0, 3.0]
    [rule] = result.rules
    assert (rule.samples.value, rule.accuracy.value) == (1.75, 0.75)
    assert rule.to_all.gain.value == -0.25
    # 1.75 samples: two for three questions in four, one for the others; so 0.375 and 0.875 on the two questions
    assert rule.to_equal.gain.value == pytest.approx(((0.5 - 0.375) + (1.0 - 0.875)) / 2)
    assert rule.to_equal.p_value == sign_flip_p_values(np.array([[0.125], [0.125]]), 99, 1)[0]
    assert result.fixed[-1].to_all is None
    assert {row.to_equal for row in result.fixed} == {None}


def test_a_rule_that_never_stops_is_all_samples():
    result = stopping_result([stops([0, 1, 2], [2], [6])], ["rule"], 2, [3], HOW, "min")
    [rule], [full] = result.rules, result.fixed
    assert (rule.samples, rule.accuracy) == (full.samples, full.accuracy)
    assert rule.to_all == rule.to_equal
    assert (rule.to_all.gain.value, rule.to_all.p_value) == (0.0, 1.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Questions with different numbers of candidates, one of them open-ended, one without rewards."""
    lines = []
    for number in range(60):
        one = made_up(number, 4 + number % 9, coarse=number % 2 == 0)
        texts = ["" if a is None else f"The answer is ({a.strip('()').upper()[:1]})" for a in one.answers]
        texts = [text or f"Unsure {place}." for place, text in enumerate(texts)]
        record = {"question": f"Question {number}?", "candidates": texts}
        record["step_rewards"] = [None if number == 7 or r is None else [r] for r in one.rewards]
        lines.append(json.dumps(record | ({} if number == 3 else {"correct_answer": "A"})))
    path = tmp_path_factory.mktemp("stopping") / "samples.jsonl"
    path.write_text("\n".join(lines))
    return path


def run(file, **changes):
    return evaluate(file, plan=Plan(**{"how": HOW, "stopping": RULES, "orders": 4, **changes}), progress=False)


def test_the_figures_do_not_depend_on_how_questions_are_put_together(file, monkeypatch):
    whole = run(file).stopping
    assert whole.questions == 59
    for block in (1, 300):
        monkeypatch.setattr(stopping_table, "_BLOCK", block)
        assert run(file).stopping == whole


def test_all_samples_are_the_weighted_vote_of_the_table_and_nothing_else_changes(file):
    found = run(file)
    cell = found.total.cell(found.sizes[-1], "weighted_vote", "min")
    assert found.stopping.fixed[-1].accuracy.value == pytest.approx(cell.accuracy.value, abs=1e-12)
    plain = run(file, stopping=())
    assert plain.stopping is None
    assert plain.model_copy(update={"provenance": None}) == found.model_copy(
        update={"provenance": None, "stopping": None}
    )


def test_a_stricter_rule_draws_more_and_the_largest_size_is_the_most(file):
    found = run(file, sizes=[1, 5]).stopping
    assert found.maximum == 5
    agree2, agree3, c80, c95 = (row.samples.value for row in found.rules)
    assert 2 <= agree2 < agree3 <= 5
    assert 3 <= c80 <= c95 <= 5
    other = run(file, sizes=[1, 5], how=Resampling(50, 99, seed=2)).stopping
    assert [row.samples.value for row in other.rules] != [agree2, agree3, c80, c95]


def test_nothing_to_simulate_gives_no_table(tmp_path):
    path = tmp_path / "open.jsonl"
    path.write_text(json.dumps({"question": "Why?", "candidates": ["x", "y"], "step_rewards": [[0.1], [0.2]]}))
    assert run(path).stopping is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rewards": False}, "need rewards"),
        ({"stopping": (Agree(2), Agree(2))}, "only once"),
        ({"orders": 0}, "orders"),
        ({"orders": 1001}, "orders"),
    ],
)
def test_plans_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Plan(**{"stopping": (Agree(2),), **wrong})


def test_the_tables_are_in_the_report_and_on_the_page():
    evaluation = example_evaluation(stopping=example_stopping())
    first, gains = [one for one in sheets(evaluation, ascii_only=True) if one.columns[0] == "rule"]
    assert first.columns == ("rule", "samples", "accuracy", "gain over n=64", "p")
    assert [row[0] for row in first.rows] == ["n=8", "n=64", "agree=3", "confident=0.9", "confident=0.95"]
    assert first.rows[1][3:] == ("-", "-")
    assert first.rows[3] == ("confident=0.9", "9.6", "97.9 [96.9, 98.9]", "-0.1 [-0.6, +0.4]", "0.2500")
    assert gains.rows[1] == ("confident=0.9", "9.6", "+3.9 [+2.9, +4.9]", "<=0.0001")
    text, page = to_text(evaluation), to_html(evaluation)
    assert max(map(len, text.splitlines())) <= 80
    for row in (*first.rows, *gains.rows):
        assert " ".join(row) in " ".join(text.split())
        assert row[0] in page
    assert "20 random orders" in method(evaluation, [])[1]
    assert "Stopping" not in to_text(example_evaluation())


def test_the_command_prints_what_the_plan_finds(file, capsys):
    assert cli.main(["evaluate", str(file), "--stop", "agree=2,confident=0.8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["stopping"]
    assert [row["rule"] for row in found["rules"]] == ["agree=2", "confident=0.8"]
    assert found == json.loads(
        evaluate(file, plan=Plan(stopping=(Agree(2), Confident(0.8))), progress=False).stopping.model_dump_json()
    )
    assert cli.main(["evaluate", str(file), "--stop", "all"]) == 0
    assert "confident=0.99" in capsys.readouterr().out
    for wrong in ("", "0.9", "confident=2", "agree=2,", "agree=3,agree=3"):
        assert cli.main(["evaluate", str(file), "--stop", wrong]) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert cli.main(["evaluate", str(file), "--stop", "all", "--no-rewards"]) == 2
