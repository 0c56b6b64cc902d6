"""Which results of an agent's tools are evidence: those of tools that look something up, if they found something."""

import re

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")

_ACTS = (
    "add admit append apply approve assign book cancel create delete discharge draft edit email escalate forward hand "
    "handoff insert modify move notify order page pay plan post prescribe publish refer register remember remove "
    "rename reply reschedule save schedule send share sign store submit task think transfer update upload write"
)
_LOOKS = "browse check fetch find get list look lookup query read retrieve search show view"

_NOTHING = re.compile(
    r"""\s* (?: \[\s*\] | \{\s*\} | ""
    | (?: sorry\W+ | there \s (?:are|is|were|was) \s | (?:i|we) \s (?:could \s not \s find|found) \s )?
      (?: (?:no|any|0|zero) \s (?:(?:relevant|matching|such|similar|further|search) \s){0,2}
          (?:documents?|results?|hits?|entr(?:y|ies)|passages?|articles?|sources?|nodes?|pages?)
          (?: \s (?:was|were|is|are|have \s been))? (?: \s (?:found|available|returned|retrieved))?
          (?: \s (?:for|matching) \b [^.;:\n]{0,80} )?
        | nothing (?: \s was)? \s found | (?:not|none) \s found | empty \s (?:response|result) | null | n/?a
      )
    )? [.!\s]*""",
    re.IGNORECASE | re.VERBOSE,
)
"""What searches say that found nothing, and empty JSON."""

_LONGEST_NOTHING = 200

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


def found_nothing(result: str) -> bool:
    """Whether a tool's result only says that there is none, such as `No documents found.` or `[]`.

    Only general words for results count: "No interactions found." is a finding.

    Args:
        result: The result's text.

    Example:
        >>> found_nothing("No relevant documents were found for this query."), found_nothing("[]")
        (True, True)
        >>> found_nothing("No interactions found."), found_nothing("Results: none of the trials was blinded.")
        (False, False)
    """
    return len(result) <= _LONGEST_NOTHING and _NOTHING.fullmatch(result) is not None
