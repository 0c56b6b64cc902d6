"""Whether a chain ends by saying that the question cannot be answered."""

import re

from medprm_scorer.text.answers.plain_text import sentences
from medprm_scorer.text.answers.words import DECLINING, SUPPOSED, words

DECLINES = re.compile(words(DECLINING), re.IGNORECASE)
_SUPPOSED = re.compile(words(SUPPOSED), re.IGNORECASE)
_LAST = 2


def declines_at_end(text: str) -> bool:
    """Whether one of the last two sentences declines, and not just hypothetically.

    Example:
        >>> declines_at_end("Fever is given. The dose cannot be determined from the documents.")
        True
        >>> declines_at_end("The dose is 5 mg.")
        False
    """
    spans = list(sentences(text))[-_LAST:]
    return any(DECLINES.search(text, *span) and not _SUPPOSED.search(text, *span) for span in spans)
