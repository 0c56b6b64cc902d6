import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medprm_scorer
from medprm_scorer.errors import InputError
from medprm_scorer.files import append_only
from medprm_scorer.files.journal import Journal

HEADER = {"model": "m", "settings": {"steps": "auto", "budget": 3072}}
SECRET = "Mrs Example born 1950"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "work.jsonl"


def refusal(path: object, header: dict = HEADER) -> str:
    """The message; a file that is refused is left as it was."""
    before = path.read_bytes() if isinstance(path, Path) and path.is_file() else None
    with pytest.raises(InputError) as caught:
        Journal(path, header)
    if before is not None:
        assert path.read_bytes() == before
    message = str(caught.value)
    assert SECRET not in message
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- what is kept


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from("abc") | st.text(), VALUES) | st.none(), max_size=12))
def test_it_is_a_dictionary_that_survives_being_opened_again(path, steps):
    path.unlink(missing_ok=True)
    kept: dict[str, object] = {}
    journal = Journal(path, HEADER)
    for step in steps:
        if step is None:
            journal.close()
            journal = Journal(path, HEADER)
        else:
            journal.add(*step)
            kept[step[0]] = step[1]
        assert len(journal) == len(kept)
        assert {key: repr(journal.get(key)) for key in kept} == {key: repr(value) for key, value in kept.items()}
        assert journal.get("missing key") is None
    journal.close()
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert json.loads(lines[0]) == {"medprm_journal": 1, **HEADER}
    assert len(lines) == 1 + sum(step is not None for step in steps)


def test_the_order_of_the_header_does_not_matter(path):
    Journal(path, {"a": 1, "b": [2, {"c": 3, "d": 4}]}).close()
    Journal(path, {"b": (2, {"d": 4, "c": 3}), "a": 1}).close()


def test_values_are_not_held_in_memory(path):
    with Journal(path, HEADER) as journal:
        for number in range(50):
            journal.add(str(number), [0.123456789] * 2000)
        assert sum(len(repr(part)) for part in vars(journal).values()) < 5000
        assert journal.get("49") == [0.123456789] * 2000


def test_an_entry_is_in_the_file_when_add_returns(path):
    journal = Journal(path, HEADER)
    journal.add("a", 1)
    assert json.loads(path.read_text().splitlines()[-1]) == {"key": "a", "value": 1}
    journal.close()


