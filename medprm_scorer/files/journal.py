"""A file of finished work that survives being killed: JSON lines, only ever appended to.

The first line says what the work was done with. Each other line is one entry, handed to the operating system in a
single write before `add` returns, so that a killed process loses at most the entry that it was writing: the next one
to open the file cuts off a line without an end. The disk is waited for about once a second, so a power cut costs about
that much. In memory there are only the places of the entries, not their values.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from medprm_scorer.errors import InputError
from medprm_scorer.files.append_only import AppendOnly

_VERSION = 1
_START = f'{{"medprm_journal": {_VERSION}'.encode()
_LONGEST_HEADER = 1 << 16  # bytes; what has no line end in that many is some other file


class Journal:
    """Finished values by key, kept in a file. For one thread of one process at a time.

    Args:
        path: The file; made if it is missing.
        header: What the values depend on (model, settings), as JSON. An existing file must have the same.

    Raises:
        InputError: The file cannot be opened, is in use by another process, has another header, is no journal, or is
            damaged elsewhere than at its end. It is then left as it was.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = os.path.join(folder, "rewards.jsonl")
        ...     with Journal(file, {"model": "m"}) as journal:
        ...         journal.add("q1", [0.25, 0.5])
        ...     with Journal(file, {"model": "m"}) as journal:
        ...         print(len(journal), journal.get("q1"), journal.get("q2"))
        1 [0.25, 0.5] None
    """

    def __init__(self, path: str | Path, header: Mapping[str, Any]) -> None:
        first = _line({"medprm_journal": _VERSION, **header})
        if len(first) > _LONGEST_HEADER:
            raise InputError(f"the header of {path} is longer than {_LONGEST_HEADER} bytes")
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}  # key → where its line begins, and its length
        self._file = AppendOnly(path)
        try:
            self._file.cut(self._read(first))
            if not self._file.end:
                self._file.append(first)
            self._file.sync()
        except OSError as error:
            self._file.raw.close()
            raise self._failure("use", error) from None
        except BaseException:
            self._file.raw.close()
            raise

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Any | None:
        """The value last added under the key, in this process or an earlier one; None if there is none.

        Raises:
            InputError: The file can no longer be read.
        """
        if key not in self._places:
            return None
        place, length = self._places[key]
        try:
            self._file.raw.seek(place)
            return json.loads(self._file.raw.read(length))["value"]
        except (OSError, ValueError, KeyError, TypeError) as error:  # closed, or changed by somebody else
            raise self._failure("read", error) from None

    def add(self, key: str, value: Any) -> None:
        """Keep a value. When this returns, it outlives the process.

        Args:
            key: Its name; a value that was kept under it before is replaced.
            value: JSON. Floats come back to the last bit, tuples as lists.

        Raises:
            InputError: The value is not JSON (NaN is not), or cannot be written; the journal is then as before.
        """
        line = _line({"key": key, "value": value})
        place = self._file.end
        try:
            self._file.append(line)
            if self._file.is_sync_due:
                self._file.sync()
        except (OSError, ValueError) as error:  # ValueError: closed
            raise self._failure("write", error) from None
        self._places[key] = (place, len(line))

    def close(self) -> None:
        """Wait for the disk and let go of the file; a second call does nothing."""
        try:
            self._file.close()
        except OSError as error:
            raise self._failure("write", error) from None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, first: bytes) -> int:
        """Find the entries; where the last whole line ends."""
        self._file.raw.seek(0)
        reader = io.BufferedReader(self._file.raw, 1 << 20)
        try:
            found = reader.readline(_LONGEST_HEADER)
            if not found.endswith(b"\n"):
                if not found.startswith(_START) and not _START.startswith(found):
                    raise InputError(f"{self._path} is not a journal of medprm: name another file")
                return 0
            self._check_header(found, first)
            end, number = len(found), 1
            for line in reader:
                if not line.endswith(b"\n"):
                    break
                number += 1
                self._places[self._key(line, number)] = (end, len(line))
                end += len(line)
            return end
        finally:
            reader.detach()

    def _check_header(self, found: bytes, first: bytes) -> None:
        header = _decoded(found)
        if not isinstance(header, dict) or "medprm_journal" not in header:
            raise InputError(f"{self._path} is not a journal of medprm: name another file")
        if _line(header, sort=True) != _line(json.loads(first), sort=True):
            raise InputError(
                f"{self._path} was made with another model or other settings: delete it, or name another file"
            )

    def _key(self, line: bytes, number: int) -> str:
        entry = _decoded(line)
        if not isinstance(entry, dict) or not isinstance(entry.get("key"), str) or "value" not in entry:
            raise InputError(
                f"{self._path} is damaged at line {number}: remove that line, or delete the file to start again"
            )
        key: str = entry["key"]
        return key

    def _failure(self, what: str, error: Exception) -> InputError:
        return InputError(f"cannot {what} {self._path}: {getattr(error, 'strerror', None) or type(error).__name__}")


def _line(value: dict[str, Any], sort: bool = False) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, sort_keys=sort).encode() + b"\n"
    except (TypeError, ValueError, RecursionError):  # their messages may show the value
        raise InputError("a journal keeps JSON only: texts, finite numbers, lists and objects of these") from None


def _decoded(line: bytes) -> Any:
    """The JSON in a line, or None."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
