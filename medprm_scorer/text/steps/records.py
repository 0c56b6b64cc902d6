r"""Steps in structured text: JSON (`{"steps": [...], "answer": "B"}`) and markdown tables, with one row per step."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medprm_scorer.text.steps.layouts import is_answer

_FENCE = re.compile(r"\s*(?:```[A-Za-z0-9]{0,12}[ \t]*\n\s*)?(?=[\[{])")
_REASONING = (
    "steps", "reasoning", "reasoning_steps", "step_by_step_thinking", "step_by_step", "step_by_step_reasoning",
    "chain_of_thought", "cot", "thoughts", "thought", "thinking", "rationale", "explanation", "analysis", "solution",
    "justification",
)  # fmt: skip
"""Fields that hold reasoning. The first one present is used; others become part of the last step."""
_STEP_FIELD = re.compile(r"step[ _-]?\d{1,3}", re.IGNORECASE)
_NOT_JUDGED = re.compile(
    r"confidence|certainty|probability|score|citation|source|reference|evidence|metadata|disclaimer|token|\bid\b|_id\b",
    re.IGNORECASE,
)
_DIVIDER = frozenset("|:- \t")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object, refused if a name occurs twice, since the first value would be lost."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name comes twice")
    return fields


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_once)


@dataclass(frozen=True, repr=False)
class Record:
    """The content of a JSON answer.

    Args:
        steps: Its steps, each on one line, if it lists them; otherwise empty.
        reasoning: Its reasoning text, if it does not list steps; otherwise "".
        rest: The other fields (`answer: B`), and the text after the JSON: part of the last step.
        left_out: Confidence, citations and similar fields, which are not judged.
    """

    steps: tuple[str, ...]
    reasoning: str
    rest: str
    left_out: str


def read_record(text: str) -> Record | None:
    """Read a JSON answer, alone or in a code fence.

    Steps are the items of a list (of texts, or of objects, whose values are joined) or the fields `step_1`, `step_2`, …

    Args:
        text: The text, its lines ending in `\n` alone.

    Returns:
        Its content; None if it is not JSON with reasoning in it.

    Example:
        >>> read_record('{"steps": ["Fever.", "So (B)."], "answer": "B", "confidence": 0.9}').steps
        ('Fever.', 'So (B).')
    """
    opening = _FENCE.match(text)
    if opening is None:
        return None
    try:
        value, end = _DECODER.raw_decode(text, opening.end())
    except (ValueError, RecursionError):
        return None
    return record_of(value, [line for line in text[end:].split("\n") if line.strip() not in ("", "```")])


def record_of(value: object, after: Sequence[str] = ()) -> Record | None:
    """Read an answer that is already a JSON value.

    Args:
        value: The decoded JSON.
        after: Lines of text after it.

    Returns:
        Its content; None if there is no reasoning in it.

    Example:
        >>> record_of({"step_1": "Fever.", "step_2": "So (B).", "dose_mg": 5}).rest
        'dose mg: 5'
    """
    steps, reasoning, others = _read(value)
    if not steps and not reasoning:
        return None
    judged = [f"{_words(name)}: {_plain(said)}" for name, said in others if not _NOT_JUDGED.search(name)]
    left_out = [f"{_words(name)}: {_plain(said)}" for name, said in others if _NOT_JUDGED.search(name)]
    return Record(tuple(map(_flat, steps)), reasoning, _flat(" ".join([*judged, *after])), _flat("\n".join(left_out)))


def table_steps(text: str) -> tuple[str, tuple[str, ...]] | None:
    """The rows of a markdown table that makes up most of the text, with the text before them.

    Args:
        text: The text, its lines ending in `\\n` alone.

    Returns:
        The text before the rows, including the table's header, and the steps; text after the table is part of the last
        step. None if there is no such table with at least two rows.
    """
    lines = text.split("\n")
    divider = next((place for place, line in enumerate(lines) if place and _is_row(line) and set(line) <= _DIVIDER), 0)
    if not divider or not _is_row(lines[divider - 1]):
        return None
    end = divider + 1
    while end < len(lines) and _is_row(lines[end]):
        end += 1
    steps = [step for step in map(_row, lines[divider + 1 : end]) if step]
    front = [*lines[: divider - 1], _row(lines[divider - 1])]
    after = " ".join(lines[end:]).strip()
    before = " ".join(front[:-1]).strip()
    prose = (0 if before.endswith((":", "：")) else len(before)) + (0 if is_answer(after) else len(after))
    if len(steps) < 2 or prose > sum(map(len, steps)):
        return None
    steps[-1] = f"{steps[-1]} {after}".strip()
    return " ".join(front).strip(), tuple(steps)


def _read(value: object) -> tuple[list[str], str, list[tuple[str, object]]]:
    """The steps of a JSON value, or its reasoning if it has none, and its other fields."""
    if isinstance(value, Mapping) and len(value) == 1 and _words(next(iter(value))).replace(" ", "_") not in _REASONING:
        value = next(iter(value.values()))  # `{"response": {…}}`
    if not isinstance(value, Mapping):
        return _items(value), "", []
    fields = {str(name): said for name, said in value.items() if _plain(said).strip()}
    numbered = [name for name in fields if _STEP_FIELD.fullmatch(name)]
    if len(numbered) >= 2:
        return [_plain(fields.pop(name)) for name in numbered], "", list(fields.items())
    by_word = {_words(name).replace(" ", "_"): name for name in reversed(fields)}
    word = next((word for word in _REASONING if word in by_word), None)
    if word is None:
        return [], "", []
    said = fields.pop(by_word[word])
    return ([], said, list(fields.items())) if isinstance(said, str) else (_items(said), "", list(fields.items()))


def _items(value: object) -> list[str]:
    """The items of a list or object as words; none if they are not texts or objects (`[1]` starts a citation)."""
    items = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(items, list) or not all(isinstance(item, (str, Mapping)) for item in items):
        return []
    return [plain for plain in map(_plain, items) if plain.strip()]


def _plain(value: object) -> str:
    """A JSON value as words: the texts and numbers in it, in order."""
    return value if isinstance(value, str) else " ".join(_leaves(value))


def _leaves(value: object) -> Iterator[str]:
    """Without recursion, since JSON may be nested deeper than the call stack allows."""
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, Mapping):
            stack += reversed(list(top.values()))
        elif isinstance(top, list):
            stack += reversed(top)
        elif top is not None:
            yield str(top)


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").split()).casefold()


def _is_row(line: str) -> bool:
    line = line.strip()
    return len(line) > 2 and line[0] == line[-1] == "|"


def _row(line: str) -> str:
    """A table's row as words: `| 1 | fever | 39 °C |` is `1: fever; 39 °C`."""
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    cells = [cell for cell in cells if cell]
    if cells and cells[0].isdecimal() and len(cells) > 1:
        return f"{cells[0]}: {'; '.join(cells[1:])}"
    return "; ".join(cells)


def _flat(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", " ").strip()
