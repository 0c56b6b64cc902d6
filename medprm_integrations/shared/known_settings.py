"""Settings that an object does not know are refused: a slip of the pen would leave a default in force, in silence."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, model_validator

OF_A_CALL = ("temperature", "top_p", "top_k", "seed", "stop", "max_tokens", "max_completion_tokens")
"""Settings of the language model that a call of it takes, too."""
OF_THE_MODEL = (
    *OF_A_CALL,
    *("model", "model_name", "api_key", "api_base", "base_url", "timeout", "max_retries", "streaming"),
)
"""Settings that people look for here and that belong to the language model."""


class KnownSettings(BaseModel):
    """For pydantic classes whose framework lets unknown arguments pass: they take their fields and nothing else.

    The framework's own fields, such as `name`, `tags` or `callback_manager`, are fields too.
    """

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = cls._adopted(values)
            refuse_unknown(values, _names(cls), values.get("llm") if "llm" in cls.model_fields else None)
        return values

    @classmethod
    def _adopted(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The settings, with what a class takes beside its fields put where it belongs."""
        return values


def refuse_unknown(given: Iterable[str], known: Iterable[str], llm: object = None) -> None:
    """Refuse the first setting that is not known, and say which was likely meant.

    Args:
        given: Names of the settings that somebody gives.
        known: Names that there are.
        llm: The language model that the settings stand beside; None for none.

    Raises:
        ValueError: One is unknown; pydantic makes its own error of it.

    Example:
        >>> refuse_unknown(["prm", "agregate"], ["prm", "strategy", "aggregate"])
        Traceback (most recent call last):
        ValueError: unknown setting 'agregate': did you mean 'aggregate'?
    """
    names = list(known)
    for name in given:
        if name in names:
            continue
        if llm is not None and (name in OF_THE_MODEL or name in getattr(type(llm), "model_fields", {})):
            raise ValueError(f"unknown setting {name!r}: set it on llm")
        close = get_close_matches(name, names, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
        raise ValueError(f"unknown setting {name!r}: {advice}")


def _names(cls: type[BaseModel]) -> list[str]:
    """The fields' names, and their other names where they have any."""
    aliases = [field.alias for field in cls.model_fields.values() if field.alias]
    return list(dict.fromkeys([*cls.model_fields, *aliases]))
