r"""From a chain of thought to the steps that the model judges one by one.

The model was trained on chains split at `Step 1:`, `Step 2:`, … (the `marker` rule; source: `prm_process_solution` in
`python/3_test_dataset_sampling.py` of the authors' repository eth-medical-ai-lab/Med-PRM). Chains of other policies
often have no such marker. For them the other rules find the author's own structure; which rule decided is part of the
result:

- `given`       the caller passed the steps as a list.
- `marker`      newlines become spaces, then a step starts at each `Step <number>:` or `## Step <number>:`. Each step is
                stripped, then every `## ` in it is deleted: `## Final Diagnosis: X` becomes `Final Diagnosis: X`. Text
                before the first step, and a text without a marker, keep theirs.
- `numbered`    a step starts at each line `1.`, `2.`, … (or `1)`, `2)`, …), all indented like the first.
- `headings`    a step starts at each markdown heading (`# …` to `###### …`).
- `paragraphs`  a step is a run of lines between blank lines.
- `whole`       the whole text is one step.
- `tagged`      the text already carried the step tag (`steps_from_tagged`).

In every rule `\n`, `\r\n` and `\r` each become one space (training replaced `\n` only; the other two are the same line
end as written on other systems), each step is stripped, and all other inner whitespace stays as it is. Other Unicode
line separators (U+2028 and so on) end no line here: training did not replace them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from medprm_scorer.errors import InputError

SPLIT_RULES = ("auto", "marker", "numbered", "headings", "paragraphs", "whole")
"""The rules that `split_steps` takes; `given` and `tagged` follow from what is passed and cannot be asked for."""

# None of these patterns can backtrack over more than the run of characters it has just read, so all are linear-time.
_NEWLINE = re.compile(r"\r\n|\r")
_MARKER = re.compile(r"(?:## )?Step \d+:")
# `1.5 mg` at the start of a line is a dose and not an item; three digits keep int() away from hostile runs of digits
_NUMBERED = re.compile(r"([ \t]*)(?:\*\*)?([0-9]{1,3})[.)](?![0-9])")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+\S")
_REASONING_TAG = re.compile(r"<(/?)(?:think|thinking|reasoning)>", re.IGNORECASE)


@dataclass(frozen=True)
class Steps:
    """A chain as the model reads it. The `repr` shows no text, since it may end up in a log.

    Args:
        front: Text before the first step, fed to the model without a tag of its own; "" if there is none.
        steps: The steps, none blank, markers included (`Step 1: …`); empty if the chain is blank.
        rule: The name of the rule that decided; see the module's list.
    """

    front: str = field(repr=False)
    steps: tuple[str, ...] = field(repr=False)
    rule: str


def split_steps(chain: str | Sequence[str], rule: str = "auto") -> Steps:
    """Split a chain of thought into steps.

    A list of steps is taken as it is (`given`). In a text, reasoning blocks are removed first (`strip_reasoning`).
    Then `auto` splits by `marker` if there is at least one marker, exactly as in training; without one, it takes the
    first of `numbered`, `headings` and `paragraphs` that finds at least two steps, else `whole`. A rule asked for by
    name is used alone: if it does not apply, the text is one step (`whole`). So `marker` is the behaviour of training.

    Args:
        chain: The whole chain of thought, or its steps.
        rule: One of `SPLIT_RULES`; without effect on a list.

    Returns:
        The steps; none if the text is blank or the list empty.

    Raises:
        InputError: The rule is unknown, the chain is neither text nor a sequence of texts, or a given step is blank.

    Example:
        >>> chain = "Let us see.\\n## Step 1: Fever.\\n\\n## Step 2: The answer is (B)"
        >>> split = split_steps(chain)
        >>> split.rule, split.front, split.steps
        ('marker', 'Let us see.', ('Step 1: Fever.', 'Step 2: The answer is (B)'))
        >>> split_steps("1. Fever.\\n2. So (B).").steps
        ('1. Fever.', '2. So (B).')
        >>> split_steps("1. Fever.\\n2. So (B).", rule="marker").steps
        ('1. Fever. 2. So (B).',)
    """
    if rule not in SPLIT_RULES:
        raise InputError(f"unknown step rule {rule!r}: choose one of {', '.join(SPLIT_RULES)}")
    if not isinstance(chain, str):
        return _given(chain)
    text = _NEWLINE.sub("\n", strip_reasoning(chain))
    flat = text.replace("\n", " ")
    if not flat.strip():
        return Steps("", (), "whole")
    if rule in ("auto", "marker"):
        markers = list(_MARKER.finditer(flat))
        if markers:
            starts = [marker.start() for marker in markers]
            steps = [flat[start:end] for start, end in zip(starts, [*starts[1:], len(flat)], strict=True)]
            return Steps(flat[: starts[0]].strip(), tuple(step.strip().replace("## ", "") for step in steps), "marker")
    lines = text.split("\n")
    for name, find_starts in _LINE_RULES.items():
        if rule in ("auto", name):
            starts = find_starts(lines)
            if len(starts) >= 2:
                items = [_join(lines[start:end]) for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]
                return Steps(_join(lines[: starts[0]]), tuple(items), name)
    return Steps("", (flat.strip(),), "whole")


def steps_from_tagged(text: str, tag: str = " ки") -> Steps:
    """Read a text that already carries the step tag after each step (`prm_processed_solution` of the test set).

    For such records only, never for a candidate: in untrusted text a tag means nothing. The tag counts where it stands
    alone, before whitespace or the end, so never inside a Cyrillic word. Text after the last tag becomes a last step;
    tags with no text between them are one tag. Text before the first marker stays part of the first step, which is the
    same text for the model.

    Args:
        text: Steps, each followed by the tag.
        tag: The step tag, with its leading space.

    Returns:
        The steps, with "" as front and `tagged` as rule; none if there is nothing but tags and whitespace.

    Raises:
        InputError: The text is not a `str`, or the tag is blank.

    Example:
        >>> steps_from_tagged("Step 1: Fever. ки Step 2: So (B). ки").steps
        ('Step 1: Fever.', 'Step 2: So (B).')
        >>> steps_from_tagged("Step 1: боль в кишечнике ки").steps
        ('Step 1: боль в кишечнике',)
    """
    if not isinstance(text, str):
        raise InputError(f"a tagged chain must be text, not {type(text).__name__}")
    if not tag.strip():
        raise InputError("the step tag must not be blank")
    pieces = re.split(re.escape(tag) + r"(?=\s|\Z)", text)
    return Steps("", tuple(step for step in map(_flatten, pieces) if step), "tagged")


def strip_reasoning(text: str) -> str:
    r"""Remove a reasoning model's scratch work, unless it is all there is.

    Scratch work is what stands in `<think>…</think>`, `<thinking>…</thinking>` or `<reasoning>…</reasoning>`, in any
    letter case; any closing tag ends the block, whatever opened it. A closing tag outside a block makes everything
    before it scratch work, since some chat templates put the opening tag into the prompt; but not if a `Step <n>:`
    stands there, so that a stray tag hides no step. A block that is never closed
    was cut off: it counts as text, since dropping it could drop the whole chain. If nothing but scratch work is there,
    only the tags are removed. These are this package's own rules; training had no such blocks.

    Args:
        text: A model's answer.

    Returns:
        The text unchanged if it has none of the tags; else what remains, stripped, with a newline in place of what was
        removed.

    Raises:
        InputError: The text is not a `str`.

    Example:
        >>> strip_reasoning("<think>A? No, B.</think>Step 1: So (B).")
        'Step 1: So (B).'
        >>> strip_reasoning("<think>A? No, B.")
        'A? No, B.'
    """
    if not isinstance(text, str):
        raise InputError(f"a chain must be text or a sequence of texts, not {type(text).__name__}")
    outside: list[str] = []
    everything: list[str] = []
    inside = marked = False
    end = block = 0
    for tag in _REASONING_TAG.finditer(text):
        piece = text[end : tag.start()]
        everything.append(piece)
        if not inside:
            outside.append(piece)
            marked = marked or _MARKER.search(piece) is not None
        if tag.group(1):
            if not inside and not marked:
                outside.clear()
            inside = False
        elif not inside:
            inside, block = True, len(everything)
        end = tag.end()
    if not everything:
        return text
    everything.append(text[end:])
    outside += everything[block:] if inside else [text[end:]]
    return _join_pieces(outside) or _join_pieces(everything)


def _join_pieces(pieces: list[str]) -> str:
    return "\n".join(piece for piece in pieces if piece.strip()).strip()


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


def _flatten(text: str) -> str:
    return _NEWLINE.sub("\n", text).replace("\n", " ").strip()


def _join(lines: Sequence[str]) -> str:
    return " ".join(lines).strip()


def _numbered_starts(lines: Sequence[str]) -> list[int]:
    """Lines numbered 1, 2, 3, …; a line out of turn, or indented otherwise (a list within a list), is plain text."""
    starts: list[int] = []
    indent = ""
    for place, line in enumerate(lines):
        item = _NUMBERED.match(line)
        if item and int(item.group(2)) == len(starts) + 1 and (not starts or item.group(1) == indent):
            indent = item.group(1)
            starts.append(place)
    return starts


def _heading_starts(lines: Sequence[str]) -> list[int]:
    return [place for place, line in enumerate(lines) if _HEADING.match(line)]


def _paragraph_starts(lines: Sequence[str]) -> list[int]:
    blank = [True] + [not line.strip() for line in lines]
    return [place for place in range(len(lines)) if blank[place] and not blank[place + 1]]


_LINE_RULES: dict[str, Callable[[Sequence[str]], list[int]]] = {
    "numbered": _numbered_starts,
    "headings": _heading_starts,
    "paragraphs": _paragraph_starts,
}
