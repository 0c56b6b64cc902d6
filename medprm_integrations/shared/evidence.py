"""Which texts the candidates are checked against, when there are more than the model was trained to read."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from medprm_scorer.results.models import Ranking
from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET


class DocumentsLeftOutWarning(UserWarning):
    """There were documents, and the reward model read none of them."""


@dataclass(frozen=True)
class Evidence:
    """The texts to check candidates against. The `repr` shows no text.

    Args:
        texts: The texts that fit, in the order given.
        left_out: How many did not fit.
    """

    texts: tuple[str, ...] = field(repr=False)
    left_out: int = 0


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


def counted(ranking: Ranking, evidence: Evidence) -> Ranking:
    """A ranking whose documents are all that were at hand, and not only those that it was asked to read.

    Warns when there were some and none could be read.

    Args:
        ranking: The ranking, by the evidence's texts.
        evidence: The evidence.
    """
    if evidence.left_out and not evidence.texts:
        warn_unread(evidence.left_out)
    return ranking.model_copy(update={"documents_given": ranking.documents_given + evidence.left_out})


def none_fits(
    documents: Sequence[str], count_tokens: Callable[[str], int], budget: int = DOCUMENT_TOKEN_BUDGET
) -> bool:
    """Whether there are documents and `MedPRM.rank` reads none of them, since already the first exceeds the budget.

    Example:
        >>> none_fits(["a b c", "d"], lambda text: len(text.split()), budget=3)
        True
    """
    return bool(documents) and count_tokens(documents[0]) + 1 > budget


def warn_if_unread(ranking: Ranking, documents: Sequence[str], count_tokens: Callable[[str], int]) -> None:
    """Warn when there were documents and none was read, unless the reward model's system prompt takes none at all."""
    if not ranking.documents_used and none_fits(documents, count_tokens):
        warn_unread(len(documents))


def warn_unread(count: int) -> None:
    """Warn that none of so many documents was read."""
    were = "the only document was not read: it" if count == 1 else f"none of {count} documents was read: the first"
    warnings.warn(
        f"{were} exceeds the model's budget of {DOCUMENT_TOKEN_BUDGET:,} tokens; split documents smaller",
        DocumentsLeftOutWarning,
        stacklevel=3,
    )
