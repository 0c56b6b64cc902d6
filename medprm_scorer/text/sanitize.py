"""Text from outside, made fit to be tokenized, stored and printed."""


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
