"""Documents from the user's own function, in LangChain's forms."""

from collections.abc import Callable
from typing import Any

from medprm_integrations.langchain.convert import document_texts
from medprm_integrations.shared import gathering


def gathered(evidence: Callable[[Any], Any] | None, about: Any) -> list[str]:
    """The texts of what the function gives; none without a function.

    Raises:
        InputError: The function is async, or does not give documents.
    """
    return gathering.gathered(evidence, about, document_texts, "ainvoke or astream")


async def agathered(evidence: Callable[[Any], Any] | None, about: Any) -> list[str]:
    """As `gathered`, and an async function is awaited."""
    return await gathering.agathered(evidence, about, document_texts)
