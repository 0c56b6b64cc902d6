"""The questions of a file that are evaluated, with which candidates and which documents."""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from medprm_scorer.errors import InputError, check_choice
from medprm_scorer.evaluation.labelled_records import LabelledQuestion, is_error_only, parse_labelled
from medprm_scorer.files.progress import QuestionProgress
from medprm_scorer.files.records import read_records
from medprm_scorer.text.answers.callers_functions import AnswerFunction

Documents = Literal["given", "none", "shuffled"]
"""The documents that a model reads: those of the question, none, or those of another question."""

_PROBLEMS_NAMED = 5
_NO_DOCUMENTS = (
    "it is a line of medprm score, which does not keep the documents: give the requests that it was made from, or "
    "leave the documents out (--documents none)"
)


@dataclass(frozen=True)
class Selection:
    """Which questions of a file take part, and with what.

    Args:
        sources: Patterns of data sources, as for file names (`mmlu_*`); empty for all.
        limit: Most questions, from the first, at least 1; None for all.
        candidates: Most candidates of a question, from the first, at least 1; None for all.
        documents: `given`, `none`, or `shuffled`: each question with documents gets those of another one.
        seed: Seed of the shuffling.

    Raises:
        InputError: A number is too small, or `documents` is unknown.
    """

    sources: tuple[str, ...] = ()
    limit: int | None = None
    candidates: int | None = None
    documents: Documents = "given"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("limit", "candidates"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InputError(f"{name} must be at least 1")
        check_choice("documents", self.documents, get_args(Documents))

    def has(self, source: object) -> bool:
        """Whether questions of a data source take part."""
        name = source.strip() if isinstance(source, str) else ""
        return not self.sources or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.sources)


@dataclass(frozen=True, repr=False)
class Question:
    """One question of the file.

    Args:
        place: Its place in the file, from 0.
        record: The record, as decoded; empty if there is no question.
        labelled: What is known about it; None for an error line of `medprm score` without a request.
    """

    place: int
    record: Mapping[str, Any]
    labelled: LabelledQuestion | None


