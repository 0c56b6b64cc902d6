"""Names the setting that was probably meant, where pydantic only says that another one is unknown."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

_UNKNOWN = "extra_forbidden"


def with_suggestions(error: ValidationError, known: Iterable[str]) -> ValidationError:
    """The error, with the known setting that each unknown one resembles.

    Args:
        error: The error.
        known: The names of the settings.

    Returns:
        The error itself, if no unknown setting resembles a known one. Neither shows a value.

    Example:
        >>> from pydantic import BaseModel
        >>> class Settings(BaseModel, extra="forbid"):
        ...     aggregate: str = "min"
        >>> try:
        ...     Settings(agregate="last")
        ... except ValidationError as error:
        ...     print(with_suggestions(error, Settings.model_fields).errors()[0]["msg"])
        Extra inputs are not permitted; is 'aggregate' meant?
    """
    names = list(known)
    found = error.errors(include_url=False, include_input=False)
    meant = [_meant(one, names) for one in found]
    if not any(meant):
        return error
    lines = [
        InitErrorDetails(
            type=one["type"] if name is None else PydanticCustomError(_UNKNOWN, f"{one['msg']}; is {name!r} meant?"),
            loc=one["loc"],
            input=None,
            ctx=one.get("ctx", {}),
        )
        for one, name in zip(found, meant, strict=True)
    ]
    return ValidationError.from_exception_data(error.title, lines, hide_input=True)


def _meant(error: Any, names: list[str]) -> str | None:
    unknown = str(error["loc"][-1]) if error["type"] == _UNKNOWN and len(error["loc"]) == 1 else ""
    return next(iter(get_close_matches(unknown, names, 1, 0.75)), None)
