"""Progress of work on a file: how much of it is done, how fast, and how long the rest takes.

On a terminal this is a bar. If stderr is a file or a pipe, it is a line every half minute, and none for short work.
"""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medprm_scorer.files.records import file_size

_LINE_SECONDS = 30.0


def file_bar(path: str | Path, what: str, shown: bool | None, done: int = 0) -> Any:
    """Progress on stderr, in bytes of the file, since its number of records is not yet known.

    Args:
        path: The file that is processed.
        what: The work, in one word.
        shown: Whether to show a bar; None: a bar on a terminal, else lines.
        done: Bytes that an earlier run has processed: they do not count for the rate.

    Returns:
        A `tqdm`; close it or use it in a `with` block.

    Raises:
        InputError: The file cannot be read.
    """
    return _progress(path, what, shown, initial=done, unit="B", unit_scale=True)


class _Lines(io.TextIOBase):
    """Receives a bar that overwrites itself, and writes each state on a separate line."""

    def write(self, text: str) -> int:
        if sys.stderr is not None and text.strip():
            sys.stderr.write(f"medprm: {text.strip()}\n")
        return len(text)


def _progress(path: str | Path, what: str, shown: bool | None, bar_format: str | None = None, **more: Any) -> Any:
    if shown is None and not getattr(sys.stderr, "isatty", bool)():  # there may be no stderr
        bar_format = "{desc}{postfix}, {percentage:.0f}% of the file [{elapsed}<{remaining}]"
        # no first line, and no last one for short work; `miniters`: check the clock each time
        more |= {"file": _Lines(), "mininterval": _LINE_SECONDS, "delay": _LINE_SECONDS, "miniters": 1, "position": 0}
    return tqdm(total=file_size(path), desc=what, disable=shown is False, bar_format=bar_format, **more)


class QuestionProgress:
    """Counts questions and shows the accuracy so far; the progress is measured in bytes of the file.

    Args:
        path: The file that is processed.
        what: The work, in one word.
        shown: As for `file_bar`.

    Raises:
        InputError: The file cannot be read.

    Example:
        >>> import io, tempfile
        >>> from contextlib import redirect_stderr
        >>> with tempfile.NamedTemporaryFile() as file, redirect_stderr(io.StringIO()):
        ...     with QuestionProgress(file.name, "evaluating", shown=True) as progress:
        ...         progress.advance(0, {"weighted vote": True, "majority vote": False})
        ...         progress.advance(0)  # without a known right answer
        ...         progress.advance(0, {"weighted vote": True, "majority vote": True})
        ...         print(progress.summary)
        3 questions, weighted vote 100.0%, majority vote 50.0%
    """

    _FORMAT = "{percentage:3.0f}%|{bar:12}| {desc} [{elapsed}<{remaining}]"

    def __init__(self, path: str | Path, what: str, shown: bool | None) -> None:
        self._what = what
        self._bar = _progress(path, what, shown, self._FORMAT)
        self._questions = self._judged = 0
        self._right: dict[str, float] = {}

    @property
    def summary(self) -> str:
        """The work done so far, in a few words."""
        parts = [f"{self._questions:,} question{'' if self._questions == 1 else 's'}"]
        parts += [f"{name} {right / self._judged:.1%}" for name, right in self._right.items()]
        return ", ".join(parts)

    def advance(self, end: int, right: Mapping[str, float] | None = None) -> None:
        """Count one question as done.

        Args:
            end: Bytes of the file read so far, as `Record.end`.
            right: By the name of each selection method, 1 if it was right and 0 if not, or the expected value of that;
                the same names for every question. None if the right answer is unknown.
        """
        self._questions += 1
        if right is not None:
            self._judged += 1
            for name, value in right.items():
                self._right[name] = self._right.get(name, 0.0) + value
        if not self._bar.disable:
            self._bar.set_description_str(f"{self._what}: {self.summary}", refresh=False)
            self._bar.update(max(0, end - self._bar.n))

    def __enter__(self) -> "QuestionProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