class Repeats:
    """Repeated questions: those whose text an earlier record of the file has.

    Attributes:
        count: How many.
        places: For the first few, their place in the file and that of the earlier question.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}
        self.count = 0
        self.places: list[tuple[int, int]] = []

    def add(self, place: int, question: LabelledQuestion) -> bool:
        """Note a question.

        Returns:
            Whether an earlier question has the same text.
        """
        first = self._seen.setdefault(question.digest, place)
        if first == place:
            return False
        self.count += 1
        if len(self.places) < _PROBLEMS_NAMED:
            self.places.append((place, first))
        return True


@dataclass
class Checked:
    """The result of one pass over the file.

    Args:
        stored: Questions that take part whose rewards are in the file.
        missing: Those whose rewards are not in the file.
    """

    stored: int = 0
    missing: int = 0


class Questions:
    """Reads the questions of a file as often as needed, in memory that does not grow with it.

    With shuffled documents, however, all documents are held, about 90 MB for the released test set.

    Args:
        path: The file.
        selection: Which of them, and with what.
        answer: Reads an answer from a text if none is recorded; None uses the package's own rules.
        progress: Whether to show a progress bar on stderr. None: a bar on a terminal, otherwise an occasional line.
    """

    def __init__(
        self,
        path: str | Path,
        selection: Selection,
        answer: AnswerFunction | None = None,
        progress: bool | None = None,
    ) -> None:
        self._path, self._selection, self._answer, self._progress = path, selection, answer, progress
        self._shuffled: dict[int, list[str]] = {}
        self._right: Mapping[str, float] | None = None

    def judged(self, right: Mapping[str, float]) -> None:
        """Record which selection methods were right on the latest question, for the progress bar.

        Args:
            right: By the name of each method, 1 if it was right and 0 if not; the same names for every question.
        """
        self._right = right

    def check(self, use: Callable[[Question], bool] | None = None) -> Checked:
        """Read the whole file once before a model scores it: a bad record must not turn up after hours of scoring.

        Args:
            use: Whether a question will be scored, or an `InputError` that says why it cannot be; None takes those
                with judged answers.

        Raises:
            InputError: Records cannot be used. The message counts them and names the first few.
        """
        use = use or (lambda question: question.labelled is not None and question.labelled.right is not None)
        found = Checked()
        problems: list[str] = []
        documents: dict[int, list[str]] = {}
        bad = 0
        for place, question in self._read("checking"):
            try:
                if isinstance(question, InputError):
                    raise question
                labelled = question.labelled
                if not use(question) or labelled is None:
                    continue
                if labelled.lacks_documents and self._selection.documents != "none":
                    raise InputError(_NO_DOCUMENTS)
            except InputError as error:
                bad += 1
                problems += [f"record {place}: {error}"] if len(problems) < _PROBLEMS_NAMED else []
                continue
            found.stored += labelled.rewards is not None
            found.missing += labelled.rewards is None
            if self._selection.documents == "shuffled" and labelled.request.documents:
                documents[place] = labelled.request.documents
        if bad:
            many = f"{bad:,} records cannot be used, " if bad > 1 else ""
            raise InputError(f"{self._path}: {many}{'; '.join(problems)}{'; …' if bad > len(problems) else ''}")
        if self._selection.documents == "shuffled":
            self._shuffled = shuffled(documents, self._selection.seed)
        return found

    def __iter__(self) -> Iterator[Question]:
        """The questions in order; with shuffled documents only after `check`.

        Raises:
            InputError: A record cannot be used; raised when it is reached.
        """
        for place, question in self._read("evaluating"):
            if isinstance(question, InputError):
                raise InputError(f"{self._path}: record {place}: {question}")
            labelled = question.labelled
            if labelled is not None and self._selection.documents != "given":
                documents = {"documents": self._shuffled.get(place, [])}
                labelled = replace(labelled, request=labelled.request.model_copy(update=documents))
                question = replace(question, labelled=labelled)
            yield question

    def _read(self, what: str) -> Iterator[tuple[int, Question | InputError]]:
        count = 0
        with QuestionProgress(self._path, what, self._progress) as progress:
            for record in read_records(self._path):
                if not self._selection.has(record.value.get("data_source")):
                    continue
                count += 1
                self._right = None
                yield record.place, self._parse(record.place, record.value)
                progress.advance(record.end, self._right)
                if count == self._selection.limit:
                    return
        if self._selection.sources and not count:
            raise InputError(f"{self._path}: no question has a data source that was asked for")

    def _parse(self, place: int, record: Mapping[str, Any]) -> Question | InputError:
        if is_error_only(record):
            return Question(place, record, None)
        try:
            return Question(place, record, parse_labelled(record, self._answer, self._selection.candidates))
        except InputError as error:
            return error.with_traceback(None)


def shuffled(documents: Mapping[int, list[str]], seed: int) -> dict[int, list[str]]:
    """Give each question the documents of another question, none of which are its own.

    Args:
        documents: The documents by question.
        seed: A whole number, at least 0.

    Returns:
        The documents of another question, by question: of the one that follows it in a random circle, or of the next
        one after that whose documents are different.

    Raises:
        InputError: For some question, every other question shares its documents.

    Example:
        >>> shuffled({3: ["a"], 8: ["b"]}, seed=0)
        {3: ['b'], 8: ['a']}
    """
    places = list(documents)
    order = np.random.default_rng(seed).permutation(len(places)).tolist()
    found: dict[int, list[str]] = {}
    for turn, own in enumerate(order):
        mine = set(documents[places[own]])
        for step in range(1, len(order)):
            other = documents[places[order[(turn + step) % len(order)]]]
            if mine.isdisjoint(other):
                found[places[own]] = other
                break
        else:
            raise InputError(
                "documents cannot be shuffled: at least one question shares its documents with every other question"
            )
    return dict(sorted(found.items()))
