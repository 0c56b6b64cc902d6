"""A file appears when it is complete, is its owner's only, and nothing of a killed run stays beside it."""

import os
import signal
import subprocess
import sys

import pytest

from medprm_scorer.errors import OutputError
from medprm_scorer.files.whole_file import whole_file
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions and locks of POSIX")

WRITER = """
import sys, time
from medprm_scorer.files.whole_file import whole_file
with whole_file(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(600)
"""


def writer(path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def mode(path) -> int:
    return path.stat().st_mode & 0o777


def test_what_a_killed_run_left_is_removed_by_the_next_and_a_living_runs_is_not(tmp_path):
    path, other = tmp_path / "out.json", tmp_path / "out.json.backup.part"
    other.write_bytes(b"of somebody else")
    killed, living = writer(path), writer(path)
    try:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert (tmp_path / f"out.json.{killed.pid}.part").exists()
        with whole_file(path) as file:
            file.write(b"whole")
        assert path.read_bytes() == b"whole"
        assert {one.name for one in tmp_path.iterdir()} == {path.name, other.name, f"out.json.{living.pid}.part"}
    finally:
        living.kill()
        living.wait()


def test_a_new_file_is_the_owners_only_and_one_that_is_there_keeps_its_permissions(tmp_path):
    path = tmp_path / "out.json"
    before = os.umask(0)
    try:
        for given in (None, 0o644, 0o600, 0o660):
            if given is not None:
                path.chmod(given)
            with whole_file(path) as file:
                assert os.fstat(file.fileno()).st_mode & 0o777 == (given or 0o600)
                file.write(b"text")
            assert mode(path) == (given or 0o600)
    finally:
        os.umask(before)


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "out.json"
    path.write_bytes(b"before")
    with pytest.raises(OutputError, match="No space left"), whole_file(path) as file:
        raise OSError(28, "No space left on device", file.write(b"after"))
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"), whole_file(tmp_path / "missing" / "out"):
        pass
