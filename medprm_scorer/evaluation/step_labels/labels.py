"""Labels of steps: 1 (valid), 0 (wrong) or None (not known), for each step of each candidate.

They are in the records themselves under `step_labels`, next to `candidates` or `solutions`, or in a separate file:
records with an `id` (or `question_id`) and `step_labels`. There the id must name exactly one question. If such a record
also holds the question or the candidates, they must be the same: labels are worthless on other steps.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.labelled_records import PROCESSBENCH, LabelledQuestion, plain_record
from medprm_scorer.evaluation.questions import Question
from medprm_scorer.files.records import read_records
from medprm_scorer.results.models import RankRequest
from medprm_scorer.results.request_parsing import json_kind, parse_request, request_id

Label = int | None
Labels = tuple[tuple[Label, ...] | None, ...]
"""For each candidate the labels of its steps, or None if it has none."""

_KEY = "step_labels"


def parse_labels(value: object) -> Labels:
    """Check the value of `step_labels`.

    Args:
        value: A list with an entry for each candidate: a list of 1, 0 and None, or None.

    Raises:
        InputError: It is anything else; the message names the candidate and the step.

    Example:
        >>> parse_labels([[1, 0, None], None])
        ((1, 0, None), None)
        >>> parse_labels([[1, True]])
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: candidate 0, step 1: a label must be 1, 0 or null, found true or false
    """
    if not isinstance(value, list | tuple):
        raise InputError(f"{_KEY}: expected a list with an entry for each candidate, found {json_kind(value)}")
    found: list[tuple[Label, ...] | None] = []
    for index, labels in enumerate(value):
        if labels is not None and not isinstance(labels, list | tuple):
            raise InputError(f"candidate {index}: expected a list of labels or null, found {json_kind(labels)}")
        for step, label in enumerate(labels or ()):
            known = isinstance(label, int | float) and not isinstance(label, bool) and label in (0, 1)
            if label is not None and not known:
                other = " that is neither" if isinstance(label, int | float) and not isinstance(label, bool) else ""
                raise InputError(
                    f"candidate {index}, step {step}: a label must be 1, 0 or null, found {json_kind(label)}{other}"
                )
        found.append(tuple(None if label is None else int(label) for label in labels) if labels else None)
    return tuple(found)


class LabelSource(Protocol):
    """Gives the labels of a question."""

    @property
    def unused(self) -> int:
        """The number of records with labels whose id no question had."""
        ...

    def of(self, question: Question) -> Labels | None:
        """The labels; None if there are none.

        Raises:
            InputError: They cannot be used.
        """
        ...

    def where(self, question: Question) -> str:
        """Where the labels of a question are, for the end of a message; "" if they are in its own record."""
        ...


class OwnLabels:
    """Labels in the records of the questions."""

    unused = 0

    def of(self, question: Question) -> Labels | None:
        """The labels of a question; None if there are none."""
        value = question.record.get(_KEY)
        labelled = question.labelled
        return None if value is None or labelled is None else _for_question(parse_labels(value), labelled)

    def where(self, question: Question) -> str:
        """Nothing: they are in its own record."""
        del question
        return ""


@dataclass(frozen=True)
class _Entry:
    place: int
    labels: Labels
    question: bytes | None
    candidates: tuple[bytes, ...] | None


class LabelFile:
    """Labels from a separate file, by id. All of them are held in memory, without any text.

    Args:
        path: The file: a JSON list or JSONL.

    Raises:
        InputError: It cannot be read, holds no labels, or a record has no id, a repeated one, or wrong labels.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._entries: dict[str, _Entry] = {}
        self._asked: dict[str, int] = {}
        foreign = False
        for record in read_records(path):
            foreign = foreign or (record.value.get(_KEY) is None and "label" in record.value)
            if record.value.get(_KEY) is not None:
                try:
                    self._add(record.place, record.value)
                except InputError as error:
                    raise InputError(f"{path}: record {record.place}: {error}") from None
        if not self._entries:
            raise InputError(f"{path}: no record has {_KEY}{f'; {PROCESSBENCH}' if foreign else ''}")

    @property
    def unused(self) -> int:
        """The number of records of the file whose id no question had."""
        return len(self._entries.keys() - self._asked.keys())

    def of(self, question: Question) -> Labels | None:
        """The labels of the question with the same id; None if there are none.

        Raises:
            InputError: Another question had the same id, or the labels are those of another question or of other
                candidates.
        """
        labelled = question.labelled
        entry = None if labelled is None or labelled.id is None else self._entries.get(str(labelled.id))
        if labelled is None or entry is None:
            return None
        first = self._asked.setdefault(str(labelled.id), question.place)
        if first != question.place:
            raise InputError(f"it has the same id as record {first}: labels in a separate file need unique ids")
        options_appended = labelled.request.options_appended  # a record of labels may lack them
        if entry.question not in (None, labelled.digest) and not options_appended:
            raise InputError(f"record {entry.place} of {self._path} has the same id but a different question")
        labels = _for_question(entry.labels, labelled, self.where(question))
        texts = _digests(labelled.request)
        if entry.candidates is not None and entry.candidates[: len(texts)] != texts:
            raise InputError(f"record {entry.place} of {self._path} has the same id but different candidates")
        return labels

    def where(self, question: Question) -> str:
        """The record that the labels of a question are in."""
        labelled = question.labelled
        entry = None if labelled is None else self._entries.get(str(labelled.id))
        return "" if entry is None else f" in record {entry.place} of {self._path}"

    def _add(self, place: int, record: Mapping[str, Any]) -> None:
        name = request_id(record)
        if name is None:
            name = request_id({"id": record.get("question_id")})
        if name is None:
            raise InputError("labels in a separate file need an id, a string or a whole number")
        if str(name) in self._entries:
            raise InputError(f"it has the same id as record {self._entries[str(name)].place}")
        labels = parse_labels(record[_KEY])
        plain = plain_record(record) if "ranking" in record or "error" in record else record
        question = candidates = None
        if "candidates" in plain or "solutions" in plain:
            request = parse_request(plain)
            question, candidates = _digest(request.question), _digests(request)
        elif "question" in plain:
            question = _digest(parse_request({**plain, "candidates": [""], "documents": []}).question)
        self._entries[str(name)] = _Entry(place, labels, question, candidates)


def _for_question(labels: Labels, question: LabelledQuestion, where: str = "") -> Labels:
    """The labels of the candidates that take part, checked to be as many as the candidates."""
    if len(labels) != question.given:
        raise InputError(f"{_KEY}{where}: {len(labels)} entries for {question.given} candidates; give one for each")
    return labels[: len(question.request.candidates)]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def _digests(request: RankRequest) -> tuple[bytes, ...]:
    """Digest of the candidates' texts, with steps joined as in results."""
    return tuple(_digest(text if isinstance(text, str) else "\n".join(text)) for text in request.candidates)
