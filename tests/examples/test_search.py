"""The comparison of searches at equal tokens, at a small size."""

import json
import sys

import pytest

from examples.formulary import search


@pytest.fixture
def few(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "BUDGETS", (1, 2))
    given = ["search", "--questions", "2", "--out", str(tmp_path), "--results", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", given)
    return tmp_path


def test_early_rejection_is_right_as_often_as_what_it_stands_for_and_writes_no_more(few, capsys):
    search.main()
    stored = json.loads((few / "results" / "search.json").read_text())["questions"]
    assert len(stored) == 2
    for one in stored:
        assert one["one sample"]["2"]["generated"] == one["best-of-n"]["1"]["generated"]
        for n in ("1", "2"):
            for early, whole in (
                ("early rejection, best-of-n", "best-of-n"),
                ("early rejection, vote", "weighted vote"),
            ):
                assert one[early][n]["right"] == one[whole][n]["right"]
                assert one[early][n]["generated"] <= one[whole][n]["generated"]
    page = (few / "results" / "search.md").read_text()
    assert "| beam search |" in page
    assert "p = 0.000" not in page
    assert (few / "results" / "search.png").stat().st_size > 10_000
    before = capsys.readouterr().out
    search.main()  # resumed: nothing is computed again
    assert capsys.readouterr().out == before
