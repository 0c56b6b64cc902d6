"""The prompts for a policy model.

The paper's policies (arXiv 2506.11474) were instructed to solve the question step by step, to begin each step with
`Step {number}:`, and how to end. The wording here is our own.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from medprm_scorer.errors import InputError, check_choice
from medprm_scorer.text.answers.options import find_options
from medprm_scorer.text.prompts import document_block

STEPWISE = (
    "Solve the question step by step, using the documents if there are any. Write 3 to 9 steps, each on a line of its "
    "own that begins with Step, its number and a colon, such as (Step 1:) and (Step 2:). {ending}"
)

"""The instruction to a policy; `ending` is one of `ENDINGS`."""

ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        "options": "End the last step with: the answer is (option letter)",
        "open": "End with a last line that gives the disease, such as ## Final Diagnosis: common cold",
        "free": "End with a last line that gives the answer in a few words, such as Final answer: 5 mg once daily",
    }
)
"""How a chain is to end, by the kind of answer: an option's letter, a diagnosis, or any short answer in words."""

POLICY_PROMPTS: Mapping[str, str] = MappingProxyType(
    {kind: STEPWISE.format(ending=ending) for kind, ending in ENDINGS.items()}
)
"""System prompts by the kind of answer."""


def kind_of_answer(question: str) -> str:
    r"""`options` if a question has options, otherwise `free`.

    Args:
        question: The question.

    Example:
        >>> kind_of_answer("Which?\n(A) CT\n(B) MRI"), kind_of_answer("Which test comes first?")
        ('options', 'free')
    """
    return "options" if find_options(question) else "free"


def policy_messages(question: str, documents: Sequence[str] = (), kind: str | None = None) -> list[dict[str, str]]:
    r"""The chat messages that ask a policy for one chain of thought.

    Args:
        question: The question, including its answer options.
        documents: The evidence for the answer, most relevant first; the same texts with which the chains are scored.
        kind: `options` (the answer is an option's letter), `open` (a diagnosis in words) or `free` (any short answer);
            None takes `options` if the question has options, otherwise `free`.

    Returns:
        A system and a user message, each `{"role": …, "content": …}`, as chat models and servers take them.

    Raises:
        InputError: The kind is unknown, the question is blank or not a text, or the documents are not a list of texts.

    Example:
        >>> system, user = policy_messages("Which? (A) … (B) …", ["Fever is common."])
        >>> user["content"]
        'Document 1: Fever is common.\n\nQuestion: Which? (A) … (B) …'
    """
    if not isinstance(question, str) or not question.strip():
        raise InputError("the question must be a text that is not blank")
    kind = kind_of_answer(question) if kind is None else kind
    check_choice("kind of answer", kind, POLICY_PROMPTS)
    return [
        {"role": "system", "content": POLICY_PROMPTS[kind]},
        {"role": "user", "content": f"{document_block(documents)}Question: {question}"},
    ]
