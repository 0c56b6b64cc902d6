"""The text of the prompt, as the model was trained on it.

The model reads: system prompt, documents, question, `Explanation:`, then the steps with a tag after each. The texts
here are model input, and match exactly those of the authors' training and scoring code (`python/4_scoring_PRM.py` of
eth-medical-ai-lab/Med-PRM; `card`: the model card's quick start). `encoding` tokenizes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, get_args

from medprm_scorer.errors import InputError, check_choice

RELEASED_MODEL = "dmis-lab/llama-3.1-medprm-reward-v1.0"
"""Hub id of the model that was trained on these prompts."""

STEP_TAG = " ки"
"""The special token after each step, with its leading space (id 128256 in the released tokenizer)."""

POSITIVE_LABEL = " +"
"""The token whose probability at the tag is the reward (id 489)."""

NEGATIVE_LABEL = " -"
"""The token that it is compared with (id 482)."""

DOCUMENT_TOKEN_BUDGET = 3072
"""Tokens for documents in training: 4096 minus 1024 reserved for the rest; each document costs its tokens + 1."""

_STEPWISE = (
    "You are an evaluator assessing the logicality and validity of the reasoning in each step of the given "
    "explanation. In order to support the evaluation, {inputs} If the reasoning contains errors, output - after that "
    "step. If the reasoning in a step is logical and valid, output + after that step. "
)

SYSTEM_PROMPTS: Mapping[str, str] = MappingProxyType(
    {
        "rag": _STEPWISE.format(
            inputs="the relevant documents, the question, and the explanation are provided sequentially."
        ),
        "no_documents": _STEPWISE.format(inputs="the question and the explanation are provided."),
        "outcome": (
            "You are an evaluator assessing the overall quality and correctness of the final answer in the given "
            "explanation. In order to support the evaluation, the question and the explanation are provided. If the "
            "final answer is incorrect or not well-supported, output -. If the final answer is correct and "
            "well-supported, output +."
        ),
        "card": (
            "You are an evaluator assessing the logicality and validity of each reasoning step. "
            "If a step is valid, append '+' after that step; if invalid, append '-'."
        ),
    }
)
"""The system prompts by name; the released model was trained on the first.

The trailing space of the first two is the authors'; Llama's chat template trims it.
"""

System = Literal["rag", "auto", "no_documents", "outcome", "card"]
"""Which system prompt the reward model reads."""

SYSTEMS: tuple[str, ...] = get_args(System)
"""The names that `system_prompt` takes; the first is the default."""


def system_prompt(mode: str, has_documents: bool) -> str:
    """The system prompt for a request.

    Args:
        mode: A name in `SYSTEM_PROMPTS`, or `auto` (`rag` with documents, `no_documents` without). The released model
            was always trained on `rag`, even if a question had no documents (the authors' training script sets
            `use_rag="yes"`); a model trained on both, such as the demo model, takes `auto`.
        has_documents: Whether the prompt will hold at least one document, after the budget.

    Returns:
        The exact prompt.

    Raises:
        InputError: The mode is unknown.

    Example:
        >>> system_prompt("auto", has_documents=False) == SYSTEM_PROMPTS["no_documents"]
        True
    """
    if mode == "auto":
        mode = "rag" if has_documents else "no_documents"
    check_choice("system prompt", mode, SYSTEMS)
    return SYSTEM_PROMPTS[mode]


def document_block(documents: Sequence[str]) -> str:
    r"""The documents in the form in which they precede the question.

    A document that already begins with its own `Document <number>:` is not numbered again, as in the model card's
    request. Otherwise a document's text is unchanged.

    Args:
        documents: The documents that fit the budget, most relevant first.

    Returns:
        `Document 1: …\n\nDocument 2: …\n\n`, the trailing blank line included; "" without documents.

    Raises:
        InputError: The documents are a single `str`, or one of them is not a `str`.

    Example:
        >>> document_block(["Fever is common.", "Document 2: Rash is not."])
        'Document 1: Fever is common.\n\nDocument 2: Rash is not.\n\n'
    """
    if not isinstance(documents, Iterable):
        raise InputError(f"documents must be a list of texts, not {type(documents).__name__}")
    if isinstance(documents, str):  # a str is a sequence of str, and would become one document per letter
        raise InputError("documents must be a list of texts, not one text: write [document]")
    block = []
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, str):
            raise InputError(f"documents[{number - 1}] must be text, not {type(document).__name__}")
        label = f"Document {number}:"
        block.append(f"{document}\n\n" if document.startswith(label) else f"{label} {document}\n\n")
    return "".join(block)


def user_prefix(question: str, documents: Sequence[str]) -> str:
    r"""The user message up to the beginning of the steps; the same for every candidate of a question.

    It has no space at the end: the token layer puts one before the first step, or before the text in front of it.
    Nothing is stripped, since in training only the chat template trims, and only both ends of the message.

    Args:
        question: The question, including its answer options.
        documents: The documents that fit the budget, most relevant first.

    Returns:
        The document block, the question and `Explanation:`.

    Raises:
        InputError: The question is not a `str`, or the documents are not as `document_block` needs them.

    Example:
        >>> user_prefix("Which? (A) … (B) …", ["Fever is common."])
        'Document 1: Fever is common.\n\nQuestion: Which? (A) … (B) …\n\nExplanation:'
    """
    if not isinstance(question, str):
        raise InputError(f"the question must be text, not {type(question).__name__}")
    return f"{document_block(documents)}Question: {question}\n\nExplanation:"
