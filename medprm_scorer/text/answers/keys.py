"""The key under which an answer votes: equal answers in different spellings have the same key."""

import re

_EDGES = " .,;:!?*_`\"'“”‘’«»()[]{}"
# matched backwards from the end of the key; every repeat is bounded or a single character, so the time is linear
_CITATION = r"[])}】]\s?[0-9]{1,3}(?:\s?[,;–-]\s?[0-9]{1,3}){0,7}\s?(?:s?ecruos|s?tnemucod|s?cod)?\s?[\[({【]"
_CITED_END = re.compile(rf"(?:{_CITATION}|[{re.escape(_EDGES)}])*")
_ARTICLES = re.compile(r"(?:(?:the|an)\s)+(?=[^\W_])")
_PER = re.compile(r"(?<=\w)(?: ?/ ?| per )(?=[^\W\d_])")
UNITS = {
    "mg": "mg milligram milligrams milligramme milligrammes",
    "mcg": "mcg μg ug microgram micrograms microgramme microgrammes",
    "g": "g gram grams gramme grammes",
    "kg": "kg kilogram kilograms",
    "ng": "ng nanogram nanograms",
    "ml": "ml milliliter milliliters millilitre millilitres",
    "dl": "dl deciliter deciliters decilitre decilitres",
    "l": "l liter liters litre litres",
    "mmol": "mmol millimole millimoles",
    "meq": "meq",
    "iu": "iu",
    "mmhg": "mmhg",
    "h": "h hr hrs hour hours",
    "min": "min minute minutes",
    "day": "day days",
    "week": "week weeks wk wks",
}
"""The spellings of a unit after a number, in lower case, by the unit in the key."""
_UNIT_BY_NAME = {name: unit for unit, names in UNITS.items() for name in names.split()} | {"mm hg": "mmhg"}
_NAMES = "|".join(sorted((re.escape(name) for name in _UNIT_BY_NAME), key=len, reverse=True))
_AFTER_NUMBER = re.compile(rf"(?<=[0-9])[ -]?({_NAMES})(?![^\W_])")
_AFTER_SLASH = re.compile(rf"(?<=/)({_NAMES})(?![^\W_])")
_PERCENT = re.compile(r"(?<=[0-9]) %")


def normalize_answer(answer: str) -> str:
    """The key by which answers are counted as equal.

    Letter case, runs of whitespace, and punctuation, brackets, quotes and markdown marks at both ends do not matter.
    Neither do citations at the end (`[1]`, `(1, 2)`), a leading `the` or `an`, and the spelling of a unit after a
    number (`200mg`, `200 milligrams`). Signs do matter: `-5`, `5`, `<5` and `5%` are four answers.

    Args:
        answer: An answer as written.

    Returns:
        The key; if the answer is only punctuation, that punctuation; "" only for a blank answer.

    Example:
        >>> normalize_answer("**(B).**") == normalize_answer("b")
        True
        >>> normalize_answer("Acute   Pancreatitis [1, 2].")
        'acute pancreatitis'
        >>> normalize_answer("200mg per day") == normalize_answer("200 milligrams/day (1)")
        True
    """
    collapsed = " ".join(answer.casefold().split())
    cited = _CITED_END.match(collapsed[::-1])
    key = collapsed[: len(collapsed) - (cited.end() if cited else 0)] or collapsed.rstrip(_EDGES)
    bare = key.lstrip(_EDGES)
    if bare[:1].isdecimal() and key[: len(key) - len(bare)].endswith("."):
        bare = f".{bare}"  # `.5 mg` is not `5 mg`
    bare = _ARTICLES.sub("", bare, count=1) if _ARTICLES.match(bare) else bare
    return _with_plain_units(bare) or collapsed


def _with_plain_units(key: str) -> str:
    if not any(map(str.isdecimal, key)):
        return key
    key = _PERCENT.sub("%", _PER.sub("/", key))
    key = _AFTER_NUMBER.sub(lambda unit: f" {_UNIT_BY_NAME[unit.group(1)]}", key)
    return _AFTER_SLASH.sub(lambda unit: _UNIT_BY_NAME[unit.group(1)], key)
