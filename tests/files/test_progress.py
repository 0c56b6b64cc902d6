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


def test_nothing_is_shown_unasked(path, capsys):
    with QuestionProgress(path, "evaluating", shown=None) as progress:
        assert progress.summary == "0 questions"
        progress.advance(10)
        assert progress.summary == "1 question"
    assert capsys.readouterr() == ("", "")


def test_a_missing_file_is_named(tmp_path):
    for make in (QuestionProgress, file_bar):
        with pytest.raises(InputError, match="missing"):
            make(tmp_path / "missing", "evaluating", False)
