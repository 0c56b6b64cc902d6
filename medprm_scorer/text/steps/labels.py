r"""Steps with a label: `Step 1:`, `**Step 1** -`, `STEP ONE.`, `Schritt 1:`, `第一步：`, `الخطوة 1`.

A label starts a step where a reader sees one start:

- at the start of a line, possibly after markup;
- inside a line, after a full stop, if it is written as in training (`Step 2:`);
- inside a line, after any end of a sentence, if its number is the next one or it is the first;
- inside a line, anywhere, if it is written as in training, its number is the next one, and no two labels start a line:
  a whole chain on one line.

A label after a referring word (`as in Step 1: …`) starts no step. English labels are written as in training (`Step 1:`,
with the number unchanged) so that the layout of a chain does not affect its rewards; all others stay unchanged, without
emphasis.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from unicodedata import category

from medprm_scorer.text.steps.markup import Start, emphasis, is_rule_line
from medprm_scorer.text.steps.words import NUMBER_WORDS, NUMBERED_STEPS, REFERENCE_WORDS, STEP_WORDS

TRAINED_MARKER = re.compile(r"(?:## )?Step \d+:")
"""How the authors' code finds a step, in a text whose newlines have become spaces."""


def _any(words: "Iterator[str] | tuple[str, ...]") -> str:
    return "|".join(re.escape(word).replace(r"\ ", r"[ \t]") for word in sorted(set(words), key=len, reverse=True))


