r"""Steps without a label: numbered lists, headings, bullets, paragraphs, lines, counted sentences, sentences.

Each finder takes a text whose lines end in `\\n` alone, and returns the places where its steps start; fewer than two
mean that the text does not have that layout. A line or paragraph that only gives the answer (`**Final Answer:** B`)
starts no step: it belongs to the step before.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from medprm_scorer.text.steps.markup import Start, emphasis, is_rule_line
from medprm_scorer.text.steps.words import ANSWER_HEADS, NEXT_ORDINALS, ORDINALS

# All repeats are bounded or cannot overlap with what follows them: linear time.
_MARKS = r"(?:#{1,6}[ \t]+)?[*_]{0,3}"
# `1.5 mg` at the start of a line is a dose and `1:30` a time; three digits keep int() away from hostile runs of digits
_NUMBERED = re.compile(
    rf"(?P<indent>[ \t]*)(?P<marks>{_MARKS})"
    r"(?P<label>(?P<open>[(（])?(?P<number>\d{1,3})(?(open)[)）]|(?:[.)](?!\d)|[．）、：]|:(?=[ \t*_]|\Z)))"
    r"|(?P<circled>[①-⑳]))(?P<close>[*_]{0,3})"
)
_INLINE_NUMBERED = re.compile(
    r"(?:\A|(?<=[.!?:;。！？；：)])[ \t]{1,3}|(?<=[。！？；：]))"
    r"(?P<open>[(（])?(?P<number>\d{1,2})(?(open)[)）]|[.)、])(?=[ \t]{1,3}[^\W\d_]|[一-鿿])"
)
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+\S")
_BOLD_TITLE = re.compile(r"[ \t]{0,3}(?:\*\*|__)[^*_\n]{1,120}(?::(?:\*\*|__)|(?:\*\*|__)[ \t]?:|(?:\*\*|__)[ \t]*\Z)")
_BULLET = re.compile(r"([ \t]*)([-*+•·–▪‣◦●○■▶►➢✓])[ \t]+(?=\S)")
_ANSWER_LINE = re.compile(
    rf"[ \t>#*_]{{0,12}}(?:{'|'.join(sorted(map(re.escape, ANSWER_HEADS), key=len, reverse=True))})"
    r"(?:[ \t*_]{0,5}[:：]|[ \t*_]{0,5}\Z)",
    re.IGNORECASE,
)
_BARE_ANSWER = re.compile(r"[ \t>*_(\[]{0,8}[A-J][ \t*_)\].]{0,8}")
_GOES_ON = re.compile(r"[ \t]*[a-zß-öø-ÿа-яα-ω](?![.)])")  # continues a sentence of the line before, but not `a) …`
_LINE_END = re.compile(r"[.!?;。！？；…][)\]*_\"'”’」]{0,4}[ \t]*\Z")
_ORDINAL_VALUES = {word: place for words in ORDINALS for place, forms in enumerate(words, start=1) for word in forms}
_ORDINAL = re.compile(
    rf"(?:\A|(?<=[.!?:;。！？；：\n])[ \t]{{0,3}})"
    rf"({'|'.join(sorted(map(re.escape, [*_ORDINAL_VALUES, *NEXT_ORDINALS]), key=len, reverse=True))})"
    r"[ \t]?[,，،、:：]",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!?…]{1,3}[)\]\"'”’*_]{0,4}[ \t\n]+(?=\S)|[。！？][」』”）]?|\n[ \t]*\n")
_ABBREVIATION = re.compile(
    r"(?:\b(?i:e\.g|i\.e|cf|vs|dr|mr|mrs|ms|st|prof|fig|figs|nr|al|ca|approx|resp|incl|z\.b|d\.h|bzw|sog|ggf)"
    r"|(?:\A|[\s(])[A-Z]|(?:\A|\n|[.!?] )[ \t]*\(?\d{1,3})\.\Z"
)
_FRONT = 200  # characters that may come before the first item of a list, if they are more than the list itself


def numbered(text: str) -> list[Start]:
    """Lines numbered 1, 2, 3, …: `1.`, `1)`, `(1)`, `1:`, `1、`, `①`.

    A line out of sequence, or with another indentation (a list within a list), is plain text. Lists that start again
    under headings are parts of steps, and are not split.
    """
    starts: list[Start] = []
    indent = ""
    again = False
    for begin, line in _lines(text):
        item = _NUMBERED.match(line)
        if item is None or (starts and item["indent"] != indent):
            continue
        again = again or (len(starts) >= 2 and _number(item) == 1)
        if _number(item) == len(starts) + 1:
            indent = item["indent"]
            starts.append(_item(begin, item))
    return [] if again and len(headings(text)) >= 2 else _if_most(text, starts)


def inline_numbered(text: str) -> list[Start]:
    """Sentences numbered 1, 2, 3, …: `1. Fever. 2. Lipase.`; `1` starts the text, or there are at least three."""
    starts: list[Start] = []
    for item in _INLINE_NUMBERED.finditer(text):
        if int(item["number"]) == len(starts) + 1:
            starts.append(Start(item.start(), item.start()))
    return _if_most(text, starts) if len(starts) >= 3 or (starts and not starts[0].begin) else []


def headings(text: str) -> list[Start]:
    """Markdown headings (`#` to `######`), or lines that start with a bold title (`**History**`, `**History:** …`).

    If headings have several levels, those of the first level that occurs twice count.
    """
    found = [(len(mark[1]), begin, line) for begin, line in _lines(text) if (mark := _HEADING.match(line))]
    levels = [level for level, _, line in found if not is_answer(line)]
    twice = [level for level in sorted(set(levels)) if levels.count(level) >= 2]
    chosen = [
        Start(begin, begin) for level, begin, line in found if not is_answer(line) and (not twice or level == twice[0])
    ]
    if len(chosen) < 2:
        chosen = [Start(b, b) for b, line in _lines(text) if _BOLD_TITLE.match(line) and not is_answer(line)]
        chosen = _if_most(text, chosen)
    return chosen


def bullets(text: str) -> list[Start]:
    """Items of one list, all with the same indentation, that makes up most of the text."""
    starts: list[Start] = []
    style: tuple[str, str] | None = None
    inside = outside = 0
    in_item = False
    for begin, line in _lines(text):
        item = _BULLET.match(line)
        if item and style in (None, item.groups()) and not is_answer(line):
            style = (item[1], item[2])
            starts.append(Start(begin, begin + item.end()))
            in_item = True
        elif line.strip():
            in_item = in_item and (line[:1] in " \t" or item is not None)
        inside, outside = (inside + len(line), outside) if in_item else (inside, outside + len(line))
    return starts if inside >= outside else []


def paragraphs(text: str) -> list[Start]:
    """Runs of lines between blank lines or rules (`---`)."""
    starts: list[Start] = []
    blank = True
    for begin, line in _lines(text):
        was_blank, blank = blank, not line.strip() or is_rule_line(line)
        if was_blank and not blank and not (starts and is_answer(line)):
            starts.append(Start(begin, begin))
    return starts


def lines(text: str) -> list[Start]:
    """Lines of one paragraph that are whole sentences, not the lines of a wrapped text."""
    filled = [(begin, line) for begin, line in _lines(text) if line.strip()]
    starts = [Start(begin, begin) for place, (begin, line) in enumerate(filled) if not place or not is_answer(line)]
    if not all(_LINE_END.search(line[-12:]) for _, line in filled[:-1]):
        return []
    return [] if any(_GOES_ON.match(line) for _, line in filled) else starts


def ordinals(text: str) -> list[Start]:
    """Sentences that start `First, …`, `Second, …`, with `Next, …` and `Finally, …` after them."""
    starts: list[Start] = []
    count = 0
    for word in _ORDINAL.finditer(text):
        value = _ORDINAL_VALUES.get(word[1].casefold(), 0)
        if value == count + 1 or (not value and starts):
            count = value or count
            starts.append(Start(word.start(), word.start()))
    return _if_most(text, starts)


def sentences(text: str) -> list[Start]:
    """Sentences, for prose that has no other structure. Neither `Dr. X`, `e.g. X`, `1.5` nor `B. X` ends one."""
    ends = [0]
    for end in _SENTENCE.finditer(text):
        piece = text[max(0, end.start() - 12) : end.start() + 1]
        following = text[end.end() : end.end() + 1]
        if not (end.group()[0] == "." and (_ABBREVIATION.search(piece) or following.islower())):
            ends.append(end.end())
    return [Start(begin, begin) for begin, end in pairwise([*ends, len(text)]) if text[begin:end].strip()]


def is_answer(line: str) -> bool:
    """Whether a line only gives the answer: `**Final Answer:** B`, `Answer: B`, `(B)`."""
    return bool(_ANSWER_LINE.match(line) or _BARE_ANSWER.fullmatch(line))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    begin = 0
    for line in text.split("\n"):
        yield begin, line
        begin += len(line) + 1


def _number(item: re.Match[str]) -> int:
    return ord(item["circled"]) - ord("①") + 1 if item["circled"] else int(item["number"])


def _item(begin: int, item: re.Match[str]) -> Start:
    """A numbered item; emphasis around only its number is dropped, and emphasis that its title closes as well."""
    opened = emphasis(item["marks"])
    closed = opened and item["close"] == opened
    end = item.end() if closed else item.end("label")
    return Start(begin, begin + end, item["label"], "" if closed else opened)


def _if_most(text: str, starts: list[Start]) -> list[Start]:
    """The starts, unless most of the text comes before the first: then they are a list within prose."""
    front = starts[0].begin if starts else 0
    return starts if front <= max(_FRONT, len(text) - front) else []
