"""What the LlamaIndex tests share: a language model that says what a test wants, a retriever, a record of events."""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import Field, PrivateAttr

from tests.support.reading import BAD, GOOD, QUESTION, SECRET, WORSE, documents_in, reading_prm

__all__ = [
    "BAD",
    "GOOD",
    "QUESTION",
    "SECRET",
    "WORSE",
    "Events",
    "Fixed",
    "ScriptedLLM",
    "call",
    "document",
    "documents_in",
    "reading_prm",
]


def call(name: str = "search", id: str = "1", **args: Any) -> ChatMessage:
    return ChatMessage(role="assistant", additional_kwargs={"tool_calls": [{"id": id, "name": name, "args": args}]})


def document(text: str, score: float | None = 0.5, **metadata: Any) -> NodeWithScore:
    return NodeWithScore(node=TextNode(text=text, metadata=metadata), score=score)


class ScriptedLLM(FunctionCallingLLM):
    """Gives its answers in turn, over and over: a text, a message, a function of what it is asked, or an error."""

    answers: Sequence[Any]
    is_chat: bool = True
    tools: bool = True
    delay: float = 0.0
    tokens: bool = True
    window: int = 100_000
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _log: dict[str, Any] = PrivateAttr(default_factory=lambda: {"asked": [], "now": 0, "most": 0, "ended": 0})

    def __deepcopy__(self, memo):
        raise TypeError("a language model with connections cannot be copied")

    @classmethod
    def class_name(cls) -> str:
        return "ScriptedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(
            is_chat_model=self.is_chat,
            is_function_calling_model=self.tools and self.is_chat,
            model_name="scripted",
            context_window=self.window,
        )

    @property
    def asked(self) -> list[tuple[Any, dict[str, Any]]]:
        return self._log["asked"]

    @property
    def most_at_once(self) -> int:
        return self._log["most"]

    @property
    def ended(self) -> int:
        """How many calls ended in any way, cancelled ones too."""
        return self._log["ended"]

    def _enter(self, asked: Any, kwargs: dict[str, Any]) -> Any:
        with self._lock:
            answer = self.answers[len(self.asked) % len(self.answers)]
            self.asked.append((asked, kwargs))
            self._log["now"] += 1
            self._log["most"] = max(self._log["most"], self._log["now"])
        return answer(asked, kwargs) if callable(answer) and not isinstance(answer, Exception) else answer

    def _leave(self) -> None:
        with self._lock:
            self._log["now"] -= 1
            self._log["ended"] += 1

    def _response(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        extra = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5} if self.tokens else {}
        if not self.is_chat:
            return CompletionResponse(text=answer, additional_kwargs=extra)
        message = answer if isinstance(answer, ChatMessage) else ChatMessage(role="assistant", content=answer)
        raw = {"id": "x", "usage": extra}
        return ChatResponse(message=message.model_copy(deep=True), raw=raw, additional_kwargs=extra)

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        try:
            answer = self._enter(list(messages), kwargs)
            if self.delay:
                time.sleep(self.delay)
            return self._response(answer)
        finally:
            self._leave()

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        try:
            answer = self._enter(list(messages), kwargs)
            await asyncio.sleep(self.delay)
            return self._response(answer)
        finally:
            self._leave()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        try:
            found = self._response(self._enter(prompt, {"formatted": formatted, **kwargs}))
        finally:
            self._leave()
        return _completion(found)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        try:
            answer = self._enter(prompt, {"formatted": formatted, **kwargs})
            await asyncio.sleep(self.delay)
            found = self._response(answer)
        finally:
            self._leave()
        return _completion(found)

    def stream_chat(self, messages, **kwargs):
        raise AssertionError("samples are not streamed")

    stream_complete = stream_chat

    async def astream_chat(self, messages, **kwargs):
        raise AssertionError("samples are not streamed")

    astream_complete = astream_chat

    def _prepare_chat_with_tools(
        self,
        tools,
        user_msg=None,
        chat_history=None,
        verbose=False,
        allow_parallel_tool_calls=False,
        tool_required=False,
        **kwargs,
    ):
        messages = [*(chat_history or [])]
        if user_msg is not None:
            messages.append(ChatMessage(content=user_msg) if isinstance(user_msg, str) else user_msg)
        names = [tool.metadata.name for tool in tools]
        return {"messages": messages, "tools": names, "tool_required": tool_required, **kwargs}

    def get_tool_calls_from_response(self, response, error_on_no_tool_call=True, **kwargs):
        calls = response.message.additional_kwargs.get("tool_calls", [])
        if not calls and error_on_no_tool_call:
            raise ValueError("no tool call")
        for one in calls:
            if isinstance(one["args"], str):
                json.loads(one["args"])
        return [ToolSelection(tool_id=one["id"], tool_name=one["name"], tool_kwargs=one["args"]) for one in calls]


def _completion(found: Any) -> CompletionResponse:
    if isinstance(found, CompletionResponse):
        return found
    return CompletionResponse(
        text=found.message.content or "", additional_kwargs=found.additional_kwargs, raw=found.raw
    )


class Fixed(BaseRetriever):
    """Finds the same nodes for every query."""

    def __init__(self, nodes: Sequence[NodeWithScore]) -> None:
        super().__init__()
        self.nodes = list(nodes)

    def _retrieve(self, query_bundle):
        return list(self.nodes)


class Events(BaseEventHandler):
    """Keeps every event that instrumentation reports while it is open (`with Events() as events`)."""

    seen: list[Any] = Field(default_factory=list)

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.seen.append(event)

    def of(self, *names: str) -> list[Any]:
        return [event for event in self.seen if event.class_name() in names]

    def __enter__(self) -> "Events":
        self.seen = []
        get_dispatcher().add_event_handler(self)
        return self

    def __exit__(self, *_: Any) -> None:
        get_dispatcher().event_handlers.remove(self)
