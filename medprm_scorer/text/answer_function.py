"""A caller's own function that reads answers: what it may return, and how its failures are named."""

from collections.abc import Callable

from medprm_scorer.errors import InputError
from medprm_scorer.text.sanitize import valid_unicode


def read_answer(answer: Callable[[str], str | None], text: str, index: int) -> str | None:
    """The answer that a caller's function reads from a chain.

    Args:
        answer: The function.
        text: The chain; a blank one gives no answer, and the function is not asked.
        index: Place of the chain, for messages.

    Returns:
        The answer, or None if there is none or it is blank.

    Raises:
        InputError: The function raised, or returned something else than a text or None.
    """
    if not text.strip():
        return None
    try:
        found = answer(text)
    except Exception as error:  # noqa: BLE001 - a caller's function may raise anything, with the text in it
        raise InputError(f"the answer function failed on candidate {index}: {type(error).__name__}") from None
    if found is not None and not isinstance(found, str):
        raise InputError(
            f"the answer function must return a text or None, not {type(found).__name__} as for candidate {index}"
        )
    return valid_unicode(found) if found and found.strip() else None
