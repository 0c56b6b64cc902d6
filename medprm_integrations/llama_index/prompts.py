"""The prompt that asks a language model for one chain of thought, as a template that can be read and replaced."""

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate

from medprm_scorer.text.policy_prompts import policy_messages
from medprm_scorer.text.prompts import document_block

TEMPLATE = "text_qa_template"
"""The template's name in `get_prompts` and `update_prompts`, as LlamaIndex's own synthesizers call theirs."""


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


def replaced(prompts: dict[str, BasePromptTemplate], default: BasePromptTemplate) -> BasePromptTemplate:
    """The template among updated prompts, or the present one."""
    return prompts.get(TEMPLATE, default)
