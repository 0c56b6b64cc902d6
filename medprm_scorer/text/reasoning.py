r"""Separates a reasoning model's scratch work from its answer.

| model | scratch work |
|---|---|
| DeepSeek-R1, Qwen3, … | `<think>…</think>`, `<thinking>…</thinking>`, `<reasoning>…</reasoning>`, in any letter case |
| Magistral | `[THINK]…[/THINK]` |
| MedGemma | `<unused94>thought…<unused95>` |
| gpt-oss | the channels `analysis` and `commentary`, before `<\|channel\|>final<\|message\|>` |
| gpt-oss, special tokens dropped | `analysis…assistantfinal` at the start of the text |

(Forms: the models' chat templates and OpenAI's harmony format. Training had no such blocks; the rules are our own.)
"""

import re

from medprm_scorer.errors import InputError

_NAMES = "think|thinking|reasoning"
_OPEN = rf"<(?:{_NAMES})>|\[THINK\]|<unused94>(?:thought\b)?"
_CLOSE = rf"</(?:{_NAMES})>|\[/THINK\]|<unused95>"
_CHANNEL = "<|channel|>"
_HARMONY_START = r"(?:<\|start\|>assistant)?<\|channel\|>"
_HARMONY_OPEN = _HARMONY_START + r"(?:analysis|commentary)[^<\n]{0,200}(?:<\|constrain\|>\w{0,20})?<\|message\|>"
_HARMONY_CLOSE = _HARMONY_START + r"final[^<\n]{0,200}(?:<\|constrain\|>\w{0,20})?<\|message\|>"
_TAG = re.compile(rf"(?P<open>{_OPEN})|(?P<close>{_CLOSE})", re.IGNORECASE)
_HARMONY_TAG = re.compile(
    rf"(?P<open>{_OPEN}|{_HARMONY_OPEN})|(?P<close>{_CLOSE}|{_HARMONY_CLOSE})|(?P<end><\|(?:end|return|call)\|>)",
    re.IGNORECASE,
)
_BARE_OPEN, _BARE_CLOSE = "analysis", "assistantfinal"  # the rest of the harmony format without its special tokens
_STEP = re.compile(r"Step \d+:")


def strip_reasoning(text: str) -> str:
    r"""Remove a reasoning model's scratch work, unless it is all there is.

    Any closing tag ends a block, whichever tag opened it. A closing tag outside a block makes everything before it
    scratch work, since some chat templates put the opening tag into the prompt. The exception is a text with `Step
    <n>:` before the tag and none after it, so that a stray tag hides no steps. A block that is never closed was cut
    off: it counts as text, since dropping it could drop the whole chain. If there is only scratch work, only the tags
    are removed.

    Args:
        text: A model's answer.

    Returns:
        The text unchanged if it has none of the tags; otherwise the rest, stripped, with a newline in place of each
        removed part.

    Raises:
        InputError: The text is not a `str`.

    Example:
        >>> strip_reasoning("<think>A? No, B.</think>Step 1: So (B).")
        'Step 1: So (B).'
        >>> strip_reasoning("<think>A? No, B.")
        'A? No, B.'
        >>> strip_reasoning("analysisA? No, B.assistantfinalSo (B).")
        'So (B).'
    """
    if not isinstance(text, str):
        raise InputError(f"a chain must be text or a sequence of texts, not {type(text).__name__}")
    bare = _without_bare_harmony(text)
    if bare is not None:
        text = bare
    outside: list[str] = []
    everything: list[str] = []
    inside = marked = False
    end = block = 0
    last_step = max((step.start() for step in _STEP.finditer(text)), default=-1)
    for tag in (_HARMONY_TAG if _CHANNEL in text else _TAG).finditer(text):
        piece = text[end : tag.start()]
        everything.append(piece)
        if not inside:
            outside.append(piece)
            marked = marked or _STEP.search(piece) is not None
        if tag["close"]:
            if not inside and (not marked or last_step >= tag.end()):
                outside.clear()
                marked = False
            inside = False
        elif not tag["open"]:
            inside = False
        elif not inside:
            inside, block = True, len(everything)
        end = tag.end()
    if not everything:
        return text
    everything.append(text[end:])
    outside += everything[block:] if inside else [text[end:]]
    return _join(outside) or _join(everything)


def _without_bare_harmony(text: str) -> str | None:
    """The final channel of a harmony answer whose special tokens were dropped; None if this is not one."""
    start = text.lstrip()
    if not start.startswith(_BARE_OPEN) or _BARE_CLOSE not in start:
        return None
    scratch, _, final = start.rpartition(_BARE_CLOSE)
    return final.strip() or scratch.removeprefix(_BARE_OPEN).strip()


def _join(pieces: list[str]) -> str:
    return "\n".join(piece for piece in pieces if piece.strip()).strip()
