"""From a chain of thought to the answer it gives, and from an answer to the key under which it votes."""

from medprm_scorer.text.answers.keys import normalize_answer
from medprm_scorer.text.answers.reading import (
    DECLINED,
    Options,
    Reading,
    extract_answer,
    read,
    read_answer,
    read_given,
)

__all__ = ["DECLINED", "Options", "Reading", "extract_answer", "normalize_answer", "read", "read_answer", "read_given"]
