"""A file that is only ever added to, in whole pieces, by one process at a time.

Each piece is handed to the operating system before `append` returns, so that a killed process loses at most the piece
that it was writing; one that fails half way, as when the disk is full, is taken back.
"""

import os
import sys
import time
from pathlib import Path

from medprm_scorer.errors import InputError

if sys.platform != "win32":  # there, nothing keeps a second process out
    import fcntl

_SYNC_SECONDS = 1.0


class AppendOnly:
    """A file open for adding to its end. For one thread of one process at a time.

    Args:
        path: The file; made if it is missing. What it holds is left as it is.

    Attributes:
        raw: The file itself, unbuffered, for reading.
        end: Its size in bytes: where the next piece goes.

    Raises:
        InputError: It cannot be opened, or another process has it open.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        try:
            self.raw = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by close()
        except (OSError, ValueError) as error:  # ValueError: a null character
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise InputError(f"cannot open {path}: {reason}") from None
        try:
            self._lock()
            self.end = os.fstat(self.raw.fileno()).st_size
        except BaseException:
            self.raw.close()
            raise
        self._synced = time.monotonic()

    def append(self, piece: bytes) -> None:
        """Add a piece; if that fails, or is interrupted, none of it stays.

        Raises:
            OSError: It cannot be written.
            ValueError: The file is closed.
        """
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[self.raw.write(rest) or 0 :]
            self.end += len(piece)
        except BaseException:  # an interrupt too: half a piece must not be followed by another
            self.raw.truncate(self.end)
            raise

    def cut(self, end: int) -> None:
        """Drop all that follows the first `end` bytes."""
        self.raw.truncate(end)
        self.end = end

    def sync(self) -> None:
        """Wait until the disk holds every piece."""
        os.fsync(self.raw.fileno())
        self._synced = time.monotonic()

    @property
    def is_sync_due(self) -> bool:
        """Whether the disk was last waited for a second ago or longer."""
        return time.monotonic() - self._synced >= _SYNC_SECONDS

    def close(self) -> None:
        """Wait for the disk and let go of the file; a second call does nothing."""
        if self.raw.closed:
            return
        try:
            self.sync()
        finally:
            self.raw.close()

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self.raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{self._path} is in use by another process: wait for it, or name another file") from None
        except OSError:  # a file system without locks
            pass
