r"""Answers in a marked place: `\boxed{B}`, `<answer>B</answer>`, `{"answer": "B"}`."""

import re

_BOXED = re.compile(r"\\boxed\s*\{\s*|\\[{}]|[{}]")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathsf|mathit|boxed)\s*\{(.*)\}", re.DOTALL)
_NESTED_LATEX = 4  # wrappings that are removed from a boxed answer; a limit, so that hostile nesting costs nothing
NAMES = (
    r"(?:final|correct|best|my|selected|chosen|predicted)?[_ ]?(?:answer|choice|option|diagnosis|prediction)"
    r"(?:[_ ]?(?:choice|option|letter|label))?"
)
"""Names of a field or a tag that holds the answer."""
_TAG = re.compile(rf"<({NAMES})>\s{{0,20}}([^<]{{1,400}})|\[({NAMES})\]\s{{0,20}}([^\[]{{1,400}})\[/", re.IGNORECASE)
_FIELD = re.compile(
    rf"[\"'](?:{NAMES})[\"']\s?:\s?"
    r"(?:\"([^\"\n]{1,400})\"|'([^'\n]{1,400})'|\[([^\[\]]{1,400})\]|(?!null\b)([\w.]{1,40}))",
    re.IGNORECASE,
)
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))  # as `str.strip`, with no-break spaces
EDGES = _BLANKS + "*_#`$"
"""What is removed from both ends of an answer: blanks and markup."""


def last_boxed(text: str) -> str | None:
    """The content of the last box that is closed and not empty; one pass, braces matched by a stack."""
    last = None
    opened: list[int | None] = []  # start of the text in a box, after spaces; None for any other brace
    for brace in _BOXED.finditer(text):
        mark = brace.group()
        if mark.startswith("\\boxed"):
            opened.append(brace.end())
        elif mark == "{":
            opened.append(None)
        elif mark == "}" and opened:
            start = opened.pop()
            if start is not None and start < brace.start():
                last = (start, brace.start())
    return _unwrapped(text[slice(*last)]) if last else None


def last_field(text: str) -> str | None:
    """The content of the last tag or JSON field whose name says that it holds the answer."""
    last = None
    for form in (_TAG, _FIELD):
        for found in form.finditer(text):
            content = next((group for group in reversed(found.groups()) if group and group.strip(EDGES)), None)
            if content and (last is None or found.start() > last[0]):
                last = (found.start(), content.replace('"', "").strip(EDGES))
    return last[1] if last else None


def _unwrapped(content: str) -> str | None:
    for _ in range(_NESTED_LATEX):
        content = content.strip(EDGES)
        wrapped = _LATEX_TEXT.fullmatch(content)
        if wrapped is None or not _is_balanced(wrapped.group(1)):
            break
        content = wrapped.group(1)
    return content.strip(EDGES) or None


def _is_balanced(content: str) -> bool:
    depth = 0
    for brace in re.finditer(r"(?<!\\)[{}]", content):
        depth += 1 if brace.group() == "{" else -1
        if depth < 0:
            return False
    return depth == 0
