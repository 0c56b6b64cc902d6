"""The names of the tools whose results are evidence."""

import warnings
from collections.abc import Collection, Sequence

from medprm_integrations.shared.user_warnings import first_time
from medprm_scorer.errors import InputError


class UnknownToolWarning(UserWarning):
    """A tool whose results were to be evidence is none of the tools that there are."""


def tool_names(names: object) -> tuple[str, ...] | None:
    """The names as a user gave them.

    Args:
        names: A list of names; None for all tools.

    Raises:
        InputError: It is no list of names.

    Example:
        >>> tool_names("search")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: evidence_tools must be a list of tool names
    """
    if names is None:
        return None
    if not isinstance(names, Collection) or isinstance(names, str | bytes):
        raise InputError("evidence_tools must be a list of tool names")
    if not all(isinstance(name, str) for name in names):
        raise InputError("evidence_tools must be a list of tool names")
    return tuple(names)


def warn_of_unknown(names: Sequence[str] | None, known: Collection[str], source: object) -> None:
    """Warn, once for each source, of names that none of the tools has.

    Args:
        names: Names of the tools whose results are evidence; None for all.
        known: Names of the tools that there are.
        source: What was given the names.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_unknown(["serch"], ["search", "weigh"], lambda: None)
        >>> str(caught[0].message)
        "evidence_tools: there is no tool 'serch'; the tools are 'search', 'weigh'"
    """
    unknown = [name for name in names or () if name not in known]
    if not known or not unknown or not first_time(source, ("tools", *unknown)):
        return
    none = f"no tool {unknown[0]!r}" if len(unknown) == 1 else f"none of the tools {', '.join(map(repr, unknown))}"
    warnings.warn(
        f"evidence_tools: there is {none}; the tools are {', '.join(map(repr, sorted(known)))}",
        UnknownToolWarning,
        stacklevel=2,
    )
