"""Every file that a command makes, and that may hold a patient's text, can be read by its owner only."""

import json
import os
import sys

import pytest

from examples.formulary.sample import POLICY
from medprm_scorer import cli
from medprm_scorer.evaluation.journal import Journal
from medprm_scorer.local.loading import DEMO_MODEL

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def made(folder) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


def test_what_commands_write_is_the_owners_only(tmp_path, open_umask, capsys):
    request = json.loads((DEMO_MODEL.parent / "formulary_1.json").read_text())
    inputs, folder = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    folder.mkdir()
    one, many = inputs / "one.json", inputs / "many.jsonl"
    one.write_text(json.dumps(request))
    many.write_text("".join(json.dumps(request | {"correct_answer": "A", "id": n}) + "\n" for n in range(2)))
    model = ["--model", "demo"]
    outputs = ["--html", "e.html", "--plot", "e.svg", "--scored", "s.json", "--per-question", "q.jsonl"]
    outputs = [part if part.startswith("--") else str(folder / part) for part in [*outputs, "--journal", "j.sqlite3"]]
    assert cli.main(["rank", str(one), *model, "--html", str(folder / "rank.html")]) == 0
    assert cli.main(["explain", str(one), *model, "--html", str(folder / "explain.html")]) == 0
    policy = ["--policy", str(POLICY), "--width", "1", "--expansions", "1", "--max-tokens", "8"]
    assert cli.main(["search", str(one), *model, *policy, "--html", str(folder / "search.html")]) == 0
    assert cli.main(["score", str(many), str(folder / "score.jsonl"), *model]) == 0
    assert cli.main(["evaluate", str(many), *model, "--resamples", "10", *outputs]) == 0
    capsys.readouterr()
    names = (
        "rank.html",
        "explain.html",
        "search.html",
        "score.jsonl",
        "e.html",
        "e.svg",
        "s.json",
        "q.jsonl",
        "j.sqlite3",
    )
    assert made(folder) == dict.fromkeys(names, "0o600")
    assert {path.name for path in inputs.iterdir()} == {"one.json", "many.jsonl"}


def test_what_sqlite_writes_beside_a_journal_is_too(tmp_path, open_umask):
    with Journal(tmp_path / "j.sqlite3", {}) as journal:
        journal.add("key", ["text"])
        found = made(tmp_path)
    assert len(found) >= 2
    assert set(found.values()) == {"0o600"}
