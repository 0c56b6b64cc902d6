"""The question of a conversation, and the results of an agent's tools in it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from medprm_integrations.shared.evidence import NamedText
from medprm_integrations.shared.prompt_context import NOT_GIVEN, holds_documents
from medprm_integrations.shared.questions import Asked, put_together
from medprm_integrations.shared.tool_evidence import brings_evidence, found_nothing

UNREAD_PARTS = "The question holds images or other files, which the reward model does not read."
"""The caution if a user's message has more than text."""

_SUMMARY = "Here is a summary of the conversation to date:"
"""How `SummarizationMiddleware` begins a summary; its first versions have no other mark."""

_STRUCTURED = "Returning structured response: "
"""The reply of `create_agent` to the tool call of a structured answer: it contains the model's own words."""

_TEXT = ("text", "text-plain", "reasoning", "thinking", "redacted_thinking", "non_standard")
"""Kinds of content blocks without a file."""


def asked_in(messages: Sequence[BaseMessage]) -> Asked:
    """The question of a conversation: the human messages, or else the last one that no model or tool wrote.

    Messages that LangChain added in the user's name do not count: summaries of `SummarizationMiddleware`, and
    everything else that it marks with `lc_source`.

    Raises:
        InputError: There is no such message.
    """
    turns = _turns(messages)
    summaries = [one for one in messages if isinstance(one, HumanMessage) and not _is_turn(one)]
    others = [m for m in messages if not isinstance(m, AIMessage | ToolMessage | HumanMessage)]
    asked = put_together(*([str(message.text) for message in group] for group in (turns, others, summaries)))
    if not any(_has_files(message) for message in turns[asked.start :]):
        return asked
    return Asked(asked.text, (*asked.cautions, UNREAD_PARTS), asked.start)


def tool_documents(
    messages: Sequence[Any], tools: Iterable[str] | None = None, ignored: Iterable[str] = (), start: int = 0
) -> list[str]:
    """The results of an agent's tools for the question, the newest first.

    A result is the documents in the message's artifact, in their order, or otherwise the message's text. Errors do not
    count, nor does a text that says that nothing was found. Unless their tools are named, results of tools that act,
    plan or hand over (`brings_evidence`) do not count either, nor does a structured answer that came back as a result.

    Args:
        messages: The conversation, oldest first.
        tools: Names of the tools that count; None for those whose names suggest evidence.
        ignored: Names of tools that do not count.
        start: The user's turn, from 0, from which results count: earlier ones belong to another question.
    """
    wanted, unwanted = None if tools is None else set(tools), set(ignored)
    names = {
        call["id"]: call["name"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
    texts: list[str] = []
    for message in reversed(messages[_place(messages, start) :]):
        if not isinstance(message, ToolMessage) or message.status == "error":
            continue
        name, said = message.name or names.get(message.tool_call_id), str(message.text)
        if name in unwanted or (wanted is not None and name not in wanted):
            continue
        if wanted is None and (not brings_evidence(name) or said.startswith(_STRUCTURED)):
            continue
        documents = _documents_in(message.artifact)
        if not documents and found_nothing(said):
            continue
        texts += [NamedText(document.page_content, document.id) for document in documents] if documents else [said]
    return texts


def not_given(messages: Iterable[BaseMessage], documents: Sequence[str], evidence: object) -> tuple[str, ...]:
    """The caution for a prompt that contains documents although no evidence was given.

    Args:
        messages: All messages for the model, including the system message.
        documents: The results of tools.
        evidence: The user's evidence, if any.
    """
    if documents or evidence is not None:
        return ()
    told = (str(one.text) for one in messages if not isinstance(one, AIMessage | ToolMessage))
    return (NOT_GIVEN,) if holds_documents(told) else ()


def known_tools(tools: Iterable[Any]) -> list[str]:
    """The names of tools in the forms that `bind_tools` takes; tools without a name are left out.

    Example:
        >>> known_tools([asked_in, {"type": "function", "function": {"name": "search"}}, {"type": "web_search"}])
        ['asked_in', 'search']
    """
    names = []
    for tool in tools:
        if isinstance(tool, Mapping):
            function = tool.get("function")
            name = function.get("name") if isinstance(function, Mapping) else tool.get("name", tool.get("title"))
        else:
            name = getattr(tool, "name", None) or getattr(tool, "__name__", None)
        names += [name] if isinstance(name, str) else []
    return names


def _is_turn(message: BaseMessage) -> bool:
    """Whether the user wrote it."""
    if not isinstance(message, HumanMessage) or isinstance(message.additional_kwargs.get("lc_source"), str):
        return False
    return not str(message.text).startswith(_SUMMARY)


def _turns(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    return [message for message in messages if _is_turn(message)]


def _place(messages: Sequence[Any], start: int) -> int:
    """The index of the user's turn with this number among the messages; everything before the first belongs to it."""
    turns = [place for place, message in enumerate(messages) if _is_turn(message)]
    return turns[start] if 0 < start < len(turns) else 0


def _has_files(message: BaseMessage) -> bool:
    content = message.content
    if isinstance(content, str):
        return False
    return any(isinstance(block, Mapping) and block.get("type", "text") not in _TEXT for block in content)


def _documents_in(artifact: object) -> list[Document]:
    """The `Document`s of an artifact, which may be one, a list of them, or a mapping with such values."""
    document = _document(artifact)
    if document is not None:
        return [document]
    if isinstance(artifact, Mapping):
        return [document for value in artifact.values() for document in _documents_in(value)]
    if isinstance(artifact, list | tuple | set | frozenset):
        return [document for value in artifact if (document := _document(value)) is not None]
    return []


def _document(value: object) -> Document | None:
    """A `Document`, also from a checkpointer: LangGraph's return the mapping of its fields."""
    if isinstance(value, Document):
        return value
    if not isinstance(value, Mapping) or value.get("type") != "Document":
        return None
    try:
        return Document(**value)
    except (TypeError, ValueError):  # something else of that name
        return None
