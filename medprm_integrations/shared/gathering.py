"""Documents from the user's own function, sync or async."""

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from medprm_scorer.errors import InputError


def gathered(
    evidence: Callable[[Any], Any] | None, about: Any, read: Callable[[object], list[str]], otherwise: str
) -> list[str]:
    """The texts of what the function gives; none without a function.

    Args:
        evidence: The function.
        about: What it is called with.
        read: From the framework's documents to texts; it refuses what is no list of documents.
        otherwise: What to call for an async function, for the error.

    Raises:
        InputError: The function is async, or does not give documents.

    Example:
        >>> gathered(lambda question: [question.upper()], "dose", list, "ainvoke")
        ['DOSE']
    """
    if evidence is None:
        return []
    found = evidence(about)
    if isawaitable(found):
        if hasattr(found, "close"):
            found.close()
        raise InputError(f"the evidence function is async: use {otherwise}, or a function that is not")
    return read(found)


async def agathered(
    evidence: Callable[[Any], Any] | None, about: Any, read: Callable[[object], list[str]]
) -> list[str]:
    """As `gathered`, and an async function is awaited."""
    if evidence is None:
        return []
    found = evidence(about)
    return read(await found if isawaitable(found) else found)
