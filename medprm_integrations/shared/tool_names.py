"""Which of an agent's tools give evidence, judged by name: those that look something up, not those that act."""

import re

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")

_ACTS = (
    "add admit append apply approve assign book cancel create delete discharge draft edit email escalate forward hand "
    "handoff insert modify move notify order page pay plan post prescribe publish refer register remember remove "
    "rename reply reschedule save schedule send share sign store submit task think transfer update upload write"
)
_LOOKS = "browse check fetch find get list look lookup query read retrieve search show view"

_ACTING = frozenset(_ACTS.split())
"""First words of the names of tools that act (their results are receipts), plan, or pass the conversation on."""

_LOOKING = frozenset(_LOOKS.split())
"""Words that show that a tool looks something up anyway, as in `order_history_search`."""


def brings_evidence(name: str | None) -> bool:
    """Whether a tool's results are evidence by default (without `evidence_tools`).

    Results of tools that act are receipts (`order_drug`, `send_message`). Results of tools that plan or remember are
    the language model's own text (`write_todos`, `think`). Results of tools that pass the conversation on to another
    agent contain nothing (`transfer_to_cardiology`, `handoff`). All of these are recognized by the first word of their
    names. A tool without a name counts as one that looks something up.

    Args:
        name: Name of the tool, its words joined by underscores or capitals.

    Example:
        >>> brings_evidence("search_labels"), brings_evidence("order_history_search")
        (True, True)
        >>> brings_evidence("orderDrug"), brings_evidence("transfer_to_cardiology")
        (False, False)
    """
    words = [word.lower() for word in _WORD.findall((name or "")[:200])]
    return not words or words[0] not in _ACTING or not _LOOKING.isdisjoint(words)
