"""The texts that candidates are checked against: from the caller, from a function of the user's, from an agent's tools.

The reward model was trained to read some 3,072 tokens of documents, so that there may be more than it reads.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

from pydantic import BaseModel

from medprm_scorer.errors import InputError
from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET

LONGEST_ID = 200
"""Characters of an id; a longer one may be a text, and is none."""


class NamedText(str):
    """The text of a document that has an id, so that whatever is done with texts needs no second list.

    Args:
        text: The text.
        id: The document's id, if it has one.
    """

    __slots__ = ("id",)
    id: str | None

    def __new__(cls, text: str, id: str | None = None) -> "NamedText":
        """The text with the id; one that is blank or longer than `LONGEST_ID` is none."""
        made = super().__new__(cls, text)
        made.id = id if isinstance(id, str) and id.strip() and len(id) <= LONGEST_ID else None
        return made


@dataclass(frozen=True)
class Evidence:
    """The texts to check candidates against. The `repr` shows no text.

    Args:
        texts: The texts, in the order given, each once.
        left_out: How many of the documents that were given did not fit.
        read_as: For each document that was given, which of the texts is its own; None: none, since it is blank or did
            not fit. None in place of all this: the texts are the documents.
        ids: For each document that was given, its id; None if it has none. Empty in place of `None` for all.
    """

    texts: tuple[str, ...] = field(repr=False)
    left_out: int = 0
    read_as: tuple[int | None, ...] | None = field(default=None, repr=False)
    ids: tuple[str | None, ...] = field(default=(), repr=False)

    @property
    def given(self) -> int:
        """How many documents were given, blank and repeated ones included."""
        return len(self.texts if self.read_as is None else self.read_as)

    def places(self, texts: Collection[int]) -> list[int]:
        """The places of the documents that were given, from 0, whose texts are among these.

        Example:
            >>> within_budget([" ", "a", "a"], len).places([0])
            [1, 2]
        """
        read_as = range(len(self.texts)) if self.read_as is None else self.read_as
        return [place for place, text in enumerate(read_as) if text in texts]

    def nothing_fits(self, count_tokens: Callable[[str], int], budget: int = DOCUMENT_TOKEN_BUDGET) -> bool:
        """Whether there are documents and `MedPRM.rank` reads none of them, since already the first is too long.

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
    """Take whole texts while they fit; one that does not fit is passed over and smaller ones may follow.

    By score, the highest first, where the texts have scores; else in order. What is taken stays in the order given. A
    huge text must not cost all the others. (`MedPRM.rank` ends the list at the first document that does not fit, as in
    training; what is returned here fits it whole.) A text that came twice, as agents often retrieve it, is taken once,
    and a blank one never.

    Args:
        texts: Without scores, the most wanted first.
        count_tokens: `MedPRM.count_tokens`.
        budget: Most tokens; each text costs its tokens and one more, as in training.
        scores: For each text its score of retrieval, or None; those without come after those with one.

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
    """The texts of what the user's function gives; none without a function.

    Args:
        evidence: The function.
        read: From the framework's documents to texts; it refuses what is no list of documents.

    Raises:
        InputError: The function is async, or does not give documents.

    Example:
        >>> gathered(lambda: ["Label"], list)
        ['Label']
    """
    found = None if evidence is None else evidence()
    if isawaitable(found):
        if hasattr(found, "close"):
            found.close()
        raise InputError("the evidence function is async: call the async way (ainvoke, achat), or take one that is not")
    return [] if evidence is None else read(found)


async def agathered(evidence: Callable[[], Any] | None, read: Callable[[object], list[str]]) -> list[str]:
    """As `gathered`, and an async function is awaited."""
    if evidence is None:
        return []
    found = evidence()
    return read(await found if isawaitable(found) else found)


def document_texts(documents: object, content: Callable[[Any], object], kind: str) -> list[str]:
    """The texts of documents, in their order.

    Args:
        documents: A list of the framework's documents and texts; None for none.
        content: The text of a document; what is no document as it is.
        kind: What the framework calls a document, for the error.

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
