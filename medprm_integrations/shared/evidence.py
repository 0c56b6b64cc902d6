"""The texts that candidates are checked against: from the caller, from a function of the user's, from an agent's tools.

The reward model was trained to read some 3,072 tokens of documents, so that there may be more than it reads.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

from pydantic import BaseModel

from medprm_scorer.errors import InputError
from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET


@dataclass(frozen=True)
class Evidence:
    """The texts to check candidates against. The `repr` shows no text.

    Args:
        texts: The texts, in the order given.
        left_out: How many more there were that did not fit.
    """

    texts: tuple[str, ...] = field(repr=False)
    left_out: int = 0

    def nothing_fits(self, count_tokens: Callable[[str], int], budget: int = DOCUMENT_TOKEN_BUDGET) -> bool:
        """Whether there are documents and `MedPRM.rank` reads none of them, since already the first is too long.

        Example:
            >>> Evidence(("a b c", "d")).nothing_fits(lambda text: len(text.split()), budget=3)
            True
        """
        return count_tokens(self.texts[0]) + 1 > budget if self.texts else self.left_out > 0


def within_budget(
    texts: Iterable[str], count_tokens: Callable[[str], int], budget: int = DOCUMENT_TOKEN_BUDGET
) -> Evidence:
    """Take whole texts, in order, while they fit; one that does not fit is passed over and smaller ones may follow.

    For an agent's tool results, newest first: a huge one must not cost all the others. (`MedPRM.rank` ends the list at
    the first document that does not fit, as in training; what is returned here fits it whole.) Blank texts and repeats
    are dropped without being counted, since an agent often retrieves the same document twice.

    Args:
        texts: Most wanted first.
        count_tokens: `MedPRM.count_tokens`.
        budget: Most tokens; each text costs its tokens and one more, as in training.

    Example:
        >>> evidence = within_budget(["a b c", "d e", "a b c", "f"], lambda text: len(text.split()), budget=6)
        >>> evidence, evidence.texts
        (Evidence(left_out=1), ('a b c', 'f'))
    """
    kept: list[str] = []
    left_out = 0
    for text in dict.fromkeys(texts):
        if not text.strip():
            continue
        cost = count_tokens(text) + 1
        if cost <= budget:
            budget -= cost
            kept.append(text)
        else:
            left_out += 1
    return Evidence(tuple(kept), left_out)


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
