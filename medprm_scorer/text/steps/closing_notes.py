r"""Lists of sources and disclaimers at the end of a chain, which are not reasoning.

They are separated so that no reward is read after them. To be safe, a block counts only if all of this holds:

- it is the end of the text, and there is text before it;
- sources: it starts with a line `Sources`, `References:`, …, possibly with markup around it, and each of its lines
  looks like a source (a bullet, a number, `[1]`, a link, a year);
- a disclaimer: it is one paragraph of at most 700 characters that starts like one (`Note:`, `This is not …`), holds a
  phrase like `medical advice`, and no digit (a dose is not a disclaimer);
- it does not give an answer (`answer is`, `diagnosis:`, `option B`, `\boxed`), and contains no step label.
"""

import re

from medprm_scorer.text.steps.labels import label_starts
from medprm_scorer.text.steps.markup import is_rule_line
from medprm_scorer.text.steps.words import DISCLAIMER_HEADS, DISCLAIMER_PHRASES, SOURCE_HEADS

_MARKS = r"[ \t>#*_\-\[(⚠️]{0,12}"


def _any(words: tuple[str, ...]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_SOURCES = re.compile(
    rf"^{_MARKS}(?:{_any(SOURCE_HEADS)})(?:[*_]{{0,3}}[ \t]{{0,2}}[:：]|[ \t*_]{{0,5}}$)", re.IGNORECASE | re.MULTILINE
)
_SOURCE_LINE = re.compile(
    r"[ \t]*(?:[-*+•–▪]|\(?\d{1,3}[.)\]]|\[\^?\w{1,20}\])"
    r"|.{0,2000}?(?:https?:|www\.|\bdoi\b|\bpmid\b|\b(?:19|20)\d\d\b|\[\d{1,3}\]|\bet al\b|\bguidelines?\b"
    r"|\bdocuments? \[?\d)",
    re.IGNORECASE,
)
_DISCLAIMER = re.compile(rf"{_MARKS}(?:{_any(DISCLAIMER_HEADS)})(?![^\W_])", re.IGNORECASE)
_DISCLAIMER_SAYS = re.compile(_any(DISCLAIMER_PHRASES), re.IGNORECASE)
_ANSWERS = re.compile(
    r"(?:answer|diagnosis|antwort|réponse|respuesta)[*_]{0,3}\s{0,3}(?:is\b|ist\b|[:：])|\\boxed"
    r"|\b(?:option|choice)\s{1,3}\(?[A-J]\b|答案|答え|الإجابة",
    re.IGNORECASE,
)
_LONGEST_DISCLAIMER = 700  # characters
_MOST_BLOCKS = 3


def split_closing_notes(text: str) -> tuple[str, str]:
    """Split a chain into its reasoning and the notes after it.

    Args:
        text: The text, its lines ending in `\\n` alone.

    Returns:
        The reasoning, and the closing notes as written, stripped; "" if there are none.

    Example:
        >>> split_closing_notes("Step 1: So (B).\\n\\nSources:\\n- WHO 2023\\n- NICE NG185")
        ('Step 1: So (B).', 'Sources:\\n- WHO 2023\\n- NICE NG185')
        >>> split_closing_notes("Step 1: Sources: none. So (B).")
        ('Step 1: Sources: none. So (B).', '')
    """
    end = len(text)
    for _ in range(_MOST_BLOCKS):
        end = len(text[:end].rstrip())
        begin = max(_sources(text, end), _disclaimer(text, end))
        if begin <= 0 or not text[:begin].strip():
            break
        end = begin
    reasoning, notes = text[:end].rstrip(), text[end:].strip()
    above, _, last = reasoning.rpartition("\n")
    if is_rule_line(last):  # between the reasoning and its notes
        reasoning = above.rstrip()
    return (reasoning, notes) if notes and reasoning else (text, "")


def _sources(text: str, end: int) -> int:
    """Where the last list of sources starts; -1 if the text does not end with one."""
    head = None
    for head in _SOURCES.finditer(text, 0, end):  # noqa: B007 - the last one is needed
        pass
    if head is None or _gives_an_answer(text[head.start() : end]):
        return -1
    lines = [line for line in text[head.end() : end].split("\n") if line.strip(" \t*_")]
    return head.start() if lines and all(map(_SOURCE_LINE.match, lines)) else -1


def _disclaimer(text: str, end: int) -> int:
    """Where a disclaimer in the last paragraph starts; -1 if it is not one."""
    begin = max(text.rfind(gap, 0, end) + len(gap) if gap in text[:end] else -1 for gap in ("\n\n", "\n---\n"))
    block = text[max(begin, 0) : end]
    if begin < 0 or len(block) > _LONGEST_DISCLAIMER or any(map(str.isdigit, block)):
        return -1
    is_one = _DISCLAIMER.match(block) and _DISCLAIMER_SAYS.search(block) and not _gives_an_answer(block)
    return begin if is_one else -1


def _gives_an_answer(block: str) -> bool:
    return _ANSWERS.search(block) is not None or bool(label_starts(block))
