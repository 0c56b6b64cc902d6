"""Prompt templates: the one that asks for a chain of thought, and the values that fill any template.

LlamaIndex's synthesizers, and with them its chat engines, put the retrieved texts and the query into one prompt. A
model that saw only the prompt could not tell the documents from the rest, so the values are kept with it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate

from medprm_scorer.errors import InputError
from medprm_scorer.text.policy import ENDINGS, STEPWISE, kind_of_answer, policy_messages
from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET, document_block

TEMPLATE = "text_qa_template"
"""The template's name in `get_prompts` and `update_prompts`, the same as in LlamaIndex's own synthesizers."""

REFINE = "refine_template"
"""The name of the template that refines an answer with more documents."""

TEMPLATES = (TEMPLATE, REFINE)

_CONTEXTS = ("context_str", "context_msg")
_QUESTION = "query_str"
_NEEDED = {
    TEMPLATE: ((_QUESTION,), ("context_str", "documents")),
    REFINE: ((_QUESTION,), ("context_msg", "context_str", "documents"), ("existing_answer",)),
}
"""The variables that a template needs, each with its alternatives."""


def policy_template(kind: str | None = None) -> ChatPromptTemplate:
    """The default prompt: for a chat model, the messages of `medprm_scorer.policy_messages`.

    Args:
        kind: `options` (the answer is an option's letter), `open` (a diagnosis in words) or `free` (any short answer,
            such as a treatment, a dose or the next test); None takes `options` for a question with options, otherwise
            `free`.

    Raises:
        InputError: The kind is unknown.

    Example:
        >>> template = policy_template()
        >>> system, user = template.format_messages(**prompt_values("Which? (A) … (B) …", ["Fever is common."]))
        >>> user.content
        'Document 1: Fever is common.\\n\\nQuestion: Which? (A) … (B) …'
    """
    return _template(kind, "")


def refining_template(kind: str | None = None) -> ChatPromptTemplate:
    """The default prompt for documents that did not fit in the first one: it shows the answer so far.

    Args:
        kind: As in `policy_template`.

    Raises:
        InputError: The kind is unknown.
    """
    return _template(kind, _REFINING)


_REFINING = (
    "\n\nAn answer that was given from other documents:\n{existing_answer}\n\nWrite the whole answer again, from the "
    "first step to the last. Correct it where the documents above speak against it; else keep what it says."
)


def _template(kind: str | None, after: str) -> ChatPromptTemplate:
    system, user = policy_messages("{query_str}", (), kind)
    content = system["content"] if kind else STEPWISE  # its ending depends on the question
    messages = [
        ChatMessage(role=system["role"], content=content),
        ChatMessage(role=user["role"], content="{documents}" + user["content"] + after),
    ]
    return ChatPromptTemplate(message_templates=messages)


def prompt_values(question: str, documents: Sequence[str], more: dict[str, Any] | None = None) -> dict[str, Any]:
    """The variables of a template: `query_str`, `context_str` (numbered documents), `documents` and `ending`.

    `documents` is `context_str` and a blank line, or "" without documents, so that other text can follow directly.
    `ending` says how the answer to this question must end.

    Args:
        question: The question.
        documents: The documents' texts.
        more: Values for the user's own template.
    """
    block = document_block(documents)
    ending = ENDINGS[kind_of_answer(question)]
    values = {"query_str": question, "context_str": block.removesuffix("\n\n"), "documents": block, "ending": ending}
    return {**(more or {}), **values}


def checked_template(template: object, name: str = TEMPLATE) -> BasePromptTemplate:
    """A template that has a place for the question and the documents; others would be sent as they are, and paid for.

    Args:
        template: The template.
        name: Its name: `text_qa_template` or `refine_template`.

    Raises:
        InputError: It is not a template, or lacks a variable: `query_str`; one of `context_str` and `documents`; in
            `refine_template` also `existing_answer`.

    Example:
        >>> from llama_index.core.prompts import PromptTemplate
        >>> checked_template(PromptTemplate("Context: {context} Question: {query_str}"))
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: text_qa_template has no {context_str}: name its variables so, or give them in \
template_var_mappings
    """
    if not isinstance(template, BasePromptTemplate):
        kind = type(template).__name__
        raise InputError(f"{name} must be a prompt template, such as PromptTemplate(text), not {kind}")
    known = {*template.template_vars, *template.kwargs, *(template.function_mappings or ())}
    mappings = template.template_var_mappings or {}
    missing = [each[0] for each in _NEEDED[name] if not any(mappings.get(one, one) in known for one in each)]
    if missing:
        what = " and no ".join(f"{{{one}}}" for one in missing)
        raise InputError(f"{name} has no {what}: name its variables so, or give them in template_var_mappings")
    return template


def replaced(prompts: dict[str, BasePromptTemplate]) -> dict[str, BasePromptTemplate]:
    """Our own prompts among updated ones, checked as in `checked_template`."""
    return {name: checked_template(prompts[name], name) for name in TEMPLATES if name in prompts}


@dataclass(frozen=True, repr=False)
class Filled:
    """The question and the retrieved texts in a prompt.

    Args:
        question: The question; None if the template has none.
        context: The retrieved texts; each may contain several documents.
        names: Names of all variables of the template.
        kind: LlamaIndex's kind of the prompt (`PromptType`); None if it was made without a template.
    """

    question: str | None = None
    context: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    kind: str | None = None


class PromptMessages(list[ChatMessage]):
    """Messages made from a template."""

    def __init__(self, messages: Iterable[ChatMessage], filled: Filled) -> None:
        super().__init__(messages)
        self.filled = filled


class PromptText(str):
    """A text made from a template."""

    filled: Filled

    def __new__(cls, text: str, filled: Filled) -> "PromptText":
        """The text itself, and the values of the template."""
        made = super().__new__(cls, text)
        made.filled = filled
        return made


def filled_in(prompt: BasePromptTemplate, values: Mapping[str, Any]) -> Filled:
    """The values of a template, by the names that LlamaIndex's own templates use.

    Args:
        prompt: The template; it may already contain some of the values.
        values: The other values.
    """
    known = {**prompt.kwargs, **values}
    question = known.get(_QUESTION)
    context: list[str] = []
    for name in _CONTEXTS:
        value = known.get(name)
        parts = [value] if isinstance(value, str) else value or []
        context += [part for part in parts if isinstance(part, str) and part.strip()]
    kind = prompt.metadata.get("prompt_type")
    return Filled(
        question if isinstance(question, str) and question.strip() else None,
        tuple(context),
        frozenset(known),
        kind if isinstance(kind, str) else None,
    )


def context_documents(
    context: Iterable[str], count_tokens: Callable[[str], int], budget: int = DOCUMENT_TOKEN_BUDGET
) -> list[str]:
    r"""Retrieved texts as documents: one that exceeds the budget is split at its blank lines.

    Args:
        context: The texts.
        count_tokens: `MedPRM.count_tokens`.
        budget: Most tokens of a single document that can be read.

    Example:
        >>> context_documents(["a b", "c d\n\ne"], lambda text: len(text.split()), budget=3)
        ['a b', 'c d', 'e']
    """
    documents = []
    for text in context:
        documents += [text] if count_tokens(text) < budget else text.split("\n\n")
    return documents
