"""Any file of requests as JSON lines, each with a digest that identifies it.

In JSONL every line is read separately: a broken line does not affect the others, and the code that decodes it gets the
error. A JSON list, or objects over several lines, are one piece of text; after an error in it, the rest cannot be read.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medprm_scorer.errors import InputError
from medprm_scorer.files.records import LONGEST, open_bytes, read_records

_BLANKS = b" \t\r\n"
_DIGEST = 16  # digits
_MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark


@dataclass(frozen=True)
class RequestLine:
    """One record of a file, not yet decoded. The `repr` shows no text.

    Args:
        place: Index among the records, from 0.
        text: The record in JSON; None if it is too long to hold in memory. It may be invalid UTF-8 or invalid JSON.
        digest: What identifies it: a part of its SHA-256, in hexadecimal.
        name: A readable position: `line 3`, or `record 2` of a list.
        end: Bytes of the file read so far, for a progress bar; compressed ones if it is gzipped.
    """

    place: int
    text: bytes | None = field(repr=False)
    digest: str = field(repr=False)
    name: str
    end: int

    @property
    def size(self) -> int:
        """Its size in memory, in bytes."""
        return 0 if self.text is None else len(self.text)


def read_request_lines(path: str | Path) -> Iterator[RequestLine]:
    """Read the records of a file, in order, in memory that does not grow with it.

    Args:
        path: JSONL, a JSON list (as the released test set), or objects over several lines; in UTF-8, gzipped or not,
            with any name. Blank lines are skipped.

    Raises:
        InputError: Immediately, if the file cannot be read, is empty or is not JSON at all. When the place is reached,
            if its gzip data are damaged or cut short; if the file is not JSONL, also for everything that `read_records`
            refuses.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "requests.jsonl")
        ...     _ = file.write_text('{"id": 1}\\n\\n{oops}\\n', encoding="utf-8")
        ...     print([(line.name, line.text) for line in read_request_lines(file)])
        [('line 1', b'{"id": 1}'), ('line 3', b'{oops}')]
    """
    return _lines(path) if _is_jsonl(path) else _records(path)


def decode_line(text: bytes | None) -> Any:
    """The JSON value in a line.

    Raises:
        InputError: There is none; the message shows nothing of it.

    Example:
        >>> decode_line(b'{"id": 1}')
        {'id': 1}
    """
    if text is None:
        raise InputError(f"longer than {LONGEST:,} bytes")
    try:
        return json.loads(text.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"not valid JSON at character {error.pos}") from None
    except RecursionError:
        raise InputError("nested too deeply") from None
    except ValueError:  # the interpreter refuses integers of thousands of digits
        raise InputError("holds a number with too many digits") from None


def _is_jsonl(path: str | Path) -> bool:
    """Whether the lines are read separately: more lines could not complete the first one."""
    with open_bytes(path) as (file, _):
        first = file.readline(LONGEST).removeprefix(_MARK)
        while first and not first.strip(_BLANKS):
            first = file.readline(LONGEST)
    if not first.lstrip(_BLANKS).startswith(b"{"):
        next(read_records(path, anything=True), None)  # refuses immediately a file that cannot be read
        return False
    try:
        decode_line(first)
    except InputError:
        try:
            next(read_records(path))
        except InputError:
            return True
        return False
    return True


def _lines(path: str | Path) -> Iterator[RequestLine]:
    with open_bytes(path) as (file, raw):
        place = number = 0
        while piece := file.readline(LONGEST):
            number += 1
            text: bytes | None = (piece.removeprefix(_MARK) if number == 1 else piece).strip(_BLANKS)
            digest = hashlib.sha256(text or b"")
            while len(piece) == LONGEST and not piece.endswith(b"\n"):  # this bounds what is held in memory
                piece, text = file.readline(LONGEST), None
                digest.update(piece)
            if text or text is None:
                yield RequestLine(place, text, digest.hexdigest()[:_DIGEST], f"line {number}", raw.tell())
                place += 1


def _records(path: str | Path) -> Iterator[RequestLine]:
    for record in read_records(path, anything=True):
        try:
            text = json.dumps(record.value).encode()
        except RecursionError:
            raise InputError(f"{path}: record {record.place} is nested too deeply") from None
        yield RequestLine(
            record.place, text, hashlib.sha256(text).hexdigest()[:_DIGEST], f"record {record.place}", record.end
        )
