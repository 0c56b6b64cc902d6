"""The command `medprm explain`."""

import json

import pytest

from medprm_scorer import Explanation
from medprm_scorer.cli import main
from tests.support.paths import ROOT

REQUEST = str(ROOT / "medprm_scorer/data/formulary_1.json")


def test_it_prints_the_winner_and_the_runner_up_and_writes_a_page(capsys, tmp_path):
    page = tmp_path / "page.html"
    assert main(["explain", REQUEST, "--runner-up", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "Weakest step" in out
    assert "Runner-up" in out
    assert "<mark" in page.read_text()


def test_its_json_is_an_explanation_with_shapley_values(capsys):
    assert main(["explain", REQUEST, "--json", "--shapley", "2", "--no-sentences"]) == 0
    found = Explanation.model_validate(json.loads(capsys.readouterr().out))
    assert found.permutations == 2
    assert all(row.shapley is not None for row in found.effects)
    assert found.sentences == []


@pytest.mark.parametrize(
    "bad", [["no-such-file.json"], [REQUEST, "--shapley", "-1"], [REQUEST, "--html", "/no/x.html"]]
)
def test_bad_usage_is_one_line_and_status_2(capsys, bad):
    assert main(["explain", *bad]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
