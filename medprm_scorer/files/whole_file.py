"""A file that appears when it is complete: written beside its place, then moved there in one step."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

from medprm_scorer.errors import OutputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[BufferedWriter]:
    """A file to write to, which takes the place of `path` if the `with` block ends without an error.

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
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or type(error).__name__}") from None
    finally:
        part.unlink(missing_ok=True)
