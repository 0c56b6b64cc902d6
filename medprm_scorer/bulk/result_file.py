"""The file that results are written to, and beside it a note of how far they go, from which a killed run goes on.

Results are only ever appended. About once a second the disk is waited for, and then the note, `OUT.state.json`, is
replaced in one step: so what it counts is on the disk, whatever happens. Results after it are cut off when the file is
opened again, and computed again. The note holds no text of a request: counts, settings and digests.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from medprm_scorer.errors import InputError, OutputError
from medprm_scorer.files.append_only import AppendOnly

_VERSION = 1
_START = b'{"id": '
_TAIL = 4096  # bytes before the end, by which the file is known again


@dataclass(frozen=True)
class Done:
    """How far the results go.

    Args:
        records: How many records have their result.
        errors: How many of these results are errors.
        digest: One digest of all these records, in hexadecimal; see `after`.
    """

    records: int = 0
    errors: int = 0
    digest: str = ""

    def after(self, digest: bytes, error: bool = False) -> "Done":
        """How far they go with one more record, whose own digest this is."""
        chained = hashlib.sha256(self.digest.encode() + digest).hexdigest()
        return Done(self.records + 1, self.errors + error, chained)


@dataclass(frozen=True)
class _State:
    """What the note holds: `Done`, and what the file was like then."""

    done: Done = field(default_factory=Done)
    end: int = 0
    tail: str = hashlib.sha256(b"").hexdigest()
    settings: Mapping[str, Any] = field(default_factory=dict)


def state_path(path: str | Path) -> Path:
    """Where the note of a file of results is kept."""
    return Path(f"{path}.state.json")


class ResultFile:
    """A file of results, one JSON object a line, that can be gone on with. For one thread of one process at a time.

    Args:
        path: The file; made if it is missing. One that holds something must be of an earlier run.

    Attributes:
        done: How far the results go.

    Raises:
        InputError: It cannot be opened, is in use by another process, or is not as an earlier run has left it. It is
            then left as it was.
        OutputError: The note cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ResultFile(Path(folder, "out.jsonl")) as file:
        ...         file.agree({"strategy": "best_of_n"})
        ...         file.add([b'{"id": 1, "error": "blank"}'], file.done.after(b"digest of the record", error=True))
        ...     with ResultFile(Path(folder, "out.jsonl")) as file:
        ...         print(file.done.records, file.done.errors)
        1 1
    """

    def __init__(self, path: str | Path) -> None:
        self._path, self._note = path, state_path(path)
        self._file = AppendOnly(path)
        try:
            self._state = self._found()
            self._file.cut(self._state.end)
        except OSError as error:
            self._file.raw.close()
            raise self._failure(path, error) from None
        except BaseException:
            self._file.raw.close()
            raise
        self.done = self._state.done

    def agree(self, settings: Mapping[str, Any]) -> None:
        """Hold the settings of this run to those of the results that are there; remember them if there are none.

        Args:
            settings: What results depend on, as JSON. May be given in parts.

        Raises:
            InputError: One differs; the message names it.
            OutputError: The note cannot be written.
        """
        known = self._state.settings
        for key, value in settings.items():
            if key in known and known[key] != value:
                raise InputError(
                    f"{self._path} was begun with another {key} ({known[key]}, not {value}): go on with that, name "
                    "another file, or delete this one to start again"
                )
        if not settings.keys() <= known.keys():
            self._save({**known, **settings})

    def add(self, lines: Sequence[bytes], done: Done) -> None:
        """Write results. When this returns they outlive the process, but for about the last second of them.

        Args:
            lines: The results, in order, each in JSON and with its newline.
            done: How far the results go with these.

        Raises:
            OutputError: They cannot be written. None of them then is.
        """
        try:
            self._file.append(b"".join(lines))
            self.done = done
            due = self._file.is_sync_due
        except (OSError, ValueError) as error:  # ValueError: closed
            raise self._failure(self._path, error) from None
        if due:
            self.keep()

    def keep(self) -> None:
        """Wait for the disk, and note that all results so far are there.

        Raises:
            OutputError: The disk is full or gone.
        """
        try:
            self._file.sync()
        except OSError as error:
            raise self._failure(self._path, error) from None
        self._save(self._state.settings)

    def close(self) -> None:
        """Note how far the results go, and let go of the file; a second call does nothing."""
        if self._file.raw.closed:
            return
        try:
            if self.done != self._state.done:
                self.keep()
        finally:
            self._file.raw.close()

    def __enter__(self) -> "ResultFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _found(self) -> _State:
        """The state that the file is in."""
        if not self._file.end:  # new, or emptied to start again
            return _State()
        if not self._note.exists():
            raise InputError(
                f"{self._path} holds something that medprm score has not written (there is no {self._note.name} beside "
                "it): name another file, or delete it"
            )
        state = _decoded(self._note)
        if state is None:
            raise InputError(f"{self._note} is damaged: delete it and {self._path} to start again")
        if self._file.end < state.end or self._tail(state.end) != state.tail or not self._is_ours_after(state.end):
            raise InputError(
                f"{self._path} has been changed since medprm score wrote it: restore it, or delete it to start again"
            )
        return state

    def _tail(self, end: int) -> str:
        """Digest of the last bytes before a place."""
        begin = max(0, end - _TAIL)
        self._file.raw.seek(begin)
        return hashlib.sha256(self._file.raw.read(end - begin)).hexdigest()

    def _is_ours_after(self, end: int) -> bool:
        """Whether what follows may be cut off: results, or the zeros that a power cut leaves in their place."""
        self._file.raw.seek(end)
        found = self._file.raw.read(len(_START))
        return _START.startswith(found) or not found.strip(b"\0")

    def _save(self, settings: Mapping[str, Any]) -> None:
        state = _State(self.done, self._file.end, self._tail(self._file.end), settings)
        new = Path(f"{self._note}.new")
        try:
            with new.open("w", encoding="ascii") as file:
                json.dump({"medprm_score": _VERSION, **asdict(state)}, file, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._note)
        except OSError as error:
            raise self._failure(self._note, error) from None
        self._state = state

    def _failure(self, path: str | Path, error: Exception) -> OutputError:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return OutputError(f"cannot write {path}: {reason}; once that is mended, run the same command to go on")


def _decoded(path: Path) -> _State | None:
    """The state in a note; None if there is none."""
    try:
        value = json.loads(path.read_bytes())
        if value.pop("medprm_score") != _VERSION:
            return None
        counts, settings = value.pop("done"), value.pop("settings")
        done = Done(counts["records"], counts["errors"], counts["digest"])
        state = _State(done=done, settings=settings, **value)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    numbers = (done.records, done.errors, state.end)
    kinds = all(type(number) is int and number >= 0 for number in numbers) and isinstance(settings, dict)
    texts = isinstance(done.digest, str) and isinstance(state.tail, str)
    return state if kinds and texts and len(value) == len(fields(_State)) - 2 else None
