"""Turns a caller's arguments or a request file into a `RankRequest`: our own form, or records of the released test set.

Own form: `{"question": …, "candidates": […], "documents": […], "id": …}`, the last two optional. Released test set
(`dmis-lab/llama-3.1-medprm-reward-test-set`): `question`, `related_docs`, `solutions`, `question_id`. In both,
`options` next to the question are appended to it, unless it already contains their texts. Other keys are the caller's
own and are ignored. Messages name the key and what was expected, never the value, which may be a patient's.
"""

import json
import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medprm_scorer.errors import InputError
from medprm_scorer.results.models import RankRequest, TaggedSolution
from medprm_scorer.text.answers import Options
from medprm_scorer.text.sanitize import valid_unicode
from medprm_scorer.text.tagged import tagged_pieces

_SEVERAL = "a request file holds one request"

# If these were silently ignored, the rewards would lack their evidence
MEANT_DOCUMENTS = (
    *("document", "docs", "doc", "related_docs", "source_documents", "retrieved_documents", "sources", "chunks"),
    *("context", "contexts", "passages", "evidence", "knowledge"),
)

Candidate = str | Sequence[str]
"""A whole chain of thought, or its steps."""


def make_request(
    question: str,
    candidates: Sequence[Candidate],
    documents: Sequence[str],
    *,
    id: str | int | None = None,
    options: Options | None = None,
    answers: Sequence[str | None] | None = None,
    truncated: Sequence[int] = (),
) -> RankRequest:
    """A request from a caller's arguments.

    Raises:
        InputError: Something has the wrong type; the message names it.
    """
    check_request(question, candidates, documents)
    try:
        return RankRequest(
            question=question,
            candidates=[candidate if isinstance(candidate, str) else list(candidate) for candidate in candidates],
            documents=list(documents),
            id=id,
            options=options if options is None else dict(options) if isinstance(options, Mapping) else list(options),
            answers=None if answers is None else list(answers),
            truncated=list(truncated),
        )
    except (TypeError, ValidationError) as error:
        place = error.errors()[0]["loc"][0] if isinstance(error, ValidationError) else "answers, options or truncated"
        raise InputError(f"{place}: {_EXPECTED.get(str(place), 'wrong type')}") from None


_EXPECTED = {
    "id": "the id must be a text or a whole number",
    "options": "expected a dict of letters and texts, or a list of texts",
    "answers": "expected a text or None for each candidate",
    "truncated": "expected a list of places of candidates",
}


def check_request(question: object, candidates: object, documents: object) -> None:
    """Refuse what is not a question with candidates and documents.

    Raises:
        InputError: Something is wrong; the message names the first such thing, and its place.
    """
    if not isinstance(question, str) or not question.strip():
        raise InputError("the question must be a text that is not blank")
    if isinstance(candidates, str) or not isinstance(candidates, Sequence):
        raise InputError("candidates must be a list of texts, or of lists of steps")
    if not candidates:
        raise InputError("there are no candidates: give at least one")
    for index, candidate in enumerate(candidates):
        steps = [candidate] if isinstance(candidate, str) else candidate
        if not isinstance(steps, Sequence) or not all(isinstance(step, str) for step in steps):
            raise InputError(f"candidate {index} must be a text or a list of steps")
    if isinstance(documents, str) or not isinstance(documents, Sequence):
        raise InputError("documents must be a list of texts")
    for index, document in enumerate(documents):
        if not isinstance(document, str):
            raise InputError(f"document {index} must be a text")


def parse_request(record: object) -> RankRequest:
    """Check one decoded JSON record and turn it into a request.

    In a record of the test set, each solution's `solution` is a candidate. If it has `prm_processed_solution` or
    `orm_processed_solution`, these are scored unchanged, as by the authors' scorer.

    Args:
        record: A mapping with `question` and `candidates`, or with `question` and `solutions`.

    Returns:
        The request. Blank candidates are kept: scoring reports each by its index.

    Raises:
        InputError: A key is missing or has the wrong type. The message is one line that names the key.

    Example:
        >>> parse_request({"question": "Which one?", "candidates": ["The answer is (A)"], "id": "q1"})
        RankRequest(1 candidates, 0 documents)
    """
    if not isinstance(record, Mapping):
        raise InputError(f"a request must be a JSON object with question and candidates, not {json_kind(record)}")
    question = _text(record.get("question"), "question")
    if not question.strip():
        raise InputError("question: expected text, found only blanks")
    tagged: list[TaggedSolution] = []
    if "candidates" in record:
        if record.get("documents") is None:
            for key in MEANT_DOCUMENTS:
                if key in record:
                    raise InputError(f"{key}: unknown key next to candidates; documents go under the key documents")
        candidates = [_candidate(item, f"candidates[{i}]") for i, item in enumerate(_list(record, "candidates"))]
        documents_key, id_key = "documents", "id"
    elif "solutions" in record:
        if record.get("related_docs") is None:
            for key in ("documents", *MEANT_DOCUMENTS):
                if key in record and key != "related_docs":
                    raise InputError(f"{key}: unknown key next to solutions; documents go under the key related_docs")
        solutions = [_solution(item, f"solutions[{i}]") for i, item in enumerate(_list(record, "solutions"))]
        candidates = [candidate for candidate, _ in solutions]
        tagged = [texts for _, texts in solutions]
        documents_key, id_key = "related_docs", "question_id"
    else:
        raise InputError(
            "candidates: missing; expected a list, each a string or a list of strings (or solutions, as in the "
            "released test set)"
        )
    if not candidates:
        raise InputError(
            f"{'candidates' if 'candidates' in record else 'solutions'}: the list is empty; give at least one"
        )
    documents = [] if record.get(documents_key) is None else _list(record, documents_key)
    options = _options(record.get("options"))
    appended = bool(options) and not all(text.strip() in question for _, text in options)
    if appended:
        question = "\n".join([f"{question}\n", *(f"({label}) {text}" for label, text in options)])
    return RankRequest(
        question=question,
        candidates=candidates,
        documents=[_text(item, f"{documents_key}[{i}]") for i, item in enumerate(documents)],
        id=_identity(record.get(id_key), id_key),
        options=dict(options) or None,
        tagged=tagged,
        options_appended=appended,
    )


