"""A structured answer as a candidate: its steps, the text that is judged, and the answer that votes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from pydantic import BaseModel

from medprm_scorer.text.sample_rounds import Sample

ANSWER_FIELDS = (
    *("final_answer", "answer", "answer_choice", "answer_letter", "answer_option", "correct_answer", "correct_option"),
    *("selected_option", "selected_answer", "choice", "option", "letter"),
    *("final_diagnosis", "primary_diagnosis", "most_likely_diagnosis", "diagnosis", "conclusion", "verdict"),
)
"""Names of fields that hold the answer; the first of them that a structured answer has counts."""

STEP_FIELDS = (
    *("steps", "reasoning_steps", "reasoning", "chain_of_thought", "thoughts", "rationale", "explanation", "analysis"),
)
"""Names of list fields whose items are steps; where there is none of them, the items of an only list are."""

_NOT_JUDGED = re.compile(
    r"(?:\w+_)?confidence(?:_\w+)?|certainty|probability|(?:\w+_)?(?:citations?|sources?|references?)|(?:source|document)_ids?"
)
_NUMBERED = re.compile(r"(?:reasoning_)?step_?(\d{1,4})")


def structured_sample(value: object, answer_field: str | None = None) -> Sample:
    r"""A structured answer as a candidate.

    Lists of steps and fields `step_1`, `step_2` … are its steps, as given; a field of text that is split into steps,
    such as `reasoning`, stays text. Other fields stand beside these after their names. The field that holds the answer
    ends the text as `answer: B`, and its value votes as it is. Confidence and citations are left out.

    Args:
        value: A pydantic object, a dataclass, or what JSON has.
        answer_field: Name of the field that holds the answer; None finds it by its name (`ANSWER_FIELDS`).

    Example:
        >>> structured_sample({"reasoning": "Step 1: Fever.\nStep 2: Rash.", "answer": "B", "confidence": 0.9}).chain
        'Step 1: Fever.\nStep 2: Rash.\nanswer: B'
        >>> sample = structured_sample({"steps": ["Fever.", "Rash."], "final_answer": "B"})
        >>> sample.chain, sample.answer
        (('Fever.', 'Rash.\nanswer: B'), 'B')
    """
    fields = list(_fields(_plain(value)))
    place = _answer_place(fields, answer_field)
    answer = None if place is None else _answer(fields[place][1])
    rest = [field for at, field in enumerate(fields) if at != place and not _NOT_JUDGED.fullmatch(_key(field[0]))]
    given = _steps(rest)
    before: list[str] = []
    after: list[str] = []
    for field in rest:
        if any(field is step for step in given):
            before, after = [*before, *after], []
        elif (text := _text(field[1])).strip():
            stands_alone = not field[0] or "\n" in text or text.lstrip().lower().startswith("step ")
            after.append(text if stands_alone else f"{field[0]}: {text}")
    if answer is not None:
        after.append(f"answer: {answer}")
    items = [item for _, content in given for item in (content if isinstance(content, list) else [content])]
    steps = [text for item in items if (text := _text(item)).strip()]
    if not steps:
        return Sample("\n".join([*before, *after]), answer)
    steps[0] = "\n".join([*before, steps[0]])
    steps[-1] = "\n".join([steps[-1], *after])
    return Sample(tuple(steps), answer)


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """The fields that hold a value or a list, those of objects inside it, too."""
    if not isinstance(value, Mapping):
        yield "", list(value) if isinstance(value, tuple) else value
        return
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _fields(part)
        else:
            yield str(name), list(part) if isinstance(part, tuple) else part


def _answer_place(fields: list[tuple[str, Any]], answer_field: str | None) -> int | None:
    names = [_key(name) for name, _ in fields]
    for wanted in (_key(answer_field),) if answer_field else ANSWER_FIELDS:
        if wanted in names and not isinstance(fields[names.index(wanted)][1], list):
            return names.index(wanted)
    return None


def _answer(content: Any) -> str | None:
    if isinstance(content, bool):
        return "yes" if content else "no"
    return _text(content).strip() or None


def _steps(fields: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The fields that hold steps, in the order of the steps."""
    numbered = [(int(found[1]), field) for field in fields if (found := _NUMBERED.fullmatch(_key(field[0])))]
    if numbered:
        return [field for _, field in sorted(numbered, key=lambda pair: pair[0])]
    lists = [field for field in fields if isinstance(field[1], list) and field[1]]
    named = [field for field in lists if _key(field[0]) in STEP_FIELDS]
    return named[:1] or (lists if len(lists) == 1 else [])


def _key(name: str) -> str:
    """A field's name as `snake_case`."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name[:200]).lower()).strip("_")


def _text(content: Any) -> str:
    if isinstance(content, Mapping):
        return "\n".join(text for part in content.values() if isinstance(part, str) and (text := part.strip()))
    if isinstance(content, list):
        return "\n".join(map(_text, content))
    return "" if content is None else str(content)
