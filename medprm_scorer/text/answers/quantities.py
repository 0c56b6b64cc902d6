"""Doses and other numbers with a unit, where all options are such: a chain may name one that is no option.

`The answer is 100 mg, below the limit of 300 mg` mentions the option `300 mg` but answers 100 mg. Words cannot be
compared in this way: an option may be said in other words, a number cannot. Units are not converted: `1 g` says nothing
about options in mg.
"""

import re
from collections.abc import Mapping

_QUANTITY = re.compile(
    r"(?<![\w.,/])(?P<number>[0-9]{1,12}(?:[.,][0-9]{1,9}){0,3})[ \t\u00a0\u202f]?[-–]?"
    r"(?P<unit>%|[^\W\d_]{1,20})(?![^\W\d_])"
    r"(?:[ ]?(?:/|per\b|each\b|every\b)[ ]?(?P<per>[^\W\d_]{1,20}))?"
)
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_EACH_DAY = frozenset(("d", "day", "days", "tag", "jour", "día"))  # `mg per day` is a daily dose in mg

Quantity = tuple[float, str]
"""A number and its unit."""


class Quantities:
    """The quantities of a question's options, if each option has one and all have the same unit.

    Args:
        texts: The options' texts by label.

    Example:
        >>> found = Quantities({"A": "200 mg", "B": "300 mg once daily"})
        >>> found.foreign("Give 100 mg, at most 300 mg."), found.foreign("5 mg/kg times 40 kg is 200 mg.")
        ([0], [])
        >>> Quantities({"A": "200 mg", "B": "Aspirin"}).foreign("Give 100 mg.")
        []
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        listed = [_find(text) for text in texts.values()]
        known = {quantity for quantities in listed for quantity in quantities}
        alike = all(listed) and len({unit for _, unit in known}) == 1
        self._known = known if alike else set[Quantity]()

    def foreign(self, text: str) -> list[int]:
        """The places among a text's quantities in the options' unit, from 0, of those that no option has.

        Args:
            text: A part of the chain.
        """
        if not self._known:
            return []
        unit = next(iter(self._known))[1]
        found = [quantity for quantity in _find(text) if quantity[1] == unit]
        return [place for place, quantity in enumerate(found) if quantity not in self._known]

    def is_first(self, text: str) -> bool:
        """Whether a text begins with a quantity in the options' unit.

        Args:
            text: A part of the chain.
        """
        found = _QUANTITY.match(text)
        return found is not None and any(unit == _unit(found["unit"], found["per"]) for _, unit in self._known)

    def is_named_first(self, text: str) -> bool:
        """Whether the first quantity of a text is one that no option has.

        Args:
            text: A sentence, or the content of a statement.
        """
        return self.foreign(text)[:1] == [0]


def _find(text: str) -> list[Quantity]:
    return [(_number(found["number"]), _unit(found["unit"], found["per"])) for found in _QUANTITY.finditer(text)]


def _number(text: str) -> float:
    plain = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text.replace(",", ".")
    whole, *rest = plain.split(".")
    return float(f"{whole}.{''.join(rest)}") if rest else float(whole)


def _unit(unit: str, per: str | None) -> str:
    """The unit in one form: without a plural, and without `per day`."""
    unit, per = unit.casefold(), (per or "").casefold()
    short = unit.removesuffix("s") if len(unit) > 2 else unit
    return short if not per or per in _EACH_DAY else f"{short}/{per}"
