"""A caller's own functions: one that reads a chain's answer, and one that decides which answers are equal."""

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from medprm_scorer.errors import InputError
from medprm_scorer.text.answers.reading import DECLINED, Reading
from medprm_scorer.text.sanitize import valid_unicode

AnswerFunction = Callable[..., str | None]
"""Takes `(text)` or `(text, question)`; returns the answer, None, or `DECLINED`."""

GroupFunction = Callable[..., Sequence[Hashable]]
"""Takes `(answers)` or `(answers, question)`; returns a label for each answer, the same for equal answers."""


def read_with(function: AnswerFunction, text: str, question: str | None, index: int) -> Reading:
    """The answer that a caller's function reads from a chain.

    Args:
        function: Takes the text, and the question if its second parameter has no default or is named `question`.
        text: The chain; a blank one gives no answer, and the function is not called.
        question: The question.
        index: Index of the chain, for messages.

    Returns:
        The answer, or none if the function returns None or blanks; `declined` if it returns `DECLINED`.

    Raises:
        InputError: The function raised, or returned something other than a text or None.

    Example:
        >>> read_with(lambda text: text.split()[-1], "So B", None, 0).answer
        'B'
    """
    if not text.strip():
        return Reading()
    try:
        found = function(text, question) if _takes_question(function) else function(text)
    except Exception as error:  # noqa: BLE001 - a caller's function may raise anything, with the text in it
        raise InputError(f"the answer function failed on candidate {index}: {type(error).__name__}") from None
    if found is not None and not isinstance(found, str):
        raise InputError(
            f"the answer function must return a text or None, not {type(found).__name__} as for candidate {index}"
        )
    if found == DECLINED:
        return Reading(declined=True)
    return Reading(valid_unicode(found) if found and found.strip() else None)


def group_with(function: GroupFunction, answers: Sequence[str], question: str) -> Any:
    """The result of a caller's function for a question's answers, for `checked_labels`; it may be awaitable.

    Args:
        function: Takes the answers, and the question if its second parameter has no default or is named `question`.
        answers: The different answers of the question's chains.
        question: The question.

    Raises:
        InputError: The function raised.
    """
    try:
        return function(list(answers), question) if _takes_question(function) else function(list(answers))
    except Exception as error:  # noqa: BLE001 - a caller's function may raise anything, with the answers in it
        raise InputError(f"the group function failed: {type(error).__name__}") from None


def checked_labels(labels: object, count: int) -> list[Hashable]:
    """The labels from a group function, one for each answer.

    Args:
        labels: The result of the function.
        count: How many answers there are.

    Raises:
        InputError: There are too few or too many, or they cannot be compared.

    Example:
        >>> checked_labels(["mi", "pe", "mi"], 3)
        ['mi', 'pe', 'mi']
    """
    if inspect.isawaitable(labels):
        if inspect.iscoroutine(labels):
            labels.close()
        raise InputError("the group function is async: call arank, or pass a function that is not")
    if not isinstance(labels, Sequence) or isinstance(labels, str) or len(labels) != count:
        raise InputError("the group function must return a list with one label for each answer that it receives")
    if not all(isinstance(label, Hashable) for label in labels):
        raise InputError("the group function must return labels that can be compared, such as texts or numbers")
    return list(labels)


def _takes_question(function: Callable[..., Any]) -> bool:
    """Whether a function also takes the question; a parameter with its own default is not overwritten."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(places) > 1 and (places[1].default is inspect.Parameter.empty or places[1].name == "question")
