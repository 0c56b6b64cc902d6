r"""A chain without its markup, so that `**Answer:** $\text{B}$` reads `Answer: B`; and its sentences."""

import re
from collections.abc import Iterator

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0xFF65: 0x2022}
_MARKS = (
    "✅☑✔✓👉➡⭐🏆🎯\ufe0f\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\x00"
)
_TABLE = _FULL_WIDTH | dict.fromkeys(map(ord, _MARKS))
_TAG = re.compile(r"</?(?:b|strong|em|i|u|p|br|span|h[1-6]|li|ul|ol|div|mark|code)\s?/?>", re.IGNORECASE)
_LATEX = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathsf|mathit|boxed)\s?\{([^{}\n]{0,300})\}")
_DELIMITER = re.compile(
    r"\\[()\[\]]|\$|`{1,3}|\*{1,3}(?=\S)|(?<=\S)\*{1,3}|(?<![^\W_])_{1,3}(?=\S)|(?<=\S)_{1,3}(?![^\W_])"
)
_SENTENCE_END = re.compile(
    r"(?:(?<=[.!?])(?<!\b[A-Za-z]\.)(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)(?<!Dr\.)"
    r"|(?<=\b[A-Z]\.)(?=[ \t]+[A-Z][a-z]+\b[ \t,])"
    r"|(?<=[.!?][\"'”’)\]]))[ \t]+|(?<=[。！？؟])[ \t]*|\n+"
)
_NESTED = 3
_LONGEST = 1000  # so that comparing the parts of a sentence takes linear time overall


def plain(text: str) -> str:
    r"""The text without emphasis, LaTeX and HTML around words, with full-width characters as plain ones.

    Example:
        >>> plain("**Answer:** \\(\\text{B}\\)")
        'Answer: B'
    """
    text = _TAG.sub("", text.translate(_TABLE).replace("\r\n", "\n").replace("\r", "\n"))
    for _ in range(_NESTED):
        text, count = _LATEX.subn(r"\1", text)
        if not count:
            break
    return _DELIMITER.sub("", text)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    r"""Start and end of each sentence that is not blank; a line end always ends a sentence, and so do 1,000 characters.

    Example:
        >>> text = "Think of E. coli. Give 1.5 mg.\nThe answer is B. If it fails, C."
        >>> [text[start:end] for start, end in sentences(text)]
        ['Think of E. coli.', 'Give 1.5 mg.', 'The answer is B.', 'If it fails, C.']
    """
    start = 0
    for stop in [*_SENTENCE_END.finditer(text), None]:
        end = stop.start() if stop else len(text)
        for piece in range(start, end, _LONGEST):
            if not text[piece : min(end, piece + _LONGEST)].isspace():
                yield piece, min(end, piece + _LONGEST)
        start = stop.end() if stop else end
