"""What a policy model is asked, so that its answers have the steps and the ending that the reward model reads.

The paper's policies were told to solve step by step, to begin each step with `Step {number}:`, and how to end; the
sentences here are our own.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from medprm_scorer.errors import InputError
from medprm_scorer.text.prompts import document_block

_STEPWISE = (
    "Solve the question step by step, using the documents if there are any. Write 3 to 9 steps, each on a line of its "
    "own that begins with Step, its number and a colon, such as (Step 1:) and (Step 2:). {ending}"
)

POLICY_PROMPTS: Mapping[str, str] = MappingProxyType(
    {
        "options": _STEPWISE.format(ending="End the last step with: the answer is (option letter)"),
        "open": _STEPWISE.format(
            ending="End with a last line that gives the disease, such as ## Final Diagnosis: common cold"
        ),
    }
)
"""System prompts by the kind of answer: an option's letter, or a diagnosis in words."""


def policy_messages(question: str, documents: Sequence[str] = (), kind: str = "options") -> list[dict[str, str]]:
    r"""The chat messages that ask a policy for one chain of thought.

    Args:
        question: The question, options inside.
        documents: What the answer may rest on, most relevant first; the same texts that the chains are scored against.
        kind: `options` (the answer is an option's letter) or `open` (a diagnosis in words).

    Returns:
        A system and a user message, each `{"role": …, "content": …}`, as chat models and servers take them.

    Raises:
        InputError: The kind is unknown, the question is no text or blank, or the documents are not a list of texts.

    Example:
        >>> system, user = policy_messages("Which? (A) … (B) …", ["Fever is common."])
        >>> user["content"]
        'Document 1: Fever is common.\n\nQuestion: Which? (A) … (B) …'
    """
    if not isinstance(kind, str) or kind not in POLICY_PROMPTS:
        raise InputError(f"unknown kind of answer {kind!r}: choose one of {', '.join(POLICY_PROMPTS)}")
    if not isinstance(question, str) or not question.strip():
        raise InputError("the question must be a text that is not blank")
    return [
        {"role": "system", "content": POLICY_PROMPTS[kind]},
        {"role": "user", "content": f"{document_block(documents)}Question: {question}"},
    ]
