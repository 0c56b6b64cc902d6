"""What the LangChain tests share: a chat model that says what a test wants, and a callback handler that keeps runs."""

import json
import re
import threading
from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, PrivateAttr

from tests.support.reading import BAD, GOOD, QUESTION, SECRET, WORSE, reading_prm

__all__ = [
    "BAD",
    "GOOD",
    "QUESTION",
    "SECRET",
    "WORSE",
    "Recorder",
    "ScriptedChat",
    "call",
    "obedient",
    "reading_prm",
    "summarizing",
]


class ScriptedChat(BaseChatModel):
    """Gives its answers in turn, over and over: a text, a message, or an error to raise."""

    answers: Sequence[Any]
    tokens: int = 3
    model_name: str = "scripted"
    delay: float = 0.0
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _log: dict[str, Any] = PrivateAttr(default_factory=lambda: {"asked": [], "now": 0, "most": 0})

    @property
    def asked(self) -> list[tuple[list[BaseMessage], dict[str, Any]]]:
        return self._log["asked"]

    @property
    def most_at_once(self) -> int:
        return self._log["most"]

    def __deepcopy__(self, memo):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        with self._lock:
            answer = self.answers[len(self.asked) % len(self.answers)]
            self.asked.append((messages, {"stop": stop, **kwargs}))
            self._log["now"] += 1
            self._log["most"] = max(self._log["most"], self._log["now"])
        try:
            if self.delay:
                threading.Event().wait(self.delay)
            if callable(answer) and not isinstance(answer, Exception):
                answer = answer(messages, kwargs)
            if isinstance(answer, Exception):
                raise answer
        finally:
            with self._lock:
                self._log["now"] -= 1
        message = answer.model_copy() if isinstance(answer, BaseMessage) else AIMessage(answer)
        message.id = None
        usage = {"input_tokens": 2, "output_tokens": self.tokens, "total_tokens": 2 + self.tokens}
        message.usage_metadata = usage  # type: ignore[attr-defined]
        message.response_metadata = {"model_name": kwargs.get("model", self.model_name), **message.response_metadata}
        return ChatResult(generations=[ChatGeneration(message=message)])

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def with_structured_output(self, schema, *, include_raw=False, method="function_calling", **kwargs):
        if method != "json_mode":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        is_class = isinstance(schema, type) and issubclass(schema, BaseModel)
        parser = PydanticOutputParser(pydantic_object=schema) if is_class else JsonOutputParser()
        return self.bind(response_format={"type": "json_object"}) | parser

    @property
    def _llm_type(self):
        return "scripted"


def call(name: str = "search", id: str = "1", **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": id}])


def obedient(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
    """Calls the first bound tool when told to, or when nobody has answered yet; else says something short."""
    tools = kwargs.get("tools") or []
    told = kwargs.get("tool_choice") is not None
    answered = any(isinstance(message, ToolMessage) for message in messages)
    if tools and (told or not answered):
        wanted = kwargs.get("tool_choice")
        function = next((t["function"] for t in tools if t["function"]["name"] == wanted), tools[0]["function"])
        text = next((str(m.text) for m in reversed(messages) if isinstance(m, HumanMessage)), "")
        properties = function["parameters"].get("properties", {})
        return call(function["name"], **{name: _value(schema, text) for name, schema in properties.items()})
    if "JSON" in "".join(str(message.text) for message in messages):
        return AIMessage(json.dumps({"setup": "Why?", "punchline": "Because [0.7]."}))
    return AIMessage("Step 1: Hello [0.8].\nStep 2: The answer is (A) [0.9]")


def _value(schema: dict[str, Any], text: str) -> Any:
    quoted = re.search(r"'([^']+)'", text)
    plain = quoted[1] if quoted else "Pirate"
    return {"integer": 3, "number": 3.0, "boolean": True, "array": [], "object": {}}.get(schema.get("type"), plain)


def summarizing(model: BaseChatModel) -> Any:
    """A middleware that puts a summary before the last of three messages; that of langchain 1.0 counts tokens."""
    try:
        return SummarizationMiddleware(model, trigger=("messages", 3), keep=("messages", 1))
    except TypeError:
        old: Any = SummarizationMiddleware
        return old(model, max_tokens_before_summary=3, messages_to_keep=1, token_counter=len)


class Recorder(BaseCallbackHandler):
    """Keeps every run that starts, with its parent, and how it ends."""

    run_inline = True

    def __init__(self) -> None:
        self.runs: dict[Any, dict[str, Any]] = {}
        self.tokens: list[Any] = []
        self._lock = threading.Lock()

    def _start(self, kind, serialized, run_id, parent_run_id, tags, kwargs):
        with self._lock:
            name = kwargs.get("name") or (serialized or {}).get("name")
            run = {"kind": kind, "name": name, "parent": parent_run_id, "tags": tags, "end": None}
            self.runs[run_id] = {**run, "serialized": serialized}

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, tags=None, **kwargs):
        self._start("chain", serialized, run_id, parent_run_id, tags, kwargs)

    def on_chat_model_start(self, serialized, messages, *, run_id, parent_run_id=None, tags=None, **kwargs):
        self._start("model", serialized, run_id, parent_run_id, tags, kwargs)

    def on_llm_new_token(self, token, *, run_id, **kwargs):
        self.tokens.append((run_id, token))

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.runs[run_id]["end"] = "end"

    on_llm_end = on_chain_end

    def on_chain_error(self, error, *, run_id, **kwargs):
        self.runs[run_id]["end"] = "error"

    on_llm_error = on_chain_error

    def below(self, run_id: Any) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if run["parent"] == run_id]

    def named(self, name: str) -> list[Any]:
        return [run_id for run_id, run in self.runs.items() if run["name"] == name]
