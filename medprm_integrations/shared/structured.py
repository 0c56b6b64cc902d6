"""A structured answer as a candidate: its steps, the text that is judged, and the answer that votes."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import to_jsonable_python

from medprm_scorer.sampling.rules import Sample
from medprm_scorer.text.answers.structured import NAMES
from medprm_scorer.text.steps.records import record_of

_ANSWER = re.compile(NAMES, re.IGNORECASE)
_KINDS = ("answer", "choice", "option", "diagnosis", "prediction")


def structured_sample(value: object, answer_field: str | None = None) -> Sample:
    r"""A structured answer as a candidate, read as `medprm_scorer.text.steps.records` reads JSON.

    Lists of steps and fields `step_1`, `step_2` … are its steps, unchanged; a text field, such as `reasoning`, is split
    like any other text. Other fields follow the last step, each after its name; confidence and citations are left out.
    The field with the answer is one of these, and its value is the vote.

    Args:
        value: A pydantic object, a dataclass, or a JSON value.
        answer_field: Name of the field that holds the answer; None finds it by its name (`final_answer`, `choice`,
            `answer_letter`, `diagnosis` and so on).

    Example:
        >>> structured_sample({"reasoning": "Step 1: Fever.\nStep 2: Rash.", "answer": "B", "confidence": 0.9}).chain
        'Step 1: Fever.\nStep 2: Rash.\nanswer: B'
        >>> sample = structured_sample({"steps": ["Fever.", "Rash."], "final_answer": "B"})
        >>> sample.chain, sample.answer
        (('Fever.', 'Rash.\nfinal answer: B'), 'B')
    """
    value = to_jsonable_python(value, by_alias=False, fallback=str)
    answer = _answer(value, answer_field) if isinstance(value, Mapping) else None
    record = record_of(value)
    if record is None:
        return Sample(_text(value), answer)
    if not record.steps:
        return Sample("\n".join(part for part in (record.reasoning, record.rest) if part), answer)
    *others, last = record.steps
    return Sample((*others, f"{last}\n{record.rest}".rstrip()), answer)


def is_answer_schema(fields: Iterable[str]) -> bool:
    """Whether structured output with these fields answers a question, judged by their names.

    It does if there is a field for the reasoning (`steps`, `reasoning`, `explanation` …) or one for the answer
    (`final_answer`, `diagnosis`, `prediction` …). A schema without these belongs to a helper call, such as one that
    chooses a route, picks tools or grades documents; a single `choice` or `option` also belongs to a selector.

    Args:
        fields: Names of the fields, at any depth.

    Example:
        >>> is_answer_schema(["steps", "choice"]), is_answer_schema(["diagnosis"]), is_answer_schema(["destination"])
        (True, True, False)
    """
    names = [name[:100] for name in fields]
    found = [name.lower() for name in names if _ANSWER.fullmatch(name)]
    if any(kind in name for name in found for kind in ("answer", "diagnosis", "prediction")):
        return True
    return record_of({**dict.fromkeys(names, "x"), "": "x"}) is not None


def _answer(fields: Mapping[Any, Any], answer_field: str | None) -> str | None:
    named = [name for name in map(str, fields) if _ANSWER.fullmatch(name[:100])]
    named.sort(key=lambda name: next(place for place, kind in enumerate(_KINDS) if kind in name.lower()))
    for name in named if answer_field is None else [answer_field]:
        found = fields.get(name)
        if isinstance(found, bool):
            return "yes" if found else "no"
        if isinstance(found, str | int | float) and str(found).strip():
            return str(found)
    return None


def _text(value: Any) -> str:
    """A value without reasoning: its fields, each after its name."""
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_text(part)}" for name, part in value.items() if part is not None)
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else "" if value is None else str(value)
