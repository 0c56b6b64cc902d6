import json
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medprm_scorer
from medprm_scorer.errors import InputError, OutputError
from medprm_scorer.evaluation.journal import Journal
from tests.support.properties import examples

HEADER = {"model": "m", "settings": {"steps": "auto", "budget": 3072}}
SECRET = "Mrs Example born 1950"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "work.sqlite3"


def refusal(path: object, header: dict = HEADER) -> str:
    """The message; a file that is refused is left as it was."""
    before = path.read_bytes() if isinstance(path, Path) and path.is_file() else None
    with pytest.raises(InputError) as caught:
        Journal(path, header)
    if before is not None:
        assert path.read_bytes() == before  # type: ignore[attr-defined]
    message = str(caught.value)
    assert SECRET not in message
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- what is kept


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing is left beside it


def test_the_order_of_the_header_does_not_matter(path):
    with Journal(path, {"a": 1, "b": [2, {"c": 3, "d": 4}]}) as journal:
        journal.add("k", 1)
    with Journal(path, {"b": (2, {"d": 4, "c": 3}), "a": 1}) as journal:
        assert journal.get("k") == 1


@pytest.mark.parametrize("other", [{}, HEADER | {"model": "n"}, HEADER | {"more": None}, {"model": "m"}])
def test_what_was_made_with_something_else_is_kept_aside(path, other):
    with Journal(path, HEADER) as journal:
        journal.add("a", 1)
    with Journal(path, other) as journal:
        assert (len(journal), journal.get("a")) == (0, None)
        journal.add("a", 2)
    for header, value in ((HEADER, 1), (other, 2)):
        with Journal(path, header) as journal:
            assert (len(journal), journal.get("a")) == (1, value)


def test_numbers_and_flags_are_not_alike(path):
    with Journal(path, {"flag": 1}) as journal:
        journal.add("a", 1)
    with Journal(path, {"flag": True}) as journal:
        assert journal.get("a") is None


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "content", [SECRET, f'{{"question": "{SECRET}"}}\n', "\x00\n", "x" * 200_000, "SQLite format 3\x00" + "x" * 300]
)
def test_a_file_that_is_something_else_is_left_alone(path, content):
    path.write_text(content)
    assert "not a medprm journal" in refusal(path)


def test_another_programs_database_is_left_alone(path):
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE patients (name TEXT)")
    database.execute("INSERT INTO patients VALUES (?)", (SECRET,))
    database.commit()
    database.close()
    assert "is not a medprm journal" in refusal(path)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, object(), b"x", {"a": [float("nan")]}, {(1,): 2}]
)
def test_what_is_not_json_is_refused_and_changes_nothing(path, value):
    with Journal(path, HEADER) as journal:
        journal.add("a", 1)
        with pytest.raises(InputError, match="JSON"):
            journal.add("a", value)
        assert journal.get("a") == 1
    with pytest.raises(InputError, match="JSON"):
        Journal(path, {"model": value})


def test_places_where_no_file_can_be(tmp_path):
    assert "unable to open" in refusal(tmp_path / "missing" / "work.sqlite3")
    assert "unable to open" in refusal(tmp_path)
    refusal(str(tmp_path / "null\0"))


def test_a_closed_journal_says_so(path):
    journal = Journal(path, HEADER)
    journal.add("a", 1)
    journal.close()
    journal.close()
    with pytest.raises(InputError):
        journal.add("b", 1)
    with pytest.raises(InputError):
        journal.get("a")


def test_one_at_a_time(path):
    with Journal(path, HEADER) as journal:
        for header in (HEADER, {"model": "other"}):
            with pytest.raises(InputError, match="in use by another process"):
                Journal(path, header)
        journal.add("a", 1)
    with Journal(path, HEADER) as journal:
        assert len(journal) == 1


# ---------------------------------------------------------------- kills and full disks


def test_a_full_disk_is_a_failure_of_the_work_and_loses_nothing(path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    value = [0.1] * 300
    journal = Journal(path, HEADER)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with suppress(OutputError):
            for done in range(10_000):
                journal.add(str(done), value)
        with pytest.raises(OutputError, match="cannot write"):
            journal.add("more", value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done > 5
    assert len(journal) == done
    journal.add("more", value)
    journal.close()
    with Journal(path, HEADER) as journal:
        assert len(journal) == done + 1
        assert all(journal.get(str(number)) == value for number in range(done))


WRITER = """
import sys, types
package = types.ModuleType("medprm_scorer")  # without running its __init__: this process must start fast
package.__path__ = [sys.argv[2]]
sys.modules["medprm_scorer"] = package
from medprm_scorer.evaluation.journal import Journal
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


def test_a_journal_cut_anywhere_after_a_kill_opens_with_whole_values_or_is_refused(path, tmp_path):
    """As a disk that lost what it had not written yet: of the log beside the database, any beginning may be there."""
    journal = Journal(path, HEADER)
    for number in range(20):
        journal.add(f"k{number}", [number, 0.1])
    log = Path(f"{path}-wal").read_bytes()
    content = path.read_bytes()
    counts = set()
    for cut in range(0, len(log) + 1, 997):
        copy = tmp_path / f"copy{cut}"
        copy.write_bytes(content)
        Path(f"{copy}-wal").write_bytes(log[:cut])
        with Journal(copy, HEADER) as found:
            counts.add(len(found))
            assert all(found.get(f"k{number}") == [number, 0.1] for number in range(len(found)))
            found.add("new", cut)
        with Journal(copy, HEADER) as found:
            assert found.get("new") == cut
    journal.close()
    assert len(counts) > 5


def test_the_module_is_light():
    code = (
        f"import sys; sys.argv = ['', '', {str(Path(medprm_scorer.__file__).parent)!r}]\n"
        + WRITER.split("journal =")[0]
    )
    code += "\nprint(sorted({'torch', 'pydantic', 'numpy', 'transformers'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.replace("'", '"')) == []


def test_a_disk_that_is_full_at_the_start_is_a_failure_of_the_work(path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        with pytest.raises(OutputError):
            Journal(path, HEADER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with Journal(path, HEADER) as journal:
        journal.add("key", 1)
