"""Documents from the user's own function, sync or async."""

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from medprm_integrations.langchain.reading import document_texts
from medprm_scorer.errors import InputError


def gathered(evidence: Callable[[Any], Any] | None, about: Any) -> list[str]:
    """The texts of what the function gives; none without a function.

    Raises:
        InputError: The function is async, or does not give documents.
    """
    if evidence is None:
        return []
    found = evidence(about)
    if isawaitable(found):
        if hasattr(found, "close"):
            found.close()
        raise InputError("the evidence function is async: use ainvoke or astream, or a function that is not")
    return document_texts(found)


async def agathered(evidence: Callable[[Any], Any] | None, about: Any) -> list[str]:
    """As `gathered`, and an async function is awaited."""
    if evidence is None:
        return []
    found = evidence(about)
    return document_texts(await found if isawaitable(found) else found)
