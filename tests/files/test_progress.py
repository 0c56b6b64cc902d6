import io
import re
from contextlib import redirect_stderr

import pytest

from medprm_scorer.errors import InputError
from medprm_scorer.files.progress import QuestionProgress, file_bar


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "file.jsonl"
    file.write_bytes(b"x" * 1000)
    return file


def test_questions_and_running_accuracy_are_shown(path):
    out = io.StringIO()
    with redirect_stderr(out), QuestionProgress(path, "evaluating", shown=True) as progress:
        for place in range(4):
            progress.advance(250 * (place + 1), {"weighted vote": place != 3, "majority vote": place % 2})
        progress.advance(1000)  # nobody knows what is right: no part of the accuracy
    last = re.split(r"[\r\n]+", out.getvalue().strip())[-1]
    assert last.startswith("100%")
    assert "evaluating: 5 questions, weighted vote 75.0%, majority vote 50.0%" in last


def test_short_work_says_nothing_where_there_is_no_terminal(path, capsys):
    with QuestionProgress(path, "evaluating", shown=None) as progress:
        assert progress.summary == "0 questions"
        progress.advance(10)
        assert progress.summary == "1 question"
    assert capsys.readouterr() == ("", "")


def test_long_work_says_how_far_it_is_where_there_is_no_terminal(path, capsys, monkeypatch):
    monkeypatch.setattr("medprm_scorer.files.progress._LINE_SECONDS", 1e-9)
    with QuestionProgress(path, "evaluating", shown=None) as progress:
        progress.advance(250, {"majority vote": 1.0})
        progress.advance(500)
    with file_bar(path, "scoring", None) as bar:
        bar.set_postfix_str("7 records, 0 errors", False)
        bar.update(100)
    out, err = capsys.readouterr()
    lines = [line.split(" [")[0] for line in err.splitlines()]
    assert lines[0] == "medprm: evaluating: 1 question, majority vote 100.0%, 25% of the file"
    assert lines[1] == "medprm: evaluating: 2 questions, majority vote 100.0%, 50% of the file"
    assert lines[-1] == "medprm: scoring, 7 records, 0 errors, 10% of the file"
    assert not out
    assert "\r" not in err


def test_nothing_is_shown_where_that_was_asked_for_or_nobody_listens(path, capsys, monkeypatch):
    monkeypatch.setattr("medprm_scorer.files.progress._LINE_SECONDS", 1e-9)
    with file_bar(path, "scoring", False) as bar:
        bar.update(100)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr", None)  # as under pythonw
    with QuestionProgress(path, "evaluating", shown=None) as progress:
        progress.advance(250)


def test_a_missing_file_is_named(tmp_path):
    for make in (QuestionProgress, file_bar):
        with pytest.raises(InputError, match="missing"):
            make(tmp_path / "missing", "evaluating", False)
