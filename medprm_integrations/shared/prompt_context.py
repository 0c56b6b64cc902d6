"""Detects documents in a prompt that are not passed to the reward model."""

import re
from collections.abc import Iterable

_LABEL = re.compile(
    r"(?:^|\n)[ \t#*<\[(]{0,8}(?:(?:the|retrieved|relevant|given|source|search|medical|clinical) ){0,2}"
    r"(?:context|documents?|passages?|sources?|excerpts?|results|knowledge)\b[^\n:>]{0,30}[:>]",
    re.IGNORECASE,
)
"""A line like the headings that templates put above documents: `Context:`, `## Retrieved documents:`, `<context>`."""

_READ = 20_000

NOT_GIVEN = (
    "The prompt seems to contain documents, but none were given to the reward model as evidence: its rewards ignore "
    "them (see evidence= in the settings)."
)
"""The caution."""


def holds_documents(texts: Iterable[str]) -> bool:
    r"""Whether texts of a prompt have a heading for documents.

    Args:
        texts: The texts of system and user messages; only the first 20,000 characters of each are read.

    Example:
        >>> holds_documents(["Use this.\nContext: the label says 5 mg"])
        True
        >>> holds_documents(["In this context: which dose?"])
        False
    """
    return any(_LABEL.search(text[:_READ]) for text in texts)
