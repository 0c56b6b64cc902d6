"""Prompt templates: the one that asks for a chain of thought, and what any template was filled in with.

LlamaIndex's synthesizers, and with them its chat engines, put the retrieved texts and the query into one prompt. A
model that only saw the prompt could not tell the documents from the rest, so what was filled in is kept beside it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate

from medprm_scorer.errors import InputError
from medprm_scorer.text.policy import policy_messages
from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET, document_block

TEMPLATE = "text_qa_template"
"""The template's name in `get_prompts` and `update_prompts`, as LlamaIndex's own synthesizers call theirs."""

_CONTEXTS = ("context_str", "context_msg")
_QUESTION = "query_str"
_DOCUMENTS = ("context_str", "documents")


def policy_template(kind: str = "options") -> ChatPromptTemplate:
    """The default prompt: for a chat model, the messages of `medprm_scorer.policy_messages`.

    Args:
        kind: `options` (the answer is an option's letter) or `open` (a diagnosis in words).

    Raises:
        InputError: The kind is unknown.

    Example:
        >>> template = policy_template()
        >>> system, user = template.format_messages(**prompt_values("Which? (A) … (B) …", ["Fever is common."]))
        >>> user.content
        'Document 1: Fever is common.\\n\\nQuestion: Which? (A) … (B) …'
    """
    system, user = policy_messages("{query_str}", (), kind)
    messages = [
        ChatMessage(role=system["role"], content=system["content"]),
        ChatMessage(role=user["role"], content="{documents}" + user["content"]),
    ]
    return ChatPromptTemplate(message_templates=messages)


def prompt_values(question: str, documents: Sequence[str], more: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a template may use: `query_str`, `context_str` (numbered documents) and `documents`.

    `documents` is `context_str` and a blank line, or "" without documents: it can stand right before what follows.

    Args:
        question: The question.
        documents: The documents' texts.
        more: Values for the user's own template.
    """
    block = document_block(documents)
    return {**(more or {}), "query_str": question, "context_str": block.removesuffix("\n\n"), "documents": block}


def checked_template(template: object) -> BasePromptTemplate:
    """A template in which the question and the documents have a place; others would be sent as they are, and paid for.

    Raises:
        InputError: It is no template, or has no `query_str`, or neither `context_str` nor `documents`.

    Example:
        >>> from llama_index.core.prompts import PromptTemplate
        >>> checked_template(PromptTemplate("Context: {context} Question: {query_str}"))
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: text_qa_template has no {context_str}: name its variables so, or give them in \
template_var_mappings
    """
    if not isinstance(template, BasePromptTemplate):
        kind = type(template).__name__
        raise InputError(f"text_qa_template must be a prompt template, such as PromptTemplate(text), not {kind}")
    known = {*template.template_vars, *template.kwargs}
    mappings = template.template_var_mappings or {}
    named = {ours for ours in (_QUESTION, *_DOCUMENTS) if mappings.get(ours, ours) in known}
    named |= set(template.function_mappings or ())
    missing = [] if _QUESTION in named else [_QUESTION]
    missing += [] if named & set(_DOCUMENTS) else [_DOCUMENTS[0]]
    if missing:
        what = " and no ".join(f"{{{name}}}" for name in missing)
        raise InputError(
            f"text_qa_template has no {what}: name its variables so, or give them in template_var_mappings"
        )
    return template


def replaced(prompts: dict[str, BasePromptTemplate], default: BasePromptTemplate) -> BasePromptTemplate:
    """The template among updated prompts, or the present one; checked as in `checked_template`."""
    return checked_template(prompts.get(TEMPLATE, default))


@dataclass(frozen=True, repr=False)
class Filled:
    """The question and the retrieved texts in a prompt.

    Args:
        question: The question; None if the template has none.
        context: The retrieved texts, each perhaps several documents in one.
    """

    question: str | None = None
    context: tuple[str, ...] = ()


class PromptMessages(list[ChatMessage]):
    """Messages made from a template."""

    def __init__(self, messages: Iterable[ChatMessage], filled: Filled) -> None:
        super().__init__(messages)
        self.filled = filled


class PromptText(str):
    """A text made from a template."""

    filled: Filled

    def __new__(cls, text: str, filled: Filled) -> "PromptText":
        """The text itself, and what the template was filled in with."""
        made = super().__new__(cls, text)
        made.filled = filled
        return made


def filled_in(prompt: BasePromptTemplate, values: Mapping[str, Any]) -> Filled:
    """What a template is filled in with, by the names that LlamaIndex's own templates use.

    Args:
        prompt: The template; a part of the values may be in it already.
        values: The other values.
    """
    known = {**prompt.kwargs, **values}
    question = known.get(_QUESTION)
    context: list[str] = []
    for name in _CONTEXTS:
        value = known.get(name)
        parts = [value] if isinstance(value, str) else value or []
        context += [part for part in parts if isinstance(part, str) and part.strip()]
    return Filled(question if isinstance(question, str) and question.strip() else None, tuple(context))


def context_documents(
    context: Iterable[str], count_tokens: Callable[[str], int], budget: int = DOCUMENT_TOKEN_BUDGET
) -> list[str]:
    r"""Retrieved texts as documents: one that exceeds the budget is taken apart at its blank lines.

    Args:
        context: The texts.
        count_tokens: `MedPRM.count_tokens`.
        budget: Most tokens of a document that can be read at all.

    Example:
        >>> context_documents(["a b", "c d\n\ne"], lambda text: len(text.split()), budget=3)
        ['a b', 'c d', 'e']
    """
    documents = []
    for text in context:
        documents += [text] if count_tokens(text) < budget else text.split("\n\n")
    return documents
