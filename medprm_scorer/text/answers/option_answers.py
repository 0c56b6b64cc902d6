"""The answer that a statement names if the options are known: one of them, or none."""

import re
from functools import cached_property

from medprm_scorer.text.answers.declining import DECLINES
from medprm_scorer.text.answers.doses import Doses
from medprm_scorer.text.answers.keys import normalize_answer
from medprm_scorer.text.answers.letters import letter_at, second_letter
from medprm_scorer.text.answers.mentions import LETTER_TOKEN, Mentions, mark_letters, tokens
from medprm_scorer.text.answers.options import OptionSet
from medprm_scorer.text.answers.statements import LEAD_IN, Value
from medprm_scorer.text.answers.words import CONTRAST, YES_NO, words

_NOT = re.compile(r"(?:not|n['’]t|nicht|pas|no es|ليست?|不|neither)(?![^\W_])", re.IGNORECASE)
_CLAUSE_END = re.compile(
    rf"[;\n]|[.!?](?=\s|\Z)|。|,? (?:because|since|which|as|given|due to|based on|if|when|unless)\b"
    rf"|,? {words(CONTRAST)}"
    r"|,? (?:not|rather than|instead of|over|unlike|nicht|pas)\b",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"(no(?=\W{0,3}(?:[.,;:!\n)—–-]|\Z|because|since|as\b|there\b|it\b|the\b|this\b|based))"
    r"|(?!no\b)[^\W\d_]+(?:[- ]être)?)(?!\W{0,3}(?:/|or\b|and\b))",
    re.IGNORECASE,
)
_UNIT = re.compile(r"[ \t]?(?:%|[^\W\d_])")
_EQUALS = re.compile(r"[=×*]|\b(?:times|x)\b")  # `the answer is 5 mg/kg × 40 kg = 200 mg`
_LONGEST = 400


class OptionReader:
    """Reads answers as options; see `statements.Reader`.

    Args:
        options: The options of the question.
        question: The question; "" if it is not known.
    """

    def __init__(self, options: OptionSet, question: str = "") -> None:
        self.options, self._question = options, question

    @cached_property
    def mentions(self) -> Mentions:
        """Finds the options by their texts; created on demand, since most chains give a letter."""
        return Mentions({} if self.options.yes_no else self.options.texts, self._question)

    @cached_property
    def doses(self) -> Doses:
        """The options' doses, if they are such."""
        return Doses(self.options.texts)

    def value(self, text: str, place: int, letters_only: bool = False) -> Value | None:
        """The option at a position: by letter, by text, or by both if they agree."""
        lead = LEAD_IN.match(text, place)
        start = lead.end() if lead else place
        if _NOT.match(text, start):
            return None
        found = letter_at(text, start)
        is_dose = found is not None and found.group("letter").isdigit() and _UNIT.match(text, found.end()) is not None
        if found is not None and not (is_dose and self.options.label(found.group("letter")) is None):
            return self._lettered(text, found)
        if letters_only:
            return None
        word = _WORD.match(text, start)
        label = self.options.yes_no.get(YES_NO.get(word.group(1).casefold(), "")) if word else None
        if word and label:
            return Value(label, word.end())
        end = _clause_end(text, start)
        named = self._named(text[start:end])
        if self.doses.begins_with_another(text[start:end]) or (is_dose and not _EQUALS.search(text, start, end)):
            return Value(None, end)
        if named:
            return Value(named.pop() if len(named) == 1 else None, end)
        line = text.find("\n", start)
        if DECLINES.search(text, start, min(len(text) if line < 0 else line, start + _LONGEST)):
            return Value(None, end, declined=True)
        return None

    def alone(self, line: str) -> str | None:
        """The option if a line consists only of it: its letter, its text, or both."""
        key = normalize_answer(line)
        for label, text in self.options.texts.items():
            if key in (normalize_answer(label), normalize_answer(text)):
                return label
        found = letter_at(line, 0)
        named = self.options.label(found.group("letter")) if found else None
        if found is None or named is None:
            return None
        behind = normalize_answer(line[found.end() :].lstrip(" .:)"))
        return named if behind in ("", normalize_answer(self.options.texts[named])) else None

    def _lettered(self, text: str, found: re.Match[str]) -> Value:
        label = self.options.label(found.group("letter"))
        second = second_letter(text, found)
        if second and self.options.label(second) not in (None, label):
            return Value(None, found.end())
        begin = found.end() + 1 if text[found.end() : found.end() + 1] in (".", ")", ":") else found.end()
        behind = text[found.end() : max(begin, _clause_end(text, begin))]
        if label is None:  # `E. coli enteritis`
            whole = self._first(text[found.start("letter") : found.end()] + behind)
            return Value(whole.pop() if len(whole) == 1 else None, found.end())
        own = self.options.texts[label]  # `D. HIV, hepatitis B`; `B. no` takes nothing back
        start = found.end() + len(behind) - len(behind.lstrip(" .:)"))
        end = start + len(own)
        if text[start:end].casefold() == own.casefold() and not text[end : end + 1].isalnum():
            return Value(label, end)
        named = self._first(behind)
        return Value(label if not named or label in named else None, found.end())

    def _first(self, clause: str) -> set[str]:
        """The options whose texts a clause begins with."""
        parts = tokens(clause)
        first = next((place for place, part in enumerate(parts) if part[0].isalnum()), None)
        if first is None:
            return set()
        return {mention.label for mention in self.mentions.find(parts) if mention.start <= first + 1}

    def _named(self, clause: str) -> set[str]:
        """The options that a clause names, by text or letter."""
        parts = tokens(mark_letters(clause, self.options))
        letters = {self.options.label(part[1:]) for part in parts if part[0] == LETTER_TOKEN}
        return {mention.label for mention in self.mentions.find(parts)} | {label for label in letters if label}


def _clause_end(text: str, start: int) -> int:
    limit = min(len(text), start + _LONGEST)
    end = _CLAUSE_END.search(text, start, limit)
    return end.start() if end else limit
