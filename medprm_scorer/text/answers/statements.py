"""Where a chain states its answer: `Answer: B`, `the answer is B`, `option B is correct`, a last line `B`."""

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from medprm_scorer.text.answers.plain_text import sentences
from medprm_scorer.text.answers.words import (
    ANSWER,
    CHOOSE,
    CONTRAST,
    DENIED,
    HEDGE,
    HENCE,
    IS,
    IS_CORRECT,
    OPTION,
    SUPPOSED,
    either,
    words,
)

LEAD = r"(?:(?:\(?[0-9]{1,3}[.):]|step [0-9]{1,3}\s?[.:\-–]|[-*•>+]|#{1,6})[ \t]{1,4}){0,3}"
"""What may come before the words of a line: a step's number, a bullet, the mark of a heading."""
_SKIP = r"\s:*_`\"'“”‘’«»„「『=>#→➤✦\-"
LEAD_IN = re.compile(rf"[{_SKIP}]{{0,24}}(?:{words(HEDGE)}(?:[{_SKIP},]{{1,12}}|(?=[(\[]))){{0,3}}", re.IGNORECASE)
"""What may come between the words of a statement and its answer."""
_NOUN = words(ANSWER)
_CUE = re.compile(
    either(
        rf"(?P<colon>{_NOUN}[)\"'”\]]{{0,2}}(?:\s?(?:is|are|ist|est|es|是|は|هي)\s?)?(?:\s?[:=→]|\s[–—-](?=\s)))",
        rf"(?P<heading>(?:\A|(?<=\n)){LEAD}(?:the |my )?(?:(?:final|correct|best|overall) )?"
        rf"{_NOUN}[.:]?[ \t]{{0,4}}\n)",
        rf"(?P<copula>{_NOUN}[)\"'”\]]{{0,2}}(?:\s(?:to|for|in|here|among|of|given)\b[^.\n:;?]{{0,80}}?)?"
        rf"(?:['’]s|\s{{0,4}}(?:{words(HEDGE)}\s{{1,4}}){{0,2}}{words(IS)}))",
        rf"(?P<choose>{words(CHOOSE)})",
        rf"(?P<hence>{words(HENCE)},?\s(?:(?:it is|it['’]s|this is|we choose|i choose) )?"
        rf"(?=(?:the )?(?:{words(OPTION)}\s)?\(?[A-J](?:\)|[.,;\n]|\Z)))",
    ),
    re.IGNORECASE,
)
_PRAISE = re.compile(
    rf"(?:(?:\A|[\n.!?:;,]|{words(HENCE)}|{words(CONTRAST)}|that)[\s\"'(]{{0,4}}(?:the )?|{words(OPTION)}\s?[(\"']?|\()"
    r"(?P<label>(?-i:[A-HJ]))(?=[\s)\]\"'.:,]|[^\x00-\x7f])[)\]\"']{0,2}"
    rf"(?:\s?it is(?! not)|(?:[.:)\s] ?[^.,\n;!?]{{2,80}}?)?,?\s?{words(IS_CORRECT)})",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(words(SUPPOSED), re.IGNORECASE)
_DENIED = re.compile(words(DENIED), re.IGNORECASE)
_CONTRAST = re.compile(words(CONTRAST), re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"[^\n.;?!]{0,80}?(?:\?|,? (?:only )?(?:if|when|unless|in case|were|wenn|falls|only)\b)"
    r"|[.…\s]{0,6}(?:(?:no|wait|nope|nein)\b|hmm)"
    r"|[)\]]?,? (?:for|in|among|with) (?:an? |the )?(?:children|child|pregnan\w+|women|woman|men|man|patients?|adults?"
    r"|infants?|neonates?|elderly|those|cases?|people|immuno\w+|other)\b(?! (?:described|above|here|with these))",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    rf"(?:\A|(?<=\n)){LEAD}(?:why (?:not |the other|others|are|is|[a-e]\b)|(?:the )?other (?:options|choices|answers)"
    r"|(?:incorrect|wrong|rejected|eliminated) (?:options|choices|answers)"
    r"|(?:rationale|explanation|reasons?) (?:for|against) (?:the )?(?:other|incorrect|wrong)|distractors"
    r"|warum (?:nicht|die anderen)|pourquoi pas|por qué no)[^\n]{0,80}(?:\n|\Z)",
    re.IGNORECASE,
)
_FINALLY = re.compile(
    rf"{LEAD}(?:(?:{words(HENCE)}|correction|actually|wait|finally|in (?:conclusion|summary|short)|overall)"
    r"[,:]?\s){0,2}"
    rf"(?:(?:the|my|our) (?:(?:final|correct|best|right) )?)?(?:{words(ANSWER)}|{words(CHOOSE)})",
    re.IGNORECASE,
)
_BELOW = re.compile(rf"\s*{_FINALLY.pattern}", re.IGNORECASE)
_LINE_LEAD = re.compile(rf"\s*{LEAD}(?:{words(HENCE)},?\s)?", re.IGNORECASE)
_ASIDE = re.compile(
    r"\W*(?:confidence|certainty|sources?|references?|citations?|note|disclaimer|remember|please|this is not|i hope"
    r"|let me know|konfidenz|quellen?|hinweis|confiance|confianza|fuentes?|置信度|信心|来源|参考|出典)"
    r"|\W*[0-9]{0,3}\W*\Z",
    re.IGNORECASE,
)
_BACK = 240  # characters before a statement that are checked for a condition or a denial
_MOST = 100  # only this many statements are read, from the end
_LONGEST_LINE = 300


@dataclass(frozen=True)
class Value:
    """The content of a statement; the `repr` shows no text.

    Args:
        answer: The label or the text; None if it names several answers, an option that does not exist, or declines.
        end: Where it ends in the text.
        declined: Whether it says that the question cannot be answered.
    """

    answer: str | None = field(repr=False)
    end: int
    declined: bool = False


class Reader(Protocol):
    """Reads answers, with known options or without."""

    def value(self, text: str, place: int, letters_only: bool = False) -> Value | None:
        """The value at a position of a text without markup; None if there is none.

        Args:
            text: The text.
            place: Offset of the end of the statement's words.
            letters_only: Whether only letters count, not answers in words.
        """

    def alone(self, line: str) -> str | None:
        """The answer, if the line consists only of it."""


@dataclass(frozen=True)
class _Statement:
    place: int
    value: Value
    kind: str  # `line` (`Answer: B`), `sentence` (`the answer is B`) or `praise` (`option B is correct`)


def stated(text: str, reader: Reader) -> Value | None:
    """The statement that counts in a text without markup.

    The last line that gives the answer counts; a later sentence counts only if it ends the text and says nothing else.
    Statements that are hypothetical (`if she were pregnant, …`), denied (`the answer is not …`), questions (`the answer
    is A?`) or about other patients (`the answer is A in children`) do not count, nor does anything after a heading like
    `why not the others`. Praise of an option counts if no other is praised.

    Args:
        text: The chain.
        reader: Reads the values.

    Returns:
        Its value; None if there is no statement that counts.
    """
    starts = [start for start, _ in sentences(text)]
    found = list(_find(text, reader, starts))
    section = _OTHERS.search(text)
    if section and any(statement.place < section.start() for statement in found):
        found = [statement for statement in found if statement.place < section.start()]
    lines = [statement for statement in found if statement.kind == "line"]
    spoken = [statement for statement in found if statement.kind == "sentence"]
    if lines and spoken and lines[-1].place < starts[-1] <= spoken[-1].place and _FINALLY.match(text, starts[-1]):
        return spoken[-1].value
    if lines or spoken:
        return (lines or spoken)[-1].value
    praised = {statement.value.answer for statement in found}
    return found[-1].value if len(praised) == 1 else Value(None, 0) if praised else None


def _find(text: str, reader: Reader, starts: Sequence[int]) -> Iterator[_Statement]:
    last_end = headed = 0
    for cue in deque(_CUE.finditer(text), _MOST):
        if cue.start() < last_end:
            continue
        below = _BELOW.match(text, cue.end()) if cue.lastgroup == "heading" else None
        if below is not None:  # `Final answer`, and below it `The answer is B`
            headed = (text + "\n").index("\n", below.end())
            continue
        value = reader.value(text, cue.end(), letters_only=cue.lastgroup == "hence")
        is_line = cue.lastgroup in ("colon", "heading") or cue.start() < headed
        if value is None and is_line and cue.start() >= starts[-1] and text[cue.end() :].strip():
            value = Value(None, len(text))  # an answer that is not an option: the prose is not read for what it affirms
        if value is not None and _is_meant(text, cue.start(), value.end, starts, last_end):
            last_end = value.end
            yield _Statement(cue.start(), value, "line" if is_line else "sentence")
    value = _last_line(text, reader)
    if value is not None:
        yield _Statement(value.end, value, "line")
    for praise in deque(_PRAISE.finditer(text), _MOST):
        place = praise.start("label")
        value = reader.value(text, place, letters_only=True)
        if value is not None and value.answer is not None and _is_meant(text, place, value.end, starts, 0):
            yield _Statement(place, value, "praise")


def _is_meant(text: str, start: int, end: int, starts: Sequence[int], since: int) -> bool:
    """Whether a statement is not hypothetical, denied, a question, or taken back immediately."""
    index = bisect_right(starts, start) - 1
    before = text[max(starts[index] if index >= 0 else 0, since, start - _BACK) : start]
    turns = [turn.end() for turn in _CONTRAST.finditer(before)]
    before = before[turns[-1] :] if turns else before
    clause = re.split(r"[,;:]", before)[-1]
    return not (_SUPPOSED.search(before) or _DENIED.search(clause) or _TAKEN_BACK.match(text, end))


def _last_line(text: str, reader: Reader) -> Value | None:
    """The last line if it is only an answer, and the line before is not another one, as in a list of all options."""
    lines: list[tuple[int, str]] = []
    end = len(text)
    while end > 0 and len(lines) < 2:
        start = text.rfind("\n", 0, end) + 1
        line = _LINE_LEAD.sub("", text[start:end], count=1).strip()
        if line and not _ASIDE.match(line):
            lines.append((start, line))
        end = start - 1
    answers = [reader.alone(line) if len(line) <= _LONGEST_LINE else None for _, line in lines]
    if not answers or answers[0] is None or (len(answers) > 1 and answers[1] not in (None, answers[0])):
        return None
    return Value(answers[0], lines[0][0])
