"""A whole message as the one chunk of its stream."""

import json
from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """The last and only chunk of a stream, with all that the message has.

    Example:
        >>> chunk = as_chunk(AIMessage("Yes", tool_calls=[{"name": "look", "args": {"at": 1}, "id": "1"}]))
        >>> chunk.text, chunk.tool_calls[0]["args"], chunk.chunk_position
        ('Yes', {'at': 1}, 'last')
    """
    if isinstance(message, AIMessageChunk):
        return message
    calls: list[tuple[Any, Any, str | None]] = [
        *((call["name"], call["id"], json.dumps(call["args"])) for call in message.tool_calls),
        *((call["name"], call["id"], call["args"]) for call in message.invalid_tool_calls),
    ]
    return AIMessageChunk(
        content=message.content,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
        id=message.id,
        name=message.name,
        tool_call_chunks=[
            tool_call_chunk(name=name, id=id_, args=args, index=place) for place, (name, id_, args) in enumerate(calls)
        ],
        chunk_position="last",
    )


def as_events(message: AIMessage, message_id: str | None) -> Iterator[Any]:
    """The message as events of LangChain's streaming protocol (`stream_events(version="v3")`).

    Only called by a langchain-core that knows the protocol, which then has the module imported here.
    """
    from langchain_core.language_models._compat_bridge import message_to_events

    return message_to_events(message, message_id=message_id)
