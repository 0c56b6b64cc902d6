"""Doses, where all options are doses: a chain may name one that is no option.

`The answer is 100 mg, below the limit of 300 mg` mentions the option `300 mg` but answers 100 mg. Words cannot be
compared in this way: an option may be said in other words, a number cannot. Units are not converted: `1 g` is no
option in mg. A dose that is only named as a limit (`above 300 mg`, `the maximum is 300 mg`) is not an answer.
"""

import re
from collections.abc import Iterator, Mapping

_NUMBER_AND_UNIT = re.compile(
    r"(?<![\w.,/])(?P<number>[0-9]{1,12}(?:[.,][0-9]{1,9}){0,3})[ \t\u00a0\u202f]?[-–]?"
    r"(?P<unit>[^\W\d_]{1,20})(?![^\W\d_])"
    r"(?:[ ]?(?:/|per\b|each\b|every\b)[ ]?(?P<per>[^\W\d_]{1,20}))?"
)
_DOSES = frozenset(
    "g gram mg milligram mcg µg μg ug microgram ng ml millilitre milliliter l iu u unit mmol meq".split()  # noqa: SIM905
)
_LIMIT = re.compile(
    r"\b(?:limit\w*|max(?:im\w*)?|minim\w*|exceed\w*|above|below|over|under|than|up to|at (?:most|least))\b"
    r"[^.;:,\n0-9]{0,24}\Z",
    re.IGNORECASE,
)
_BEHIND_BRACKET = re.compile(r"[ \t]{0,4}[:–—-]?[ \t]{0,4}")
_BEHIND_LETTER = re.compile(r"[.):]?[ \t]{1,4}(?:[:–—-][ \t]{1,4})?")
_ONLY_HOW_OFTEN = re.compile(
    r"(?P<how>(?:[ ](?:once|twice|thrice|(?:two|three|four|[2-4]) times|daily|weekly|nightly"
    r"|(?:a|per|each|every) (?:day|dose|week)|every [0-9]{1,2} ?(?:h|hours?|days?)"
    r"|orally|by mouth|po|iv|im|sc|intravenously|in total|bid|tid|qid)){0,4})"
    r"(?=[ \t]{0,4}(?:\Z|\n|[.;](?:\s|\Z)|[)}\]\"*$]|,(?! ?(?:or |and )?\(?[A-J]\b)))",
    re.IGNORECASE,
)
_BEFORE = 40  # characters before a dose in which a limit is looked for
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_EACH_DAY = frozenset(("d", "day", "days", "tag", "jour", "día"))  # `mg per day` is a daily dose in mg

Dose = tuple[float, str]
"""A number and its unit."""


class Doses:
    """The doses of a question's options, if each option has one and all have the same unit.

    Args:
        texts: The options' texts by label.

    Example:
        >>> found = Doses({"A": "200 mg", "B": "300 mg once daily"})
        >>> found.names_another("Give 100 mg, at most 300 mg."), found.names_another("5 mg/kg times 40 kg is 200 mg.")
        (True, False)
        >>> Doses({"A": "200 mg", "B": "Aspirin"}).names_another("Give 100 mg.")
        False
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        listed = [[dose for dose, _ in _doses(text)] for text in texts.values()]
        known = {dose for doses in listed for dose in doses}
        alike = all(listed) and len({unit for _, unit in known}) == 1
        self._known = known if alike else set[Dose]()
        self._per = any("/" in unit for _, unit in self._known)

    def names_another(self, text: str) -> bool:
        """Whether a text names a dose that no option has, other than as a limit.

        Args:
            text: The chain, or a part of it.
        """
        return any(dose not in self._known for dose in self._named(text))

    def begins_with_another(self, text: str) -> bool:
        """Whether the first dose of a text, other than a limit, is one that no option has.

        Args:
            text: A sentence, or the content of a statement.
        """
        return next((dose not in self._known for dose in self._named(text)), False)

    def _named(self, text: str) -> Iterator[Dose]:
        """The doses that may be an answer: in any unit, but per weight only if the options are."""
        if not self._known:
            return
        for dose, is_limit in _doses(text):
            if not is_limit and ("/" in dose[1]) == self._per:
                yield dose


def dose_behind_letter(text: str, place: int, question: str) -> str | None:
    """The dose behind an option's letter, if nothing else is said there, and the question does not name this dose.

    Args:
        text: The text, such as `the answer is (A) 180 mg once daily.`
        place: Offset of the end of the letter, brackets included.
        question: A question in which no options were found.

    Example:
        >>> dose_behind_letter("(A) 180 mg.", 3, "Which dose?"), dose_behind_letter("(A) 180 mg.", 3, "180 mg or 90?")
        ('180 mg', None)
        >>> dose_behind_letter("B. 100 mg is too low.", 1, "Which dose?") is None
        True
    """
    closed = place > 0 and text[place - 1] in ")]}"
    behind = (_BEHIND_BRACKET if closed else _BEHIND_LETTER).match(text, place)
    dose = _NUMBER_AND_UNIT.match(text, behind.end()) if behind else None
    if dose is None or _unit(dose["unit"], None) not in _DOSES:
        return None
    found = _ONLY_HOW_OFTEN.match(text, dose.end())
    named = {one for one, _ in _doses(question)}
    if found is None or (_number(dose["number"]), _unit(dose["unit"], dose["per"])) in named:
        return None
    return text[dose.start() : found.end("how")].strip()


def _doses(text: str) -> Iterator[tuple[Dose, bool]]:
    """The doses in a text, each with whether it is named as a limit."""
    for found in _NUMBER_AND_UNIT.finditer(text):
        unit = _unit(found["unit"], found["per"])
        if unit.partition("/")[0] in _DOSES:
            before = text[max(0, found.start() - _BEFORE) : found.start()]
            yield (_number(found["number"]), unit), _LIMIT.search(before) is not None


def _number(text: str) -> float:
    plain = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text.replace(",", ".")
    whole, *rest = plain.split(".")
    return float(f"{whole}.{''.join(rest)}") if rest else float(whole)


def _unit(unit: str, per: str | None) -> str:
    """The unit in one form: without a plural, and without `per day`."""
    unit, per = unit.casefold(), (per or "").casefold()
    short = unit.removesuffix("s") if len(unit) > 2 else unit
    return short if not per or per in _EACH_DAY else f"{short}/{per}"
