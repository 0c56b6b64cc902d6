"""A structured answer as a text that can be judged."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass

from pydantic import BaseModel


def structured_text(value: object) -> str:
    r"""A structured answer as a chain of thought: the steps in its fields become steps, its answer can vote.

    A field's text stands for itself if it has several lines or begins a step, as a field `reasoning` does; else it
    follows its name, so that a field `answer` reads `answer: B`.

    Args:
        value: A pydantic object, a dataclass, or what JSON has.

    Example:
        >>> structured_text({"reasoning": "Step 1: Fever.\nStep 2: Rash.", "answer": "B"})
        'Step 1: Fever.\nStep 2: Rash.\nanswer: B'
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return "\n".join(_field(str(name), structured_text(part)) for name, part in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(map(structured_text, value))
    return "" if value is None else str(value)


def _field(name: str, text: str) -> str:
    return text if "\n" in text or text.lstrip().lower().startswith("step ") else f"{name}: {text}"
