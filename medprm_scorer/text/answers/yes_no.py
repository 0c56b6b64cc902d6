"""The answer of a chain to a question whose options are yes, no and maybe, if no statement gives it."""

import re
from collections.abc import Sequence

from medprm_scorer.text.answers.asked import Asked
from medprm_scorer.text.answers.mentions import stem, tokens
from medprm_scorer.text.answers.options import OptionSet
from medprm_scorer.text.answers.plain_text import sentences
from medprm_scorer.text.answers.statements import LEAD
from medprm_scorer.text.answers.words import HENCE, YES_NO, either, words

_OPENING = re.compile(
    rf"\s*{LEAD}(?:(?:{words(HENCE)}|in conclusion|in summary|overall|based on [^.\n,]{{1,120}}),?\s)?"
    r"[\"'(]?([^\W\d_]+(?:[- ]être)?)[\"')]?(?=[,.;:!—–-]|\s[-–—]|\Z)",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    either(
        rf"{words(HENCE)}|in conclusion|in summary|overall|based on|it (?:can be|is reasonable to) conclude",
        r"\b(?:this|these|all|findings|results|evidence|documents|studies)(?: \w+){0,3}"
        r" (?:suggest|indicate|support|mean|impl[yi]|show|demonstrate)",
    ),
    re.IGNORECASE,
)
_CAN_SAY = re.compile(
    r"\b(?:it|we|one) can(?: be)? (?:conclude|infer|sa(?:id|y)|see|argue|state|deduce)\w*|can be considered"
    r"|\bcan(?= (?:indeed|also|significantly|effectively|accurately|reliably)\b)",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:may|might|could|can|possibl\w+|potential\w*|depend\w*|whether|if|no|unclear|uncertain|mixed|limited"
    r"|however|although|while|but|further|determine|partial\w*|to some extent|neither|without|unlikely|cannot|should"
    r"|some|certain|cases|individuali[sz]ed|generally|necessarily|completely|always|solely|only|more|seems?|appears?)\b",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(?:is|are|was|were|do|does|did|has|have|should|would) not\b|n['’]t\b|\bnot\b", re.IGNORECASE)
_MIXED = re.compile(
    r"\b(?:evidence|findings|results|data|studies|answer|documents)\b[^.\n]{0,60}\b"
    r"(?:inconclusive|conflicting|mixed|inconsistent|contradictory|not conclusive)\b"
    r"|\b(?:conflicting|inconclusive|contradictory|mixed) (?:evidence|findings|results|data)\b",
    re.IGNORECASE,
)
_RESTATED = 0.7  # share of the question's words
_FEWEST = 3


def yes_or_no(text: str, options: OptionSet, asked: Asked) -> str | None:
    """The option that a chain chooses by how it begins or ends.

    Its first sentence or one of its last two begins with `yes`, `no` or `maybe` (`Therefore, yes, …`); or its last
    sentence concludes, in the words of the question and without a doubt, that it is so (yes) or that it is not so (no);
    or it says that the evidence is conflicting (maybe). Other doubts are not read.

    Args:
        text: The chain without markup.
        options: The options; `yes_no` is not empty.
        asked: What the question asks.

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
    return options.yes_no.get(_concluded(text, spans, asked) or "")


def _concluded(text: str, spans: Sequence[tuple[int, int]], asked: Asked) -> str | None:
    """What the last sentence concludes: `yes`, `no`, `maybe` or nothing."""
    if not spans:
        return None
    sentence = text[slice(*spans[-1])]
    if _MIXED.search(sentence):
        return "maybe"
    if len(asked.own_words) < _FEWEST or not _CONCLUDES.search(sentence):
        return None
    sentence = _CAN_SAY.sub("", sentence)
    doubts = [doubt for doubt in _DOUBT.findall(sentence) if stem(doubt.casefold()) not in asked.words]
    if doubts or asked.restated(tokens(sentence)) < _RESTATED:
        return None
    denials = len(_NOT.findall(sentence))
    return "yes" if not denials else "no" if denials == 1 and not asked.inverted else None
