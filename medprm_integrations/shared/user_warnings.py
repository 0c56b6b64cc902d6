"""Warnings for users. They contain no text of a question, a document or an answer."""

import warnings
from collections.abc import Collection, Hashable, Sequence
from typing import Any
from weakref import finalize

from medprm_scorer.sampling.drawing import Drawing
from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET


class IdenticalSamplesWarning(UserWarning):
    """All samples of a question are the same text, so there is nothing to choose."""


class SamplesFailedWarning(UserWarning):
    """Some samples of a question failed, so the choice is among fewer than requested."""


class DocumentsLeftOutWarning(UserWarning):
    """The reward model did not read some or all of the documents."""


class ExplanationFailedWarning(UserWarning):
    """The winner should have been explained (`explain=True`), but could not be."""


class UnknownToolWarning(UserWarning):
    """A tool whose results should be evidence does not exist."""


def warn_of_failures(drawing: Drawing[Any]) -> None:
    """Warn when some samples failed, with only the types of their errors, whose texts may contain the prompt."""
    if drawing.errors and drawing.values:
        kinds = ", ".join(dict.fromkeys(type(error).__name__ for error in drawing.errors))
        warnings.warn(
            f"{len(drawing.errors)} of {drawing.finished} samples failed ({kinds}): "
            f"choosing among {len(drawing.values)}",
            SamplesFailedWarning,
            stacklevel=2,
        )


def warn_of_identical(texts: Sequence[str], source: object) -> None:
    """Warn, once for each source, when there are several candidates but all are the same text.

    Args:
        texts: The candidates.
        source: Where they come from, such as the language model.
    """
    if len(texts) > 1 and len(set(texts)) == 1 and texts[0].strip() and first_time(source, "identical"):
        warnings.warn(
            f"all {len(texts)} samples are identical, so there is nothing to choose: raise the language model's "
            "temperature above 0 and turn off its cache",
            IdenticalSamplesWarning,
            stacklevel=2,
        )


def unread(used: int, given: int) -> str:
    """One sentence that says how many documents the reward model read, if not all.

    Example:
        >>> unread(2, 5)
        '2 of 5 documents were read: the others exceed the budget of 3,072 tokens.'
    """
    if used:
        said = f"{used} of {given} documents were read: the others exceed"
    elif given == 1:
        said = "The only document was not read: it exceeds"
    else:
        said = f"None of the {given} documents was read: each exceeds"
    return f"{said} the budget of {DOCUMENT_TOKEN_BUDGET:,} tokens."


def warn_of_unread(used: int, given: int) -> None:
    """Warn that some or all of the documents were not read."""
    if used:
        said = f"{used} of {given} documents were read: the others exceed"
    elif given == 1:
        said = "the only document was not read: it exceeds"
    else:
        said = f"none of {given} documents was read: the first exceeds"
    budget = f"the model's budget of {DOCUMENT_TOKEN_BUDGET:,} tokens"
    warnings.warn(f"{said} {budget}; split documents smaller", DocumentsLeftOutWarning, stacklevel=2)


def warn_of_unknown_tools(names: Sequence[str] | None, known: Collection[str], source: object) -> None:
    """Warn, once for each source, about names that no tool has.

    Args:
        names: Names of the tools whose results are evidence; None for all.
        known: Names of the existing tools.
        source: The object that was given the names.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_unknown_tools(["serch"], ["search", "weigh"], lambda: None)
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


_warned: set[tuple[int, Hashable]] = set()


def first_time(source: object, about: Hashable) -> bool:
    """Whether this is the first call for this object and subject.

    Args:
        source: The object; it is forgotten when it is garbage-collected.
        about: The subject of the warning.

    Example:
        >>> source = lambda: None
        >>> first_time(source, "slow"), first_time(source, "slow"), first_time(source, "loud")
        (True, False, True)
    """
    key = (id(source), about)
    if key in _warned:
        return False
    _warned.add(key)
    finalize(source, _warned.discard, key)
    return True
