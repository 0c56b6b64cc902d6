"""The file of results and its note: cut, changed, damaged or another's."""

import json
from pathlib import Path

import pytest

from medprm_scorer.bulk.result_file import Done, ResultFile, state_path
from medprm_scorer.errors import InputError, OutputError
from medprm_scorer.files import append_only

LINES = [json.dumps({"id": number, "error": "x" * 50 * number}).encode() + b"\n" for number in range(6)]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "out.jsonl"


def written(path: Path, lines=LINES) -> None:
    with ResultFile(path) as file:
        file.agree({"strategy": "s", "model": "m"})
        for number, line in enumerate(lines):
            file.add([line], file.done.after(bytes([number]), error=True))


def refusal(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        ResultFile(path)
    assert path.read_bytes() == before
    return str(caught.value)


def test_it_goes_on_where_it_was(path):
    written(path, LINES[:2])
    with ResultFile(path) as file:
        assert file.done.records == file.done.errors == 2
        file.agree({"model": "m", "strategy": "s"})
        done = file.done
        for number in range(2, 6):
            done = done.after(bytes([number]), error=True)
        file.add(LINES[2:], done)
    whole = path.with_name("whole.jsonl")
    written(whole)
    assert path.read_bytes() == whole.read_bytes() == b"".join(LINES)
    assert state_path(path).read_text() == state_path(whole).read_text()


def test_the_digest_depends_on_every_record_and_their_order():
    chains = {Done().after(a).after(b).digest for a, b in ((b"1", b"2"), (b"2", b"1"), (b"1", b"1"), (b"12", b""))}
    assert len(chains) == 4


@pytest.mark.parametrize("rest", [b"", b"{", LINES[0], LINES[0] + b'{"id": 7, "rank', b"\0" * 300])
def test_what_an_interrupted_run_left_behind_the_note_is_cut_off(path, rest):
    written(path)
    with path.open("ab") as file:
        file.write(rest)
    with ResultFile(path) as file:
        assert file.done.records == 6
    assert path.read_bytes() == b"".join(LINES)


def test_killed_before_the_first_note_it_starts_again(path):
    with ResultFile(path) as file:
        file.agree({"model": "m"})
    path.write_bytes(LINES[0] + LINES[1][:5])
    with ResultFile(path) as file:
        assert file.done == Done()
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-5] + b"y" + content[-4:],
        lambda content: content + b"my own line\n",
        lambda content: b"x" * len(content),
    ],
)
def test_a_file_that_was_changed_is_left_alone(path, change):
    written(path)
    path.write_bytes(change(path.read_bytes()))
    assert "has been changed since" in refusal(path)


def test_one_without_a_note_is_left_alone(path):
    path.write_bytes(b"".join(LINES))
    assert "has not written" in refusal(path)


@pytest.mark.parametrize("key", [None, "medprm_score", "done", "end", "tail", "settings"])
def test_a_note_with_a_damaged_value(path, key):
    written(path)
    note = state_path(path)
    good = json.loads(note.read_text())
    for value in (None, -1, "x", [], {}, {"records": "1", "errors": 0, "digest": ""}, 1e400):
        if key == "settings" and isinstance(value, dict):
            continue  # any names and values may be settings
        note.write_text(json.dumps(value if key is None else good | {key: value}))
        message = refusal(path)
        assert "is damaged: delete it" in message or "has been changed" in message


def test_a_note_that_is_no_json(path):
    written(path)
    note = state_path(path)
    for content in (b"", note.read_bytes()[:20], b"\xff", b"[" * 99999):
        note.write_bytes(content)
        assert "is damaged" in refusal(path)


def test_emptied_or_deleted_it_starts_again(path):
    written(path)
    path.write_bytes(b"")
    with ResultFile(path) as file:
        assert file.done == Done()
        file.agree({"strategy": "another"})
    written(other := path.with_name("other.jsonl"))
    other.unlink()
    with ResultFile(other) as file:
        assert file.done == Done()


def test_other_settings(path):
    written(path)
    with ResultFile(path) as file:
        file.agree({"model": "m"})
        with pytest.raises(InputError, match=r"another model \(m, not n\)"):
            file.agree({"strategy": "s", "model": "n"})


def test_one_at_a_time(path):
    with ResultFile(path) as file:
        file.agree({"model": "m"})
        with pytest.raises(InputError, match="in use by another process"):
            ResultFile(path)


def test_the_note_never_counts_what_the_disk_may_not_have(path, monkeypatch):
    events = []
    clock = [100.0]
    monkeypatch.setattr(append_only.time, "monotonic", lambda: clock[0])
    fsync, replace = append_only.os.fsync, Path.replace
    monkeypatch.setattr(append_only.os, "fsync", lambda number: (events.append("sync"), fsync(number)))
    monkeypatch.setattr(Path, "replace", lambda *paths: (events.append("note"), replace(*paths)))
    with ResultFile(path) as file:
        file.agree({"model": "m"})
        events.clear()
        for number in range(4):
            clock[0] += 0.6
            file.add([LINES[number]], file.done.after(b"x"))
    assert events == ["sync", "sync", "note"] * 2  # the results, the new note, then the note in its place


def test_a_folder_that_can_no_longer_be_written(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    file = ResultFile(path)
    file.agree({"model": "m"})
    file.add([LINES[0]], file.done.after(b"x"))
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"state\.json: No space left on device; once that is mended"):
        file.close()
    monkeypatch.undo()
    with ResultFile(path) as file:
        assert file.done == Done()
