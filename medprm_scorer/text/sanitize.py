"""Makes untrusted text safe to tokenize, store and print."""

import re
import unicodedata

# Marks that reorder what follows them on the screen: text could be made to read as another text
_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_HARMFUL = {
    "Cc",
    "Cs",
    "Zl",
    "Zp",
}  # controls (including ESC and all of C1), lone surrogates, unusual line ends


def valid_unicode(text: str) -> str:
    r"""The text with lone surrogates replaced by U+FFFD: they cannot be encoded as UTF-8.

    Example:
        >>> valid_unicode("dose \ud800 5 mg")
        'dose � 5 mg'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_text(text: str, *, newlines: bool = True) -> str:
    r"""Make untrusted text safe to show: it can no longer control a terminal or reorder a line.

    Control characters (and so ANSI escapes), bidirectional overrides and lone surrogates each become `U+FFFD`; nothing
    is silently dropped. Line ends become newlines, and tabs become spaces. All other text is kept, including
    right-to-left script.

    Args:
        text: Any text.
        newlines: Keep newlines; otherwise each becomes a space, for text that must stay on one line.

    Example:
        >>> clean_text("a\x1b[31mb\r\n")
        'a�[31mb\n'
    """
    text = re.sub("\r\n?", "\n", text).replace("\t", " ")
    if not newlines:
        text = text.replace("\n", " ")
    return "".join(
        "\ufffd" if char in _BIDI or (char != "\n" and unicodedata.category(char) in _HARMFUL) else char
        for char in text
    )


def one_line(text: str) -> str:
    """`clean_text` on one line, without blanks at both ends."""
    return clean_text(text, newlines=False).strip()