def request_id(record: object) -> str | int | None:
    """The id of a record, even of one that `parse_request` refuses; None if it has no usable id.

    Example:
        >>> request_id({"id": "q1", "question": 3}), request_id({"question_id": 7, "solutions": []}), request_id([])
        ('q1', 7, None)
    """
    if not isinstance(record, Mapping):
        return None
    key = "question_id" if "solutions" in record and "candidates" not in record else "id"
    try:
        return _identity(record.get(key), key)
    except InputError:
        return None


def read_request(path: str, *, candidates: bool = True) -> RankRequest:
    """Read the one request in a JSON file.

    Args:
        path: A file in UTF-8, with or without a byte order mark; `-` is standard input.
        candidates: Whether it must have candidates; otherwise any candidates are ignored.

    Returns:
        The request.

    Raises:
        InputError: The file cannot be read, is not JSON, holds several requests, or `parse_request` refuses it.
    """
    name = "standard input" if path == "-" else path
    text = _read_text(path, name)
    if not text.strip():
        raise InputError(f"{name} is empty; expected one request as a JSON object")
    try:
        record = _decode_one(text)
        if candidates:
            return parse_request(record)
        if isinstance(record, Mapping) and "solutions" not in record:
            record = {**record, "candidates": ["none yet"]}
        return parse_request(record).model_copy(update={"candidates": [], "tagged": []})
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _read_text(path: str, name: str) -> str:
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or type(error).__name__}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _decode_one(text: str) -> object:
    """The one JSON value in the text; a list of requests or more values after the first are refused."""
    start = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise InputError(f"not valid JSON at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise InputError("nested too deeply for a request") from None
    except ValueError:  # the interpreter refuses integers of thousands of digits
        raise InputError("holds a number with too many digits") from None
    rest = text[end:]
    if rest.strip():
        offset = end + len(rest) - len(rest.lstrip())
        line = text.count("\n", 0, offset) + 1
        raise InputError(f"more text after the first JSON value, at line {line}; {_SEVERAL}")
    if isinstance(value, list):
        raise InputError(f"a list of {len(value)}; {_SEVERAL}")
    return value


def _candidate(item: object, key: str) -> str | list[str]:
    if isinstance(item, (list, tuple)):
        return [_text(step, f"{key}[{i}]") for i, step in enumerate(item)]
    return _text(item, key, "a string or a list of strings")


def _solution(item: object, key: str) -> tuple[str | list[str], TaggedSolution]:
    """A candidate, and its texts with step tags, if it has any."""
    if not isinstance(item, Mapping):
        raise InputError(f"{key}: expected an object with solution or prm_processed_solution, found {json_kind(item)}")
    tagged = TaggedSolution(
        steps=_tagged(item.get("prm_processed_solution"), f"{key}.prm_processed_solution"),
        outcome=_tagged(item.get("orm_processed_solution"), f"{key}.orm_processed_solution"),
    )
    if item.get("solution") is not None:
        return _text(item["solution"], f"{key}.solution"), tagged
    if tagged.steps is None:
        raise InputError(f"{key}: expected the key solution or prm_processed_solution")
    return [step for piece in tagged_pieces(tagged.steps) if (step := piece.strip())], tagged


def _tagged(value: object, key: str) -> str | None:
    return None if value is None else _text(value, key)


def _options(value: object) -> list[tuple[str, str]]:
    """The options next to a question, each with its letter."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        named = list(value.items())
    elif isinstance(value, list | tuple) and len(value) <= len(string.ascii_uppercase):
        named = list(zip(string.ascii_uppercase, value, strict=False))
    else:
        raise InputError("options: expected an object of letters and texts, or a list of at most 26 texts")
    return [(_text(label, "options"), _text(text, f"options[{place}]")) for place, (label, text) in enumerate(named)]


def _list(record: Mapping[Any, Any], key: str) -> list[Any] | tuple[Any, ...]:
    value = record[key]
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{key}: expected a list, found {json_kind(value)}")
    return value


def _text(value: object, key: str, expected: str = "a string") -> str:
    if value is None:
        raise InputError(f"{key}: missing; expected {expected}")
    if not isinstance(value, str):
        raise InputError(f"{key}: expected {expected}, found {json_kind(value)}")
    return valid_unicode(value)


def _identity(value: object, key: str) -> str | int | None:
    if isinstance(value, str):
        return _text(value, key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise InputError(f"{key}: expected a string or an integer, found {json_kind(value)}")


def json_kind(value: object) -> str:
    """The type of a JSON value, in JSON's terms, for messages that must not show the value.

    Example:
        >>> json_kind("fever"), json_kind({}), json_kind(None)
        ('a string', 'an object', 'null')
    """
    if value is None:
        return "null"
    names = {bool: "true or false", str: "a string", int: "a number", float: "a number", list: "a list"}
    if isinstance(value, Mapping):
        return "an object"
    return names.get(type(value), type(value).__name__)
