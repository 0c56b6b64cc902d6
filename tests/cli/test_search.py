"""`medprm search`: one request, a policy from a folder, the ranking and the tree."""

import json

import pytest

from examples.formulary.experiment import held_out
from examples.formulary.sample import POLICY
from medprm_scorer.cli import main

SMALL = ["--policy", str(POLICY), "--model", "demo", "--device", "cpu"]


@pytest.fixture(scope="module")
def request_file(tmp_path_factory):
    _, question = held_out(2)
    file = tmp_path_factory.mktemp("search") / "request.json"
    file.write_text(json.dumps({"id": 7, "question": question.text, "documents": question.documents}))
    return str(file)


def test_a_beam_as_text_and_a_page(request_file, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["search", request_file, *SMALL, "--width", "2", "--expansions", "2", "--html", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "Answer: " in shown
    assert "beam search 2 × 2" in shown
    assert "finished" in shown
    assert "The search" in page.read_text()


@pytest.mark.parametrize(
    ("more", "method"),
    [
        (["--method", "rejection", "--n", "4", "--strategy", "best_of_n"], "early rejection of 4"),
        (["--method", "dvts", "--width", "2", "--expansions", "2", "--max-tokens", "60"], "dvts 2 × 2"),
    ],
)
def test_the_other_searches_as_json(request_file, capsys, more, method):
    assert main(["search", request_file, *SMALL, *more, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tree"]["method"] == method
    assert found["id"] == 7
    assert sum(branch["candidate"] is not None for branch in found["tree"]["branches"]) == len(found["chains"])
    assert (found["tree"]["stopped"] is None) == ("--max-tokens" not in more)


@pytest.mark.parametrize(
    "wrong",
    [
        [*SMALL, "--method", "mcts"],
        [*SMALL, "--rank-by", "prod"],
        [*SMALL, "--policy-model", "m"],
        [*SMALL, "--method", "rejection", "--aggregate", "mean"],
        ["--model", "demo"],
    ],
)
def test_bad_usage_is_one_line(request_file, capsys, wrong):
    assert main(["search", request_file, *wrong]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) <= 2


def test_a_policy_that_is_not_there_is_an_error(request_file, tmp_path, capsys):
    assert main(["search", request_file, "--model", "demo", "--policy", str(tmp_path)]) == 1
    assert "holds no model" in capsys.readouterr().err
