"""Read a file of many records one by one, in memory that does not grow with the file.

The file is one JSON list of objects (as the released test set, about 2 GB), or objects one after another, usually one
per line (JSONL). Either may be gzipped. Text is decoded as needed: if an object is not complete in the text read so
far, decoding is tried again with twice as much, so at most about twice the size of one record is held in memory.

This uses the standard library's decoder for a reason: files that the authors' scorer wrote hold `-Infinity` (the
minimum over no steps), which strict streaming parsers refuse. Such numbers are passed on, and the code that uses them
checks them.
"""

import codecs
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medprm_scorer.errors import InputError

_CHUNK = 1 << 20  # bytes per read
LONGEST = 1 << 26
"""Most characters of one record, about 170 times those of the test set: bounds the cost of an unclosed quote."""
_SCALAR = 512  # characters read ahead before a number or a literal is decoded, so that it is not cut off
_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Record:
    """One record of a file. The `repr` shows no text.

    Args:
        place: Index in the file, from 0.
        value: The decoded object, or any JSON value if `anything` was set. Strings may hold lone surrogates, and
            numbers may be NaN or infinite.
        end: Bytes of the file read so far, for a progress bar; compressed ones if it is gzipped.
    """

    place: int
    value: Any = field(repr=False)
    end: int


def read_records(path: str | Path, anything: bool = False) -> Iterator[Record]:
    """Read the records of a file, in order.

    Args:
        path: A file in UTF-8, with or without a byte order mark, gzipped or not, with any name.
        anything: Whether a record in a list may be any JSON value; otherwise a record that is not an object is refused.

    Yields:
        The records; none for an empty list.

    Raises:
        InputError: Raised when the place is reached: the file cannot be read, is empty, is not UTF-8, not JSON or cut
            short, or a record is not an object, is nested too deeply, longer than 64 Mi characters, or holds an integer
            of thousands of digits. The message names the record (from 0) and the line (from 1).

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = os.path.join(folder, "two.jsonl")
        ...     _ = Path(file).write_text('{"question": "…"}\\n{"question": "…"}', encoding="utf-8")
        ...     print(list(read_records(file)))
        [Record(place=0, end=39), Record(place=1, end=39)]
    """
    with open_bytes(path) as (file, raw):
        for place, value in enumerate(_values(_Text(file), anything)):
            yield Record(place, value, raw.tell())


@contextmanager
def open_bytes(path: str | Path) -> Iterator[tuple[io.BufferedIOBase, io.BufferedReader]]:
    """A file's content, decompressed if it is gzipped, and the file itself, whose `tell` shows how much has been read.

    Raises:
        InputError: The file cannot be read, here or later in the `with` block. The message always names the file.
    """
    try:
        with Path(path).open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            with gzip.open(raw) if packed else nullcontext(raw) as file:
                yield file, raw
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except EOFError:
        raise InputError(f"{path}: the gzip file was cut short: copy or download it again") from None
    except (gzip.BadGzipFile, zlib.error):
        raise InputError(f"{path}: the gzip file is damaged: copy or download it again") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or type(error).__name__}") from None


def file_size(path: str | Path) -> int:
    """Size of the file in bytes: the final value of `Record.end`.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or type(error).__name__}") from None


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or type(error).__name__}") from None
    return digest.hexdigest()


class _Text:
    """The unread text of a file; the next character is `buffer[at]`."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.buffer = ""
        self.at = 0
        self.place = 0  # index of the record to read next
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._newlines = 0  # in the text that is no longer in the buffer
        self._state = "open"  # or `ended`, or `broken`: what follows the buffer is not UTF-8
        if self.more() and self.buffer[0] == "\ufeff":
            self.at = 1

    def more(self) -> bool:
        """Read more, doubling the buffer; False at the end of the file.

        Raises:
            InputError: The next text is not UTF-8.
        """
        self._newlines += self.buffer.count("\n", 0, self.at)
        self.buffer, self.at = self.buffer[self.at :], 0
        size = len(self.buffer)
        while self._state == "open" and len(self.buffer) == size:  # a chunk may end within its first character
            chunk = self._file.read(max(_CHUNK, size))
            try:
                self.buffer += self._decoder.decode(chunk, final=not chunk)
                if not chunk:
                    self._state = "ended"
            except UnicodeDecodeError as error:
                self.buffer += error.object[: error.start].decode()
                self._state = "broken"
        if self._state == "broken" and len(self.buffer) == size:
            raise InputError(f"record {self.place} (line {self.line(size)}) is not UTF-8 text; save the file as UTF-8")
        return len(self.buffer) > size

    def line(self, at: int | None = None) -> int:
        """The line number, from 1, of a place in the buffer; by default, of the next character."""
        return self._newlines + self.buffer.count("\n", 0, self.at if at is None else at) + 1

    def peek(self) -> str:
        """Skip blanks and return the next character, or "" at the end of the file."""
        while True:
            blanks = _BLANKS.match(self.buffer, self.at)
            self.at = blanks.end() if blanks else self.at
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.more():
                return ""


def _values(text: _Text, anything: bool) -> Iterator[Any]:
    mark = text.peek()
    if not mark:
        raise InputError("the file is empty; expected a JSON list of records, or one JSON object per line")
    if mark == "[":
        text.at += 1
        yield from _list(text, anything)
        if text.peek():
            raise InputError(f"more text after the end of the list, at line {text.line()}")
    else:
        while text.peek():
            yield _value(text, anything=False)


def _list(text: _Text, anything: bool) -> Iterator[Any]:
    """The items of a list whose opening bracket has been read; also reads the closing bracket."""
    if text.peek() != "]":
        yield _value(text, anything)
        while text.peek() == ",":
            text.at += 1
            yield _value(text, anything)
    mark = text.peek()
    if not mark:
        raise _cut_short(text)
    if mark != "]":
        raise InputError(f"expected a comma or the end of the list after {text.place} records, at line {text.line()}")
    text.at += 1


def _value(text: _Text, anything: bool) -> Any:
    mark = text.peek()
    if not mark:
        raise _cut_short(text)
    if mark != "{" and not anything:
        raise InputError(f"record {text.place} (line {text.line()}) is not a JSON object")
    while mark not in '{["' and len(text.buffer) - text.at < _SCALAR and text.more():
        pass
    while True:
        try:
            value, end = _DECODER.raw_decode(text.buffer, text.at)
        except json.JSONDecodeError as error:
            failed = error.pos
        except RecursionError:
            raise InputError(f"record {text.place} (line {text.line()}) is nested too deeply") from None
        except ValueError:  # the interpreter refuses integers of thousands of digits
            raise InputError(f"record {text.place} (line {text.line()}) holds a number with too many digits") from None
        else:
            text.place, text.at = text.place + 1, end
            return value
        line = text.line(failed)  # where the text ends too early, or where it is wrong: more text will show which
        if len(text.buffer) - text.at > LONGEST:
            raise InputError(
                f"record {text.place} (line {text.line()}) is too long, or a quote in it is not closed, or it is not "
                f"valid JSON at line {line}"
            )
        if not text.more():
            raise InputError(f"record {text.place} is not valid JSON at line {line}, or the file was cut short there")


def _cut_short(text: _Text) -> InputError:
    return InputError(f"the list does not end: the file was cut short after {text.place} records")
