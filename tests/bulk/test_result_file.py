"""The file of results: cut, changed or another's."""

import json
from pathlib import Path

import pytest

from medprm_scorer.bulk.result_file import ResultFile, result_line
from medprm_scorer.errors import InputError, OutputError

LINES = [
    result_line(f'q"{number}', {"record": f"{number:016x}", "model": "{m}"}, {"error": "x" * 50 * number}, {})
    for number in range(6)
]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "out.jsonl"


def written(path: Path, lines=LINES) -> None:
    with ResultFile(path) as file:
        file.resume()
        for line in lines:
            file.add([line], errors=1)


def read(file: ResultFile) -> list[str]:
    found = []
    while (run := file.next()) is not None:
        found.append(run["record"])
    return found


def refusal(path: Path) -> str:
    before = path.read_bytes()
    with ResultFile(path) as file, pytest.raises(InputError) as caught:
        read(file)
    assert path.read_bytes() == before
    return str(caught.value)


def test_it_goes_on_where_it_was(path):
    written(path, LINES[:2])
    with ResultFile(path) as file:
        assert read(file) == [f"{number:016x}" for number in range(2)]
        file.keep()
        file.resume()
        assert (file.records, file.errors) == (2, 2)
        file.add(LINES[2:], errors=4)
        assert (file.records, file.errors) == (6, 6)
    assert path.read_bytes() == b"".join(LINES)


def test_lines_that_do_not_stay_are_cut_off(path):
    written(path)
    with ResultFile(path) as file:
        file.next()
        file.next()
        file.keep()
        file.next()
        file.resume()
        assert (file.records, file.errors) == (2, 2)
    assert path.read_bytes() == b"".join(LINES[:2])


@pytest.mark.parametrize("rest", [b"", b"{", b'{"id": 7, "run', LINES[3][:-1], b"\0" * 300])
def test_half_a_line_and_zeros_at_the_end_are_cut_off(path, rest):
    written(path)
    with path.open("ab") as file:
        file.write(rest)
    with ResultFile(path) as file:
        assert len(read(file)) == 6
        file.keep()
        file.resume()
    assert path.read_bytes() == b"".join(LINES)


def test_cut_anywhere_every_whole_line_stays(path):
    content = b"".join(LINES[:3])
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        with ResultFile(path) as file:
            read(file)
            file.keep()
            file.resume()
            assert file.records == content[:cut].count(b"\n")
            file.add([LINES[5]], errors=1)
        whole = b"".join(content[:cut].splitlines(keepends=True)[: content[:cut].count(b"\n")])
        assert path.read_bytes() == whole + LINES[5]


@pytest.mark.parametrize(
    "rest",
    [
        b"my own line\n",
        b"my own line",
        b"{}\n",
        b'{"id": 1}\n',
        b'{"id": 1, "ranking": {}}\n',
        b"\0\0\n",
        b"\xff\n",
        b'{"id": 1, "run": [], "error": ""}\n',
        b'{"id": ' + b"[" * 99999 + b"\n",
        b"\n",
        b'{"id": 1, "run": {}, "x": 1}\n',
    ],
)
def test_a_file_that_was_changed_is_left_alone(path, rest):
    written(path)
    with path.open("ab") as file:
        file.write(rest)
    assert "has been changed after line 6" in refusal(path)
    path.write_bytes(rest + LINES[0])
    assert "did not write" in refusal(path)


def test_one_at_a_time(path):
    with ResultFile(path), pytest.raises(InputError, match="in use by another process"):
        ResultFile(path)
    ResultFile(path).close()


def test_the_disk_is_waited_for_once_a_second_and_at_the_end(path, monkeypatch):
    clock, synced = [100.0], []
    monkeypatch.setattr("medprm_scorer.bulk.result_file.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("medprm_scorer.bulk.result_file.os.fsync", lambda number: synced.append(clock[0]))
    with ResultFile(path) as file:
        for tick in range(40):
            clock[0] = 100 + tick / 10
            file.add([LINES[1]], errors=1)
    assert synced == pytest.approx([101, 102, 103, 103.9])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_half_way_leaves_no_half_line(path, error):
    class Full:
        """The file, on a disk that takes 10 bytes more."""

        def __init__(self, file):
            self.file, self.room = file, 10

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            if not self.room:
                raise error
            self.room, taken = 0, self.file.write(bytes(data)[: self.room])
            return taken

    file = ResultFile(path)
    file.add([LINES[0]], errors=1)
    whole, file._file = file._file, Full(file._file)
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        file.add([LINES[1]], errors=1)
    assert isinstance(error, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert path.read_bytes() == LINES[0]
    file._file = whole
    file.add([LINES[2]], errors=1)
    file.close()
    file.close()
    assert path.read_bytes() == LINES[0] + LINES[2]
    with pytest.raises(OutputError):
        file.add([LINES[2]], errors=1)


def test_a_line_holds_nothing_that_steers_a_terminal():
    line = result_line("\x1b[31m\u2028", {"record": "0f"}, {"error": "\x9b2J"}, {})
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert b"\x1b" not in line
    assert json.loads(line)["id"] == "\x1b[31m\u2028"
