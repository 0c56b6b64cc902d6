"""What a question asks: the words by which a chain restates it, and whether it asks for the false option."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from medprm_scorer.text.answers.mentions import content, stem, tokens

_BEGIN = re.compile(r"[.?!]\s|\n")
_INVERTED = re.compile(r"\b(?:not|except|least|unlikely|incorrect|false|untrue|inconsistent)\b|n['’]t\b", re.IGNORECASE)
_SUPERLATIVE = re.compile(
    r"\b(?:(?:most|best|first|next|initial|primary|main) [^\W\d_]{3,}|greatest|highest|lowest|strongest|optimal)"
)
_BOILERPLATE = (
    "which what how why following these most likely best next appropriate option answer statement"
    " do does did is are was were has have can could should will would may"
)
_EVERY_QUESTION = frozenset(map(stem, _BOILERPLATE.split()))
_LONGEST = 400
_FEWEST, _SHARE = 3, 0.75


@dataclass(frozen=True)
class Asked:
    """The sentence of a question that asks; empty if it is not known.

    Args:
        sentence: The sentence.
    """

    sentence: str

    @cached_property
    def inverted(self) -> bool:
        """Whether it asks for the false option: `which is NOT likely`, `all of these except`."""
        return _INVERTED.search(self.sentence) is not None

    @cached_property
    def words(self) -> frozenset[str]:
        """The stems of all its words: a negation among them is the question's."""
        return frozenset(stem(part) for part in tokens(self.sentence) if part[0].isalnum())

    @cached_property
    def own_words(self) -> frozenset[str]:
        """The stems of the words that are specific to this question."""
        return frozenset(word for _, word in content(tokens(self.sentence))) - _EVERY_QUESTION

    @cached_property
    def _superlatives(self) -> tuple[str, ...]:
        return tuple(_SUPERLATIVE.findall(" ".join(tokens(self.sentence))))

    def restated(self, parts: Sequence[str]) -> float:
        """The share of the question's specific words that are among the tokens of a sentence, from 0 to 1."""
        words = {word for _, word in content(parts)}
        return len(self.own_words & words) / max(1, len(self.own_words))

    def is_restated(self, parts: Sequence[str]) -> bool:
        """Whether the tokens of a sentence restate the question."""
        return len(self.own_words) >= _FEWEST and self.restated(parts) >= _SHARE

    def is_answered(self, clause: str) -> bool:
        """Whether a clause has the question's superlative, such as `the most concerning bite`."""
        return any(phrase in clause for phrase in self._superlatives)


def find_asked(question: str) -> Asked:
    """The last sentence of a question that ends in a question mark.

    Example:
        >>> find_asked("She is ill. Which of these is NOT a cause?\\n(A) Flu\\n(B) Gout").inverted
        True
    """
    end = question.rfind("?") + 1
    start = max(0, end - _LONGEST)
    for begin in _BEGIN.finditer(question, start, max(end - 1, start)):
        start = begin.end()
    return Asked(question[start:end])
