"""The formulary's figures of stopping rules: mixing, choosing, and the whole command on a few questions."""

import numpy as np
import pytest

from examples.formulary import stopping
from examples.formulary.stopping import AGREEING, CONFIDENCES, FEWEST, MARKS, Simulated, choose_rule
from medprm_scorer.evaluation.choices import Candidates
from medprm_scorer.sampling.stopping import Agree, Confident

GRID = [Confident(confidence, min_samples=n) for confidence in CONFIDENCES for n in FEWEST]
EASY = Candidates(("A",) * 40, (True,) * 40, (0.95,) * 40)
HARD = Candidates(("A", "B") * 20, (True, False) * 20, (0.9, 0.1) * 20)


def test_equal_mean_lies_between_the_two_neighbours():
    simulated = Simulated([EASY, HARD], [Confident(), *(Agree(k) for k in AGREEING)])
    assert simulated.fixed_at(3.0).tolist() == simulated.fixed[:, 2].tolist()
    assert np.allclose(simulated.fixed_at(3.25), 0.75 * simulated.fixed[:, 2] + 0.25 * simulated.fixed[:, 3])
    assert simulated.fixed_at(40.0).tolist() == simulated.fixed[:, -1].tolist()
    third = simulated.drawn[Agree(3)].mean()
    assert np.allclose(simulated.agree_at(float(third)), simulated.right[Agree(3)])


def test_the_most_careful_rule_that_is_cheap_enough_is_chosen():
    simulated = Simulated([EASY], GRID)
    chosen = choose_rule(simulated)
    dearer = [one for one in GRID if one.min_samples == 3 and one.confidence > chosen.confidence]
    assert simulated.drawn[chosen].mean() <= stopping.MOST_SAMPLES
    assert all(simulated.drawn[one].mean() > stopping.MOST_SAMPLES for one in dearer)
    assert choose_rule(Simulated([Candidates((None,) * 40, (False,) * 40, (0.1,) * 40)], GRID)) == Confident()


def test_the_command_goes_on_where_it_was_and_fills_its_file(tmp_path, monkeypatch, capsys):
    results = tmp_path / "results.md"
    results.write_text(f"before\n{MARKS[0]}\n{MARKS[1]}\nafter")
    asked = ["--out", str(tmp_path), "--tuning", "2", "--questions", "3", "--samples", "6", "--results", str(results)]
    monkeypatch.setattr("sys.argv", ["stopping", *asked])
    stopping.main()
    first = capsys.readouterr().out
    assert "To report, 3 other questions" in first
    assert results.read_text() == f"before\n{MARKS[0]}\n{first.strip()}\n{MARKS[1]}\nafter"

    def score(*_):
        pytest.fail("it was scored before")

    monkeypatch.setattr("medprm_scorer.evaluation.reward_sources._score", score)
    stopping.main()
    assert capsys.readouterr().out == first
