"""A name in the help can be copied: no line is broken within it."""

import pytest

from medprm_scorer import cli
from medprm_scorer.text.prompts import RELEASED_MODEL


@pytest.mark.parametrize("command", ["rank", "score", "search", "evaluate", "calibrate", "explain", "vllm-command"])
def test_the_released_model_is_named_on_one_line(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert RELEASED_MODEL in shown
    assert "\u2011" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_the_rule_for_steps_and_the_labels_of_steps_are_told_apart(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["evaluate", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--step-labels" in shown
    assert "(Not to be confused with --steps" in shown
