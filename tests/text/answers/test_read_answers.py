"""The benchmark that compares the answers read with those recorded."""

import json

from benchmarks.read_answers import count, lines, main

QUESTION = "Which test?\n(A) CT\n(B) MRI"
SOLUTIONS = [
    {"solution": "Step 1: So it is. Step 2: The answer is (A).", "answer": "A"},
    {"solution": "The best test is an MRI.", "answer": "mri"},
    {"solution": "The answer is (A).", "answer": "B"},
    {"solution": "The answer is (A).", "answer": None},
    {"solution": "I cannot answer this.", "answer": "A"},
    {"solution": "1. Fever.\n2. private", "answer": "A"},
]


def test_counts(tmp_path):
    path = tmp_path / "chains.jsonl"
    path.write_text(json.dumps({"question_id": "q7", "question": QUESTION, "solutions": SOLUTIONS}) + "\n")
    counts = count(str(path))
    assert counts.outcomes == {"as recorded": 2, "as another": 2, "declined": 1, "unread": 1}
    assert counts.others == ["  q7[2]", "  q7[3]"]
    assert counts.rules.total() == counts.steps.total() == 6
    assert counts.steps[2] == 2
    assert any("as recorded 33.3%, as another 33.3%, declined 16.7%, unread 16.7%" in line for line in lines(counts))


def test_no_text_is_printed(tmp_path, capsys, monkeypatch):
    path = tmp_path / "chains.jsonl"
    path.write_text(json.dumps({"question_id": "q7", "question": QUESTION, "solutions": SOLUTIONS}))
    monkeypatch.setattr("sys.argv", ["read_answers", str(path), "--show", "1"])
    assert main() == 0
    shown = capsys.readouterr().out
    assert "private" not in shown
    assert "q7[2]" in shown
    assert "q7[3]" not in shown


def test_a_file_without_chains(tmp_path):
    path = tmp_path / "none.jsonl"
    path.write_text(json.dumps({"question": QUESTION, "solutions": []}))
    assert list(lines(count(str(path)))) == ["  chains 0"]
