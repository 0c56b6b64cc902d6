"""The texts against which candidates are checked: from the caller, a function of the user, or an agent's tools.

The reward model was trained to read at most 3,072 tokens of documents, so there may be more than it reads.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, cast

from pydantic import BaseModel

from medprm_scorer.errors import InputError
from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET

LONGEST_ID = 200
"""Most characters of an id; a longer one may be a text, and is ignored."""


class NamedText(str):
    """The text of a document together with its id, so that no second list is needed.

    Args:
        text: The text.
        id: The document's id, if it has one.
    """

    __slots__ = ("id",)
    id: str | None

    def __new__(cls, text: str, id: str | None = None) -> "NamedText":
        """The text with the id; a blank id, or one longer than `LONGEST_ID`, is ignored."""
        made = super().__new__(cls, text)
        made.id = id if isinstance(id, str) and id.strip() and len(id) <= LONGEST_ID else None
        return made


@dataclass(frozen=True)
class Evidence:
    """The texts against which candidates are checked. The `repr` shows no text.

    Args:
        texts: The texts, in the order given, each once.
        left_out: How many of the given documents did not fit.
        read_as: For each given document, the index of its text; None if it has none, because it is blank or did not
            fit. If `read_as` itself is None, the texts are the documents.
        ids: For each given document, its id, or None. Empty if none has an id.
    """

    texts: tuple[str, ...] = field(repr=False)
    left_out: int = 0
    read_as: tuple[int | None, ...] | None = field(default=None, repr=False)
    ids: tuple[str | None, ...] = field(default=(), repr=False)

    @property
    def given(self) -> int:
        """How many documents were given, including blank and repeated ones."""
        return len(self.texts if self.read_as is None else self.read_as)

    def places(self, texts: Collection[int]) -> list[int]:
        """The indices of the given documents, from 0, whose texts are among these.

        Example:
            >>> within_budget([" ", "a", "a"], len).places([0])
            [1, 2]
        """
        read_as = range(len(self.texts)) if self.read_as is None else self.read_as
        return [place for place, text in enumerate(read_as) if text in texts]

    def named(self, texts: Collection[int], *, by_id: bool = True) -> list[str | int]:
        """The ids of the given documents whose texts are among these; for one without an id, its index.

        Args:
            texts: Indices of the texts.
            by_id: False uses the indices of all.

        Example:
            >>> within_budget([NamedText("a", "label-7"), "b", "a"], len).named([0])
            ['label-7', 2]
        """
        ids = self.ids if by_id and self.ids else [None] * self.given
        found = (place if ids[place] is None else ids[place] for place in self.places(texts))
        return list(dict.fromkeys(cast("Iterable[str | int]", found)))

    def nothing_fits(self, count_tokens: Callable[[str], int], budget: int = DOCUMENT_TOKEN_BUDGET) -> bool:
        """Whether there are documents but `MedPRM.rank` reads none of them, because the first is already too long.

        Example:
            >>> Evidence(("a b c", "d")).nothing_fits(lambda text: len(text.split()), budget=3)
            True
        """
        return count_tokens(self.texts[0]) + 1 > budget if self.texts else self.left_out > 0


def within_budget(
    texts: Iterable[str],
    count_tokens: Callable[[str], int],
    budget: int = DOCUMENT_TOKEN_BUDGET,
    scores: Sequence[float | None] = (),
) -> Evidence:
    """Take whole texts while they fit; one that does not fit is skipped, and smaller ones may follow.

    Texts are taken by score, the highest first, if they have scores; otherwise in order. The taken texts keep the given
    order. So a huge text does not displace all others. (`MedPRM.rank` ends the list at the first document that does not
    fit, as in training; the result of this function fits completely.) A repeated text, which agents often retrieve, is
    taken once, and a blank one never.

    Args:
        texts: The texts; without scores, the most important first.
        count_tokens: `MedPRM.count_tokens`.
        budget: Most tokens; each text costs its tokens and one more, as in training.
        scores: For each text its retrieval score, or None; those without a score come last.

    Example:
        >>> evidence = within_budget(["a b c", "d e", "a b c", "f"], lambda text: len(text.split()), budget=6)
        >>> evidence, evidence.texts
        (Evidence(left_out=1), ('a b c', 'f'))
    """
    given = list(texts)
    ranked = sorted(range(len(given)), key=lambda place: _by_score(scores[place] if place < len(scores) else None))
    fits: dict[str, bool] = {}
    for text in (given[place] for place in ranked if given[place].strip()):
        if text not in fits:
            cost = count_tokens(text) + 1
            fits[text] = cost <= budget
            budget -= cost if fits[text] else 0
    kept = list(dict.fromkeys(str(text) for text in given if fits.get(text)))
    numbers = {text: number for number, text in enumerate(kept)}
    left_out = sum(not fits.get(text, True) for text in given)
    ids = tuple(getattr(text, "id", None) for text in given)
    return Evidence(tuple(kept), left_out, tuple(numbers.get(text) for text in given), ids)


def _by_score(score: float | None) -> float:
    return math.inf if score is None or math.isnan(score) else -score


def gathered(evidence: Callable[[], Any] | None, read: Callable[[object], list[str]]) -> list[str]:
    """The texts from the user's function; none without a function.

    Args:
        evidence: The function.
        read: Turns the framework's documents into texts; it refuses anything that is not a list of documents.

    Raises:
        InputError: The function is async, or does not return documents.

    Example:
        >>> gathered(lambda: ["Label"], list)
        ['Label']
    """
    found = None if evidence is None else evidence()
    if isawaitable(found):
        if hasattr(found, "close"):
            found.close()
        raise InputError("the evidence function is async: use an async method (ainvoke, achat), or another function")
    return [] if evidence is None else read(found)


async def agathered(evidence: Callable[[], Any] | None, read: Callable[[object], list[str]]) -> list[str]:
    """`gathered`, but an async function is awaited."""
    if evidence is None:
        return []
    found = evidence()
    return read(await found if isawaitable(found) else found)


def document_texts(documents: object, content: Callable[[Any], object], kind: str) -> list[str]:
    """The texts of documents, in their order.

    Args:
        documents: A list of the framework's documents and texts; None for none.
        content: Returns the text of a document, and anything else unchanged.
        kind: The framework's name for a document, for the error.

    Raises:
        InputError: It is something else.

    Example:
        >>> document_texts("Label", str, "node")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: documents must be a list of texts or nodes
    """
    if documents is None:
        return []
    if isinstance(documents, str | Mapping | BaseModel) or not isinstance(documents, Iterable):
        raise InputError(f"documents must be a list of texts or {kind}s")
    texts = []
    for place, document in enumerate(documents):
        text = content(document)
        if not isinstance(text, str):
            raise InputError(f"document {place} must be a text or a {kind}, not {type(document).__name__}")
        texts.append(text)
    return texts
