"""Which calls of a chat model are answers to the user, and which are helper calls: these run once and are not judged.

Helper calls condense a follow-up into a standalone question, write summaries and titles of a conversation, choose tools
or a route, simulate a tool, or grade documents. They have three signs, checked in this order.

1. LangChain's own mark: its middleware calls models with `lc_source` in the metadata of the run.
2. The schema of structured output, if it has no field for the reasoning or the answer (`is_answer_schema`).
3. The prompt: it begins like one of LangChain's own, or the user's last message asks for a title or a summary of the
   conversation, or for the question in other words.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from medprm_integrations.shared.structured import is_answer_schema

BEGINNINGS = (
    "Given the following conversation and a follow up question, rephrase",
    "Given a chat history and the latest user question",
    "You are an AI language model assistant. Your task is\nto generate",
    "You are an AI language model assistant. Your task is to generate",
    "Given the following question and context, extract any part of the context",
    "Given the following question and context, return YES if",
    "Progressively summarize the lines of conversation",
    "Write a concise summary of the following",
    "<role>\nContext Extraction Assistant",
    "You are emulating a tool call",
    "Your goal is to select the most relevant tools",
)
"""How the prompts of LangChain's own helper calls begin (langchain, langchain-classic, and its guide on follow-ups)."""

_ASKED = re.compile(
    r"\b(?:title|headline)\b[^\n]{0,40}\b(?:conversation|chat|thread|dialogue)\b"
    r"|\b(?:summari[sz]e|summary of)\b[^\n]{0,40}\b(?:conversation|chat|thread|dialogue|messages)\b"
    r"|\b(?:rephrase|reformulate|rewrite|condense)\b[^\n]{0,60}\b(?:question|query)\b",
    re.IGNORECASE,
)
_READ = 300
"""The length of the start of the user's last message in which it must say so, in characters."""


def is_helper_call(
    messages: Sequence[BaseMessage], metadata: Mapping[str, Any], fields: Collection[str] | None = None
) -> bool:
    """Whether a call of a chat model is not an answer to the user.

    Args:
        messages: The messages for the model.
        metadata: The metadata of the run.
        fields: Names of the fields of its structured output; None if it answers in plain text.

    Example:
        >>> is_helper_call([HumanMessage("Write a short title for this conversation.")], {})
        True
        >>> which = [HumanMessage("Which dose?")]
        >>> is_helper_call(which, {}, ["destination"]), is_helper_call(which, {}, ["steps"]), is_helper_call(which, {})
        (True, False, False)
    """
    if isinstance(metadata.get("lc_source"), str) or (fields is not None and not is_answer_schema(fields)):
        return True
    last = next((str(one.text) for one in reversed(messages[-1:]) if isinstance(one, HumanMessage)), "").lstrip()
    told = [last, *(str(one.text).lstrip() for one in messages if isinstance(one, SystemMessage))]
    return any(text.startswith(BEGINNINGS) for text in told) or _ASKED.search(last[:_READ]) is not None


def schema_fields(schema: Any) -> list[str] | None:
    """Names of all fields of a schema, including nested ones; None if its form is unknown."""
    try:
        return fields_in(convert_to_openai_tool(schema))
    except Exception:  # noqa: BLE001 - a form that only the model understands
        return None


def fields_in(json_schema: object, depth: int = 16) -> list[str]:
    """Names of the properties anywhere in a JSON schema.

    Example:
        >>> fields_in({"properties": {"out": {"items": {"properties": {"step": {}}}}}})
        ['out', 'step']
    """
    if not depth:
        return []
    if isinstance(json_schema, list):
        return [name for one in json_schema for name in fields_in(one, depth - 1)]
    if not isinstance(json_schema, Mapping):
        return []
    properties = json_schema.get("properties")
    own = [str(name) for name in properties] if isinstance(properties, Mapping) else []
    below = [value for name, value in json_schema.items() if name != "properties"]
    below += list(properties.values()) if isinstance(properties, Mapping) else []
    return own + [name for value in below for name in fields_in(value, depth - 1)]
