"""Which texts the candidates are checked against, when there are more than the model was trained to read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from medprm_scorer.prompts import DOCUMENT_TOKEN_BUDGET


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
