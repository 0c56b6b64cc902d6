"""The answer of a chain to a question whose options are yes, no and maybe, where no statement gives it."""

import re
from collections.abc import Sequence

from medprm_scorer.text.answers.mentions import content, tokens
from medprm_scorer.text.answers.options import OptionSet
from medprm_scorer.text.answers.plain_text import sentences
from medprm_scorer.text.answers.statements import LEAD
from medprm_scorer.text.answers.words import HENCE, YES_NO, words

_OPENING = re.compile(
    rf"\s*{LEAD}(?:(?:{words(HENCE)}|in conclusion|in summary|overall|based on [^.\n,]{{1,120}}),?\s)?"
    r"[\"'(]?([^\W\d_]+(?:[- ]être)?)[\"')]?(?=[,.;:!—–-]|\s[-–—]|\Z)",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    rf"{words(HENCE)}|in conclusion|in summary|overall|based on|it (?:can be|is reasonable to) conclude", re.IGNORECASE
)
_CAN_SAY = re.compile(
    r"\b(?:it|we|one) can(?: be)? (?:conclude|infer|sa(?:id|y)|see|argue|state|deduce)\w*|can be considered",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:may|might|could|can|possibl\w+|potential\w*|depend\w*|whether|if|not|no|unclear|uncertain|mixed|limited"
    r"|however|although|while|but|further|determine|partial\w*|to some extent|neither|without|unlikely|cannot"
    r"|warrant\w*|should be)\b|n['’]t\b",
    re.IGNORECASE,
)
_AUXILIARIES = frozenset(
    stem for _, stem in content(tokens("do does did is are was were has have can could should will would may"))
)
_RESTATED = 0.7  # of the question's words
_FEWEST = 3


def yes_or_no(text: str, options: OptionSet, question: str) -> str | None:
    """The option that a chain chooses by how it begins or ends.

    Its first sentence or one of its last two begins with `yes`, `no` or `maybe` (`Therefore, yes, …`); or its last
    sentence concludes, in the words of the question and without a doubt, that it is so, which is yes. A conclusion that
    denies or doubts is not read: it may mean `no` as well as `maybe`.

    Args:
        text: The chain without markup.
        options: The options; `yes_no` is not empty.
        question: The question; "" if it is not known.

    Returns:
        The label or None.
    """
    spans = list(sentences(text))
    heard = set()
    for start, end in [*spans[:1], *spans[1:][-2:]]:
        word = _OPENING.match(text, start, end)
        meaning = YES_NO.get(word.group(1).casefold()) if word else None
        if meaning in options.yes_no:
            heard.add(options.yes_no[meaning])
    if heard:
        return heard.pop() if len(heard) == 1 else None
    return options.yes_no.get("yes") if _restates(text, spans, question) else None


def _restates(text: str, spans: Sequence[tuple[int, int]], question: str) -> bool:
    asked = {stem for _, stem in content(tokens(question.split("\n(")[0]))} - _AUXILIARIES
    if len(asked) < _FEWEST or not spans or not _CONCLUDES.search(text, *spans[-1]):
        return False
    sentence = _CAN_SAY.sub("", text[slice(*spans[-1])])
    said = {stem for _, stem in content(tokens(sentence))}
    return not _DOUBT.search(sentence) and len(asked & said) >= _RESTATED * len(asked)
