"""A file that appears only when it is complete: written under another name, then moved in one step."""

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

if sys.platform != "win32":  # on Windows, the file of a killed run is not removed
    import fcntl


@contextmanager
def whole_file(path: str | Path) -> Iterator[BufferedWriter]:
    """A file to write to, which replaces `path` if the `with` block ends without an error.

    Only the owner can read a new file; a file that replaces another keeps that file's permissions.

    Raises:
        OutputError: The disk is full, or the file cannot be created. `path` then keeps its earlier content.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder, "out.txt")) as file:
        ...         _ = file.write(b"all of it")
        ...     Path(folder, "out.txt").read_text()
        'all of it'
    """
    part = Path(f"{path}.{os.getpid()}.part")  # two simultaneous runs do not write into one file
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
    """Lock a part for as long as it is open.

    Raises:
        BlockingIOError: Another process holds it.
    """
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sweep(path: Path) -> None:
    """Remove the parts left by killed runs: those that no process has locked."""
    if sys.platform == "win32":
        return
    name = re.compile(re.escape(path.name) + r"\.\d+\.part")
    for part in [one for one in path.parent.iterdir() if name.fullmatch(one.name)]:
        with suppress(OSError), part.open("rb") as left:
            _hold(left)
            part.unlink()
