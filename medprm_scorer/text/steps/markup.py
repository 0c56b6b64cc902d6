r"""Turns the places where steps start into the steps' texts, without markup that is only layout.

Some markup is removed, since a reward would be read after it: heading marks at the start of a line (`###`), lines that
are only a rule (`---`) or a code fence, and emphasis (`**`, `__`) around a label or left unbalanced at an end of a
step. Emphasis inside a step, bullets inside a step and everything else stay. Each newline becomes one space, as in
training.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# All patterns read a run of one kind of character at most once, or have bounded repeats: linear time.
_RULE_LINE = re.compile(r"[ \t]{0,3}(?:-{3,}|\*{3,}|_{3,}|={3,}|─{3,}|```[A-Za-z0-9]{0,12})[ \t]*")
_HEADING_MARK = re.compile(r"[ \t]{0,8}#{1,6}(?:[ \t]+|\Z)")
_LOOSE_END = re.compile(r"\s[#*>]{1,6}\Z")
_MARKUP = frozenset("#*_>-=` \t")
_WIDE_SIGNS = ("：", "、", "．", "）", "，")  # no space after them
_EMPHASIS = ("***", "**", "__", "*", "_")


@dataclass(frozen=True)
class Start:
    """Where a step starts in a text.

    Args:
        begin: Offset of its first character, including markup before the label: the previous step ends here.
        body: Offset after its label.
        label: The label as the step shows it; "" if it has none, or if the label is part of the body.
        opened: Emphasis that was opened before the label and closes in the first line of the body; "" if none.
    """

    begin: int
    body: int
    label: str = ""
    opened: str = ""


def cut(text: str, starts: Sequence[Start]) -> tuple[str, tuple[str, ...]]:
    """The text before the first start, and the steps; those that contain only markup are left out.

    Args:
        text: The text, its lines ending in `\\n` alone.
        starts: At least one, ascending.
    """
    ends = [start.begin for start in starts[1:]] + [len(text)]
    steps = []
    for start, end in zip(starts, ends, strict=True):
        body = clean(text[start.body : end], start.opened)
        gap = "" if start.label.endswith(_WIDE_SIGNS) else " "
        steps.append(f"{start.label}{gap}{body}".strip())
    return clean(text[: starts[0].begin]), tuple(step for step in steps if step)


def clean(text: str, opened: str = "") -> str:
    """A step's text on one line, without the markup of the layout; see this module's docstring.

    Args:
        text: The text, its lines ending in `\\n` alone.
        opened: Emphasis that was opened before the text; it is closed in the first line.
    """
    lines = [_HEADING_MARK.sub("", line, count=1) if _HEADING_MARK.match(line) else line for line in text.split("\n")]
    lines = [line for line in lines if not is_rule_line(line)]
    if opened and lines:
        lines[0] = lines[0].replace(opened, "", 1)
    return _without_loose_ends(" ".join(lines).strip())


def is_rule_line(line: str) -> bool:
    """Whether a line is only a rule (`---`) or a code fence."""
    return _RULE_LINE.fullmatch(line) is not None


def emphasis(markup: str) -> str:
    """The emphasis that a piece of markup opens: `**` of `### **`; "" if it opens none."""
    return next((run for run in _EMPHASIS if markup.rstrip().endswith(run)), "")


def _without_loose_ends(text: str) -> str:
    for run in ("**", "__"):
        if text.count(run) % 2:
            if text.endswith(run):
                text = text[: -len(run)].rstrip()
            elif text.startswith(run):
                text = text[len(run) :].lstrip()
    for _ in range(3):  # a limit, so that hostile runs cost nothing
        text = _LOOSE_END.sub("", text)
    return "" if set(text) <= _MARKUP else text
