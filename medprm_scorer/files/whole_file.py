"""A file that appears when it is complete: written beside its place, then moved there in one step."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path

from medprm_scorer.errors import OutputError
from medprm_scorer.files.private import owner_only

if sys.platform != "win32":  # there, what a killed run has left stays
    import fcntl


@contextmanager
def whole_file(path: str | Path) -> Iterator[BufferedWriter]:
    """A file to write to, which takes the place of `path` if the `with` block ends without an error.

    A new file can be read by its owner only; one that takes the place of another keeps that one's permissions.

    Raises:
        OutputError: The disk is full, or there is no place for the file. What `path` held before is then still there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder, "out.txt")) as file:
        ...         _ = file.write(b"all of it")
        ...     Path(folder, "out.txt").read_text()
        'all of it'
    """
    part = Path(f"{path}.{os.getpid()}.part")  # two runs at once do not write into one file
    try:
        _sweep(Path(path))
        with open(part, "wb", opener=owner_only) as file:
            with suppress(OSError):  # a file system without locks
                _hold(file)
            with suppress(FileNotFoundError):
                os.chmod(part, stat.S_IMODE(os.stat(path).st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or type(error).__name__}") from None
    finally:
        part.unlink(missing_ok=True)


def _hold(file: BufferedWriter | BufferedReader) -> None:
    """Take hold of a part, as long as it is open.

    Raises:
        BlockingIOError: Another process holds it.
    """
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sweep(path: Path) -> None:
    """Remove the parts that killed runs have left: those that nobody holds."""
    if sys.platform == "win32":
        return
    name = re.compile(re.escape(path.name) + r"\.\d+\.part")
    for part in [one for one in path.parent.iterdir() if name.fullmatch(one.name)]:
        with suppress(OSError), part.open("rb") as left:
            _hold(left)
            part.unlink()