_WORDS = _any(word for words in STEP_WORDS.values() for word in words)
_NUMBERS = _any(word for words in NUMBER_WORDS.values() for word in words)
_WHOLE = _any(word for words in NUMBERED_STEPS.values() for word in words)
# Every repeat is bounded, so a label is found or refused in constant time.
_LABEL = re.compile(
    rf"(?<![^\W_])(?:(?P<word>{_WORDS})(?:[ \t\u00a0]{{0,3}}|\n)(?P<number>\d{{1,9}}|(?:{_NUMBERS}))"
    rf"|(?P<whole>{_WHOLE}|第\d{{1,3}}步))(?![^\W_])"
    r"(?P<of>[ ]?(?:/|of|von|sur|de)[ ]?\d{1,3})?"
    r"(?P<title>[ ]{1,2}\([^()\n]{1,60}\))?"
    r"(?P<middle>[*_]{0,3}[ \t\u00a0]{0,2})"
    r"(?P<sign>[\]】][:：]?|[:：、]|[.．)）](?!\d)|[-–—](?=[ \t*_])|，|(?<=[*_])(?=[ \t])|(?=[ \t]{0,4}(?:\n|\Z)))"
    r"(?P<close>[*_]{0,3})",
    re.IGNORECASE,
)
_VALUES = {
    word: place
    for table in (NUMBER_WORDS, NUMBERED_STEPS)
    for words in table.values()
    for place, word in enumerate(words, start=1)
}
_BEFORE = 24  # characters of markup that may come between the start of a line and a label
_LINE_MARKUP = " \t\u00a0>#*_~`-•·+–[【"
_LINE_SYMBOLS = ("So", "Sk", "Mn", "Me", "Cf")  # emoji and their modifiers, as Unicode categories
_INLINE_MARKUP = re.compile(r"(?:(?<=\s)#{1,6} )?(?:(?<=\s)[*_\[【]{1,3})?\Z")
_CLOSERS = {"[": "]", "【": "】"}
_FULL_STOPS = frozenset(".!?。！？…")
_SENTENCE_END = frozenset(".!?:;。！？：；…)]\"'”’»*_|")
_REFERENCE = re.compile(rf"(?<![^\W_])(?:{_any(REFERENCE_WORDS)})[ \t]{{0,3}}\n?[ \t]{{0,3}}\(?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class _Label:
    """A label that may start a step."""

    match: re.Match[str]
    begin: int  # of the markup before it
    at_line: bool
    after: str  # the last character before it that is not a space; "" if there is none nearby
    refers: bool

    @property
    def number(self) -> int:
        """The number; 0 if it cannot be read."""
        written = (self.match["number"] or self.match["whole"]).casefold()
        digits = "".join(filter(str.isdecimal, written))
        return int(digits) if digits else _VALUES.get(written, 0)

    @property
    def is_trained(self) -> bool:
        """Whether the authors' code finds it."""
        match = self.match
        return match["word"] == "Step" and TRAINED_MARKER.match(match.group().replace("\n", " ")) is not None


def label_starts(text: str) -> list[Start]:
    """Where labelled steps start; none if no label starts a step.

    Args:
        text: The text, its lines ending in `\\n` alone.
    """
    labels = _starting(text)
    if len(labels) == 1 and not labels[0].is_trained and text[: labels[0].begin].strip():
        return []  # a single label in the middle of a text without other labels
    return [_start(text, label) for label in labels]


def is_trained_form(text: str) -> bool:
    """Whether the authors' rule finds exactly the steps that a reader sees, with no markup left at their ends.

    Args:
        text: The text, its lines ending in `\\n` alone.
    """
    found = {marker.end() for marker in TRAINED_MARKER.finditer(text.replace("\n", " "))}
    labels = _starting(text)
    if not found or found != {label.match.end("sign") if label.is_trained else -1 for label in labels}:
        return False
    lines = text.rstrip().rsplit("\n", 1)
    return not is_rule_line(lines[-1]) and all(_is_plain(text, label) for label in labels)


def _is_plain(text: str, label: _Label) -> bool:
    """Whether there is only `## ` before a label in its line, and no rule (`---`) in the line before."""
    before = text[label.begin : label.match.start()]
    if before.lstrip(" \t\u00a0") not in ("", "## "):
        return False
    above = text[max(0, label.begin - 200) : label.begin].rstrip()  # more than 200 characters do not count as a rule
    return not is_rule_line(above[above.rfind("\n") + 1 :])


def _starting(text: str) -> list[_Label]:
    labels = [_placed(text, match) for match in _LABEL.finditer(text)]
    in_lines = sum(label.at_line for label in labels) >= 2
    chosen: list[_Label] = []
    for label in labels:
        is_next = not chosen or label.number == chosen[-1].number + 1
        own_sentence = label.after in _SENTENCE_END and not label.match.group()[0].islower()
        starts_inside = (label.is_trained and label.after in _FULL_STOPS) or (
            is_next and (own_sentence or (label.is_trained and not in_lines))
        )
        if not label.refers and (label.at_line or starts_inside):
            chosen.append(label)
    return chosen


def _placed(text: str, match: re.Match[str]) -> _Label:
    begin = match.start()
    floor = max(0, begin - _BEFORE)
    while begin > floor and (text[begin - 1] in _LINE_MARKUP or category(text[begin - 1]) in _LINE_SYMBOLS):
        begin -= 1
    at_line = begin == 0 or text[begin - 1] == "\n"
    if not at_line:  # a dash or a bullet in the middle of a line belongs to the text before
        begin = match.start() - len(_INLINE_MARKUP.search(text[floor : match.start()]).group())  # type: ignore[union-attr]
    before = text[max(0, begin - _BEFORE) : begin]
    return _Label(
        match,
        begin,
        at_line,
        before.rstrip()[-1:],
        _REFERENCE.search(before) is not None,
    )


def _start(text: str, label: _Label) -> Start:
    match = label.match
    before = text[label.begin : match.start()]
    opened = emphasis(before) or _CLOSERS.get(before[-1:], "")
    middle, sign, close = match["middle"], match["sign"], match["close"]
    body = match.end() if opened and opened in close else match.end("sign")
    if opened and (opened in middle or opened in close or opened in sign):
        opened = ""
    if sign[:1] in _CLOSERS.values():
        sign = "：" if "】" in sign else ":"
    after = f"{match['of'] or ''}{match['title'] or ''}"
    if match["whole"]:
        shown = f"{match['whole']}{after}{sign}"
    elif match["word"].casefold() == "step":
        shown = f"Step {match['number']}{after}:"
    else:
        gap = text[match.end("word") : match.start("number")].replace("\n", " ")
        space = " " if middle[-1:].isspace() and sign in (":", "-", "–", "—") else ""
        shown = f"{match['word']}{gap}{match['number']}{after}{space}{sign}"
    return Start(label.begin, body, shown, opened)
