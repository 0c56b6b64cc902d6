r"""Splits a chain of thought into the steps that the model judges one by one.

The model was trained on chains split at `Step 1:`, `Step 2:`, … (the `marker` rule; source: `prm_process_solution` in
`python/3_test_dataset_sampling.py` of the authors' repository eth-medical-ai-lab/Med-PRM). Chains of other policies
often have no such marker. For them the other rules find the author's own structure; which rule decided is part of the
result. In the order in which `auto` tries them:

- `json`        the steps of a JSON answer (`medprm_scorer.text.steps.records`).
- `marker`      newlines become spaces, then a step starts at each `Step <number>:` or `## Step <number>:`. Each step is
                stripped, then every `## ` in it is deleted: `## Final Diagnosis: X` becomes `Final Diagnosis: X`. Text
                before the first step, and a text without a marker, keep theirs. `auto` takes this rule if it finds
                exactly the steps that a reader sees, and no markup is left at their ends, which is the form used in
                training.
- `labels`      a step starts at each label: `**Step 1:**`, `Step 1.`, `Schritt 1:`, `第一步：`
                (`medprm_scorer.text.steps.labels`). `As in Step 1: …` within a sentence starts no step.
- `table`       a step is a row of a markdown table.
- `numbered`    a step starts at each line `1.`, `1)`, `(1)`, `1:`, …, or within prose at each sentence `1. …`.
- `headings`    a step starts at each markdown heading, or at each line that starts with a bold title.
- `bullets`     a step is an item of one list that is most of the text.
- `paragraphs`  a step is a run of lines between blank lines.
- `lines`       a step is a line, if each line ends a sentence.
- `ordinals`    a step starts at each sentence that starts `First, …`, `Second, …`.
- `whole`       the whole text is one step.

Only on request: `sentences`, a step for each sentence. It is not part of `auto`, since the model was trained on steps
of several sentences; `benchmarks/step_rules.py` measures its effect on rewards. `given` and `tagged`
(`medprm_scorer.text.tagged`) follow from the input.

In every rule `\n`, `\r\n` and `\r` each become one space (training replaced only `\n`; the other two are the line ends
of other systems), and each step is stripped. Other Unicode line separators (U+2028 and so on) do not end a line here:
training did not replace them. With `marker` and `whole` everything else is unchanged; the other rules also remove the
markup of the layout (`medprm_scorer.text.steps.markup`). A line that only gives the answer is part of the step before
it. A list of sources or a disclaimer at the end (`closing_notes`) is not judged, but kept as `left_out`, with all rules
except `marker` and `whole` requested by name.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from medprm_scorer.errors import InputError, check_choice
from medprm_scorer.text.reasoning import strip_reasoning
from medprm_scorer.text.steps.closing_notes import split_closing_notes
from medprm_scorer.text.steps.labels import TRAINED_MARKER, is_trained_form, label_starts
from medprm_scorer.text.steps.layouts import (
    bullets,
    headings,
    inline_numbered,
    lines,
    numbered,
    ordinals,
    paragraphs,
    sentences,
)
from medprm_scorer.text.steps.markup import Start, cut
from medprm_scorer.text.steps.records import read_record, table_steps

SplitRule = Literal[
    "auto", "marker", "labels", "json", "table", "numbered", "headings", "bullets", "paragraphs", "lines", "ordinals",
    "sentences", "whole",
]  # fmt: skip
"""How a text becomes steps."""

SPLIT_RULES: tuple[str, ...] = get_args(SplitRule)
"""The rules that `split_steps` takes; `given` and `tagged` follow from the input and cannot be requested."""

_NEWLINE = re.compile(r"\r\n|\r")


@dataclass(frozen=True)
class Steps:
    """A chain as the model reads it. The `repr` shows no text, since it may end up in a log.

    Args:
        front: Text before the first step, which the model reads without a tag; "" if there is none.
        steps: The steps, none blank, including labels (`Step 1: …`); empty if the chain is blank.
        rule: The name of the rule that decided; see the module's list.
        left_out: Text that is not judged: closing notes, or fields of JSON such as citations; "" if there is none. No
            reward depends on it, so a caller should say that it was not checked.
    """

    front: str = field(repr=False)
    steps: tuple[str, ...] = field(repr=False)
    rule: str
    left_out: str = field(default="", repr=False)


def split_steps(chain: str | Sequence[str], rule: str = "auto") -> Steps:
    """Split a chain of thought into steps.

    A list of steps is used unchanged (`given`). In a text, scratch work is removed first (`strip_reasoning`). A rule
    requested by name is used alone: if it does not apply, the text is one step (`whole`). So `marker` is the behaviour
    of training.

    Args:
        chain: The whole chain of thought, or its steps.
        rule: One of `SPLIT_RULES`; it has no effect on a list.

    Returns:
        The steps; none if the text is blank or the list empty.

    Raises:
        InputError: The rule is unknown, the chain is neither text nor a sequence of texts, or a given step is blank.

    Example:
        >>> chain = "Let us see.\\n## Step 1: Fever.\\n\\n## Step 2: The answer is (B)"
        >>> split = split_steps(chain)
        >>> split.rule, split.front, split.steps
        ('marker', 'Let us see.', ('Step 1: Fever.', 'Step 2: The answer is (B)'))
        >>> split_steps("**Step 1** - Fever.\\n\\n**Step 2** - As in Step 1: so (B).").steps
        ('Step 1: Fever.', 'Step 2: As in Step 1: so (B).')
        >>> split_steps("1. Fever.\\n2. So (B).").steps
        ('1. Fever.', '2. So (B).')
        >>> split_steps("1. Fever.\\n2. So (B).", rule="marker").steps
        ('1. Fever. 2. So (B).',)
    """
    check_choice("rule for steps", rule, SPLIT_RULES)
    if not isinstance(chain, str):
        return _given(chain)
    text = _lines_of(strip_reasoning(chain))
    if not text.strip():
        return Steps("", (), "whole")
    return _automatic(text) if rule == "auto" else _by_name(text, rule)


_FINDERS: tuple[tuple[str, Callable[[str], list[Start]]], ...] = (
    ("labels", label_starts),
    ("numbered", numbered),
    ("headings", headings),
    ("bullets", bullets),
    ("paragraphs", paragraphs),
    ("lines", lines),
    ("numbered", inline_numbered),
    ("ordinals", ordinals),
)
"""What `auto` looks for in a text that is not in the form of training, in this order; each may be requested alone."""


def _automatic(text: str, *, nested: bool = False) -> Steps:
    """The steps by the first rule that applies; `nested`: a text from JSON is not read as JSON again."""
    reasoning, notes = split_closing_notes(text)
    return (
        (None if nested else _by_json(text))
        or (None if notes or not is_trained_form(text) else _by_marker(text))
        or _by_table(reasoning, notes)
        or _by_layout(reasoning, notes, _FINDERS)
        or _whole(reasoning, notes)
    )


def _by_name(text: str, rule: str) -> Steps:
    if rule == "whole":
        return _whole(text)
    if rule == "marker":
        return _by_marker(text)
    if rule == "json":
        return _by_json(text) or _whole(text)
    reasoning, notes = split_closing_notes(text)
    if rule == "table":
        return _by_table(reasoning, notes) or _whole(reasoning, notes)
    finders = [(name, find) for name, find in (*_FINDERS, ("sentences", sentences)) if name == rule]
    return _by_layout(reasoning, notes, finders) or _whole(reasoning, notes)


def _by_marker(text: str) -> Steps:
    """As in training."""
    flat = text.replace("\n", " ")
    starts = [marker.start() for marker in TRAINED_MARKER.finditer(flat)]
    if not starts:
        return _whole(text)
    steps = [flat[start:end] for start, end in zip(starts, [*starts[1:], len(flat)], strict=True)]
    return Steps(flat[: starts[0]].strip(), tuple(step.strip().replace("## ", "") for step in steps), "marker")


def _by_json(text: str) -> Steps | None:
    record = read_record(text)
    if record is None:
        return None
    inner = Steps("", record.steps, "given") if record.steps else _automatic(_lines_of(record.reasoning), nested=True)
    steps = (*inner.steps[:-1], f"{inner.steps[-1]} {record.rest}".strip())
    return Steps(inner.front, steps, "json", "\n".join(filter(None, (inner.left_out, record.left_out))))


def _by_table(text: str, notes: str) -> Steps | None:
    table = table_steps(text)
    return Steps(*table, "table", notes) if table else None


def _by_layout(text: str, notes: str, finders: Sequence[tuple[str, Callable[[str], list[Start]]]]) -> Steps | None:
    """The steps by the first of the rules that finds two steps, or one label; None if none does."""
    for rule, find in finders:
        starts = find(text)
        if starts:
            front, steps = cut(text, starts)
            if len(steps) >= (1 if rule == "labels" else 2):
                return Steps(front, steps, rule, notes)
    return None


def _whole(text: str, left_out: str = "") -> Steps:
    return Steps("", (text.replace("\n", " ").strip(),), "whole", left_out)


def _given(chain: object) -> Steps:
    """The caller's own steps, each on one line."""
    if not isinstance(chain, Sequence) or isinstance(chain, (bytes, bytearray, memoryview)):
        raise InputError(f"a chain must be text or a sequence of texts, not {type(chain).__name__}")
    steps = []
    for place, step in enumerate(chain):
        if not isinstance(step, str):
            raise InputError(f"step [{place}] of the given steps must be text, not {type(step).__name__}")
        steps.append(_flatten(step))
        if not steps[-1]:
            raise InputError(f"step [{place}] of the given steps is blank: leave it out")
    return Steps("", tuple(steps), "given")


def _lines_of(text: str) -> str:
    return _NEWLINE.sub("\n", text)


def _flatten(text: str) -> str:
    return _lines_of(text).replace("\n", " ").strip()
