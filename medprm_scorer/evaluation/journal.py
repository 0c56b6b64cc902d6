"""A store of finished work by key that survives a killed process: an SQLite database, written one value at a time.

Each value is committed before `add` returns, so a killed process loses at most the value that it was writing, and a
power cut loses what the system had not yet written to disk; neither damages the file. Values are stored together with
what they depend on (model, settings). One file may hold the values of several models, and each run reads only its own.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from medprm_scorer.errors import InputError, OutputError
from medprm_scorer.files.private import owner_only

_APPLICATION = 0x6D70726D  # "mprm", the SQLite application id that marks our files
_SCHEMA = "CREATE TABLE IF NOT EXISTS done (header TEXT, key TEXT, value TEXT, PRIMARY KEY (header, key)) WITHOUT ROWID"


class Journal:
    """Finished values by key, stored in a file. For one thread of one process at a time.

    Args:
        path: The file; created if it is missing. While it is open, there is also a file `PATH-wal`.
        header: What the values depend on (model, settings), as JSON. Values under other headers are kept but not read.

    Raises:
        InputError: The file cannot be opened, is in use by another process, or is not a journal. It is then unchanged.
        OutputError: It cannot be written.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = os.path.join(folder, "rewards.sqlite3")
        ...     with Journal(file, {"model": "m"}) as journal:
        ...         journal.add("q1", [0.25, 0.5])
        ...     with Journal(file, {"model": "m"}) as journal:
        ...         print(len(journal), journal.get("q1"), journal.get("q2"))
        ...     with Journal(file, {"model": "another"}) as journal:
        ...         print(len(journal))
        1 [0.25, 0.5] None
        0
    """

    def __init__(self, path: str | Path, header: Mapping[str, Any]) -> None:
        self._path = path
        self._header = _json(dict(header), sort=True)
        with suppress(
            OSError, ValueError
        ):  # SQLite reports what is wrong; its other files take the permissions of this one
            open(path, "xb", opener=owner_only).close()
        try:
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None)  # each statement is its own commit
        except (sqlite3.Error, ValueError) as error:  # ValueError: a null character
            raise self._failure("open", error) from None
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._database.close()
            raise self._failure("use", error) from None
        except BaseException:
            self._database.close()
            raise

    def __len__(self) -> int:
        (count,) = self._run("read", "SELECT count(*) FROM done WHERE header = ?", self._header)
        return int(count)

    def get(self, key: str) -> Any | None:
        """The value last added under the key, in this process or an earlier one; None if there is none.

        Raises:
            InputError: The file can no longer be read.
        """
        found = self._run("read", "SELECT value FROM done WHERE header = ? AND key = ?", self._header, _json(key))
        return None if found is None else json.loads(found[0])

    def add(self, key: str, value: Any) -> None:
        """Store a value. Once this returns, the value survives the process.

        Args:
            key: Its name; an earlier value with the same key is replaced.
            value: JSON. Floats are read back exactly, tuples as lists.

        Raises:
            InputError: The value is not JSON (NaN is not). The journal is then unchanged.
            OutputError: It cannot be written. The journal is then unchanged.
        """
        self._run("write", "INSERT OR REPLACE INTO done VALUES (?, ?, ?)", self._header, _json(key), _json(value))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._database.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        """Lock the file for this process, and check that it is a journal."""
        run = self._database.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = run("PRAGMA application_id").fetchone()
        if application != _APPLICATION and run("SELECT 1 FROM sqlite_master").fetchone() is not None:
            raise InputError(f"{self._path} is not a medprm journal: name another file")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("BEGIN EXCLUSIVE")  # a kill between the two would leave a file that is neither new nor a journal
        run(f"PRAGMA application_id = {_APPLICATION}")
        run(_SCHEMA)
        run("COMMIT")

    def _run(self, what: str, statement: str, *values: str) -> Any:
        try:
            return self._database.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise self._failure(what, error) from None

    def _failure(self, what: str, error: Exception) -> InputError | OutputError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return InputError(f"{self._path} is in use by another process: wait for it, or name another file")
        if "not a database" in text or "malformed" in text:
            return InputError(f"{self._path} is not a medprm journal, or is damaged: name another file")
        full = "is full" in text or "I/O error" in text
        kind = (
            OutputError if full or (what == "write" and not isinstance(error, sqlite3.ProgrammingError)) else InputError
        )
        return kind(f"cannot {what} {self._path}: {text or type(error).__name__}")


def _json(value: Any, sort: bool = False) -> str:
    try:
        return json.dumps(value, allow_nan=False, sort_keys=sort)
    except (TypeError, ValueError, RecursionError):  # their messages may show the value
        raise InputError("a journal stores only JSON: texts, finite numbers, lists and objects of these") from None