def test_the_disk_is_waited_for_once_a_second_and_at_the_end(path, monkeypatch):
    clock, synced = [100.0], []
    monkeypatch.setattr(append_only.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(append_only.os, "fsync", lambda number: synced.append(clock[0]))
    with Journal(path, HEADER) as journal:
        for tick in range(40):
            clock[0] = 100 + tick / 10
            journal.add("a", tick)
    assert synced == pytest.approx([100, 101, 102, 103, 103.9])


# ---------------------------------------------------------------- what is refused


def test_another_header(path):
    with Journal(path, HEADER) as journal:
        journal.add("a", 1)
    for other in ({}, HEADER | {"model": "n"}, HEADER | {"more": None}, {"model": "m"}):
        assert "another model or other settings" in refusal(path, other)


def test_numbers_and_flags_are_not_alike(path):
    Journal(path, {"flag": 1}).close()
    assert "other settings" in refusal(path, {"flag": True})


@pytest.mark.parametrize(
    "content",
    [
        SECRET,
        SECRET + "\n",
        f'{{"question": "{SECRET}"}}\n',
        f'[{{"question": "{SECRET}"}}]',
        "[]\n",
        "\n",
        "null\n",
        "\x00\n",
        "{" * 99999 + "\n",
        "x" * 200_000,
    ],
)
def test_a_file_that_is_something_else_is_left_alone(path, content):
    path.write_text(content)
    assert "not a journal" in refusal(path)


@pytest.mark.parametrize(
    "line",
    [
        SECRET,
        "",
        "{}",
        '{"key": 1, "value": 2}',
        '{"key": "a"}',
        '{"value": 1}',
        "[]",
        '{"key": "a", "value": [0.5',
        '{"key": "b", "va{"key": "c", "value": 1}',
        "[" * 99999,
        "\x00" * 50,
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_damaged_line_is_named_and_nothing_is_dropped(path, line, last):
    with Journal(path, HEADER) as journal:
        journal.add("x", 1)
        journal.add("y", 2)
    lines = path.read_text().splitlines()
    lines.insert(3 if last else 2, line)
    path.write_text("\n".join(lines) + "\n")
    assert f"damaged at line {4 if last else 3}:" in refusal(path)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, object(), b"x", {"a": [float("nan")]}, {(1,): 2}]
)
def test_what_is_not_json_is_refused_and_changes_nothing(path, value):
    with Journal(path, HEADER) as journal:
        journal.add("a", 1)
        before = path.read_bytes()
        with pytest.raises(InputError, match="JSON"):
            journal.add("a", value)
        assert path.read_bytes() == before
        assert journal.get("a") == 1
    with pytest.raises(InputError, match="JSON"):
        Journal(path, {"model": value})


def test_a_header_too_long_to_be_found_again(path):
    with pytest.raises(InputError, match="header"):
        Journal(path, {"model": "m" * 70_000})
    assert not path.exists()


def test_places_where_no_file_can_be(tmp_path):
    assert "No such file" in refusal(tmp_path / "missing" / "work.jsonl")
    assert "directory" in refusal(tmp_path)
    refusal(str(tmp_path / "null\0"))
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "Permission" in refusal(tmp_path / "locked" / "work.jsonl")


def test_a_closed_journal_says_so(path):
    journal = Journal(path, HEADER)
    journal.add("a", 1)
    journal.close()
    journal.close()
    with pytest.raises(InputError):
        journal.add("b", 1)
    with pytest.raises(InputError):
        journal.get("a")


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_one_at_a_time(path):
    with Journal(path, HEADER) as journal:
        journal.add("a", 1)
        assert "in use by another process" in refusal(path)
        assert "in use by another process" in refusal(path, {"model": "other"})
        journal.add("b", 2)
    assert len(Journal(path, HEADER)) == 2


# ---------------------------------------------------------------- torn files


def test_cut_anywhere_it_keeps_every_whole_line_and_goes_on(path):
    with Journal(path, HEADER) as journal:
        for number in range(3):
            journal.add(f"k{number}", {"é\n": [number, 0.1]})
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = max(content[:cut].count(b"\n") - 1, 0)
        with Journal(path, HEADER) as journal:
            assert len(journal) == whole
            assert all(journal.get(f"k{number}") == {"é\n": [number, 0.1]} for number in range(whole))
            journal.add("new", cut)
        with Journal(path, HEADER) as journal:
            assert len(journal) == whole + 1
            assert journal.get("new") == cut


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_half_way_leaves_no_half_line(path, monkeypatch, error):
    class Full:
        """The journal's file, on a disk that takes 10 bytes more."""

        def __init__(self, file):
            self.file, self.room = file, 10

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            if not self.room:
                raise error
            self.room, taken = 0, self.file.write(bytes(data)[: self.room])
            return taken

    journal = Journal(path, HEADER)
    journal.add("a", 1)
    before, file = path.read_bytes(), journal._file.raw
    journal._file.raw = Full(file)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        journal.add("b", "x" * 100)
    assert isinstance(error, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert path.read_bytes() == before
    journal._file.raw = file
    journal.add("c", 3)
    journal.close()
    with Journal(path, HEADER) as journal:
        assert (len(journal), journal.get("a"), journal.get("b"), journal.get("c")) == (2, 1, None, 3)


def test_writes_that_take_a_few_bytes_each(path):
    class Slow:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            return self.file.write(bytes(data)[:3])

    journal = Journal(path, HEADER)
    journal._file.raw = Slow(journal._file.raw)
    for number in range(5):
        journal.add(str(number), [number] * 9)
    assert [journal.get(str(number)) for number in range(5)] == [[number] * 9 for number in range(5)]
    journal.close()


WRITER = """
import sys, types
package = types.ModuleType("medprm_scorer")  # without running its __init__: this process must start fast
package.__path__ = [sys.argv[2]]
sys.modules["medprm_scorer"] = package
from medprm_scorer.files.journal import Journal
journal = Journal(sys.argv[1], {"model": "m"})
number = len(journal)
print(number, flush=True)
while True:
    journal.add(f"k{number}", [number] + [number / 7] * (number % 900))
    print(number, flush=True)
    number += 1
"""


def test_nothing_whole_is_lost_when_the_writer_is_killed(path):
    package = str(Path(medprm_scorer.__file__).parent)
    random_ = random.Random(0)
    done = 0
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-S", "-c", WRITER, str(path), package], stdout=subprocess.PIPE, text=True
        )
        assert int(writer.stdout.readline()) >= done  # what was there is still there
        time.sleep(random_.uniform(0.0, 0.05))
        writer.send_signal(signal.SIGKILL)
        said = writer.communicate()[0].splitlines()
        assert writer.returncode == -signal.SIGKILL
        done = max(done, int(said[-1]) + 1 if said else 0)
        with Journal(path, {"model": "m"}) as journal:
            assert done <= len(journal) <= done + 1  # the entry that was being written may be there
            done = len(journal)
            for number in range(done):
                assert journal.get(f"k{number}") == [number] + [number / 7] * (number % 900)
    assert done > 20


def test_the_module_is_light():
    code = (
        f"import sys; sys.argv = ['', '', {str(Path(medprm_scorer.__file__).parent)!r}]\n"
        + WRITER.split("journal =")[0]
    )
    code += "\nprint(sorted({'torch', 'pydantic', 'numpy', 'transformers'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
