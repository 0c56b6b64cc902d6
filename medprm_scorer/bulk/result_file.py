"""The file that results are written to: one line for each request, from which a killed run is resumed.

Lines are only appended, whole batches in one write, and the file is flushed to disk about once a second. Every line
says which record it belongs to (a digest) and what it was made with, so the file itself shows how far a run got: its
complete lines are counted, and anything after the last of them is cut off.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from medprm_scorer.errors import InputError, OutputError
from medprm_scorer.files.private import owner_only

if sys.platform != "win32":  # on Windows, nothing keeps a second process out
    import fcntl

_SYNC_SECONDS = 1.0
_ID, _RUN, _ERROR, _RANKING = '{"id": ', ', "run": ', ', "error": ', ', "ranking": '
_decode = json.JSONDecoder().raw_decode


def result_line(
    id: str | int | None, run: Mapping[str, Any], outcome: Mapping[str, Any], more: Mapping[str, Any]
) -> bytes:
    """A line of results, in ASCII: it holds no terminal control characters and no line breaks.

    Args:
        id: The request's own id.
        run: `record` (its digest), and what the result was made with.
        outcome: `error` or `ranking`, by name.
        more: Further fields to keep from the request.

    Example:
        >>> result_line("q1", {"record": "0f"}, {"error": "it is blank"}, {})
        b'{"id": "q1", "run": {"record": "0f"}, "error": "it is blank"}\\n'
    """
    return json.dumps({"id": id, "run": dict(run), **outcome, **more}).encode() + b"\n"


class ResultFile:
    """A file of results, one JSON object per line, that can be resumed. For one thread of one process at a time.

    First the existing lines are read with `next`; `keep` marks all lines read so far to stay, and `resume` cuts off the
    others. Then lines are added.

    Args:
        path: The file; created if it is missing.

    Attributes:
        path: The file.
        records: How many lines stay.
        errors: How many of these are errors.

    Raises:
        InputError: It cannot be opened, or is in use by another process.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ResultFile(Path(folder, "out.jsonl")) as file:
        ...         file.resume()
        ...         file.add([result_line("q1", {"record": "0f"}, {"error": "it is blank"}, {})], errors=1)
        ...     with ResultFile(Path(folder, "out.jsonl")) as file:
        ...         print(file.next(), file.next())
        {'record': '0f'} None
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.records = self.errors = self._kept = self._read = 0
        self._found = self._found_errors = 0
        try:
            self._file = open(path, "a+b", buffering=0, opener=owner_only)  # noqa: SIM115 - closed by close()
        except (OSError, ValueError) as error:  # ValueError: a null character
            raise InputError(f"cannot open {path}: {_reason(error)}") from None
        try:
            if sys.platform != "win32":
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InputError(f"{path} is in use by another process: wait for it, or name another file") from None
        except OSError:  # a file system without locks
            pass
        self._reader = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._synced = time.monotonic()

    def next(self) -> Mapping[str, Any] | None:
        """The `run` of the next line; None if there is no further complete line.

        Raises:
            InputError: The line is not one that `result_line` made.
        """
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            if not self._is_ours(line):
                raise InputError(self._refusal())
            return None
        try:
            text = line.decode("ascii")
            _, at = _decode(text, len(_ID))
            run, end = _decode(text, at + len(_RUN))
            is_error = text.startswith(_ERROR, end)
            whole = text.startswith(_ID) and text.startswith(_RUN, at) and isinstance(run, dict)
            if not whole or not (is_error or text.startswith(_RANKING, end)) or not text.endswith("}\n"):
                raise ValueError
        except (ValueError, RecursionError):
            raise InputError(self._refusal()) from None
        self._read += len(line)
        self._found += 1
        self._found_errors += is_error
        found: dict[str, Any] = run
        return found

    def keep(self) -> None:
        """Mark all lines read so far to stay."""
        self.records, self.errors, self._kept = self._found, self._found_errors, self._read

    def resume(self) -> None:
        """Cut off the lines that do not stay; after that, lines can be added.

        Raises:
            OutputError: The file cannot be written.
        """
        self._cut()

    def add(self, lines: Sequence[bytes], errors: int) -> None:
        """Write results, which then outlive the process.

        A power cut may lose about the last second of them.

        Args:
            lines: The results, in order, as from `result_line`.
            errors: How many of them are errors.

        Raises:
            OutputError: They cannot be written. In that case none of them is written.
        """
        piece = b"".join(lines)
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except (OSError, ValueError) as error:  # ValueError: closed
            self._cut()
            raise self._failure(error) from None
        except BaseException:  # an interrupt: nothing may be written after half a piece
            self._cut()
            raise
        self._kept += len(piece)
        self.records += len(lines)
        self.errors += errors

    def close(self) -> None:
        """Flush to disk and close the file; a second call does nothing.

        Raises:
            OutputError: The disk is full or missing.
        """
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error) from None
        finally:
            self._reader.close()
            self._file.close()

    def __enter__(self) -> "ResultFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cut(self) -> None:
        if not self._file.closed:
            try:
                self._file.truncate(self._kept)
            except OSError as error:
                raise self._failure(error) from None

    def _is_ours(self, rest: bytes) -> bool:
        """Whether the bytes after the last complete line may be cut off: half a line, or zeros left by a power cut."""
        begin = _ID.encode()
        return begin.startswith(rest[: len(begin)]) or not rest.strip(b"\0")

    def _refusal(self) -> str:
        if not self._found:
            return f"{self.path} holds something that medprm score did not write: name another file, or delete this one"
        return f"{self.path} has been changed after line {self._found}: restore it, or delete it to start again"

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(f"cannot write {self.path}: {_reason(error)}; then run the same command again to resume")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
