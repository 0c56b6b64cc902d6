"""The keys of a chain's input: those that are needed, and documents under no other name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medprm_scorer.errors import InputError
from medprm_scorer.results.request_parsing import MEANT_DOCUMENTS

_LONGEST_KEY = 40


def checked_keys(value: object, needed: Sequence[str]) -> Mapping[str, Any]:
    """An input with the required keys, and without documents under a name that is not read.

    Other keys are allowed: a chain's dict carries more than one step needs.

    Args:
        value: The input.
        needed: The required keys.

    Raises:
        InputError: It is not a dict, a key is missing, or `documents` is missing but a similar key is present.

    Example:
        >>> checked_keys({"query": "Which dose?"}, ["question"])
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: the key 'question' is missing (there is 'query')
    """
    if not isinstance(value, Mapping):
        form = "".join(f'"{key}": {"…" if key == "question" else "[…]"}, ' for key in needed)
        raise InputError(f'the input must be a dict: {{{form}"documents": […]}}')
    missing = [key for key in needed if key not in value]
    if missing:
        are = "key {} is" if len(missing) == 1 else "keys {} are"
        raise InputError(f"the {are.format(_listed(missing))} missing ({_there(value)})")
    if value.get("documents") is None:
        for key in MEANT_DOCUMENTS:
            if key in value:
                raise InputError(f"unknown key {key!r}: documents go under the key documents")
    return value


def _there(value: Mapping[Any, Any]) -> str:
    """The existing keys; only names, since a key that is a whole text may be a patient's data."""
    names = [key for key in value if isinstance(key, str) and key.isidentifier() and len(key) <= _LONGEST_KEY]
    if not names:
        return "there is none that is a name" if value else "the dict is empty"
    return f"there {'is' if len(names) == 1 else 'are'} {_listed(names)}"


def _listed(names: Iterable[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} and {last}" if others else last
