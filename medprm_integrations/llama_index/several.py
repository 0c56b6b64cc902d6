"""Several samples from one call of a language model that takes `n`, as OpenAI's does: the prompt is billed once.

LlamaIndex reads the first choice of such a call; the others are in `raw`, as the server sent them.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from pydantic import BaseModel

from medprm_integrations.llama_index.responses import without_counts

Response = ChatResponse | CompletionResponse


def in_one_call(ask: Callable[..., Any]) -> Callable[[int], Any]:
    """A function that requests several samples in one call.

    Args:
        ask: Returns a response, possibly to be awaited; takes further arguments for the language model's API.
    """

    def ask_several(count: int) -> Any:
        found = ask(n=count)
        return _awaited(found) if isinstance(found, Awaitable) else choices_of(found)

    return ask_several


async def _awaited(found: Awaitable[Response]) -> list[Response]:
    return choices_of(await found)


def choices_of(response: Response) -> list[Response]:
    """The choices of a response, each as a separate response; only the first has the token counts of the call.

    The others have text and tool calls: anything else that a provider's class reads from a choice is in `raw`.

    Example:
        >>> raw = {"choices": [{"text": "5 mg"}, {"text": "9 mg"}], "usage": {"total_tokens": 9}}
        >>> first, second = choices_of(CompletionResponse(text="5 mg", raw=raw))
        >>> first.raw["usage"], second.text, second.raw
        ({'total_tokens': 9}, '9 mg', {'choices': [{'text': '9 mg'}]})
    """
    choices = _get(response.raw, "choices")
    if not isinstance(choices, list | tuple) or len(choices) < 2:
        return [response]
    first, *others = choices
    kept = response.model_copy(update={"raw": _raw_of(response.raw, first, counted=True)})
    return [kept, *(_other(response, choice) for choice in others)]


def _other(response: Response, choice: object) -> Response:
    """A choice that LlamaIndex has not read."""
    said = _get(choice, "message")
    text = _get(choice, "text") if said is None else _get(said, "content")
    known: dict[str, Any] = {
        "raw": _raw_of(response.raw, choice, counted=False),
        "additional_kwargs": without_counts(response.additional_kwargs),
    }
    if isinstance(response, CompletionResponse):
        return CompletionResponse(text=text or "", **known)
    calls = _get(said, "tool_calls")
    extra = {"tool_calls": calls} if calls else {}
    return ChatResponse(
        message=ChatMessage(content=text or "", role=response.message.role, additional_kwargs=extra), **known
    )


def _raw_of(raw: Any, choice: object, *, counted: bool) -> Any:
    """The server's answer as if it had one choice: the data kept for a winner must not contain the others."""
    if isinstance(raw, BaseModel):
        return raw.model_copy(update={"choices": [choice], **({} if counted else {"usage": None})})
    return {name: [choice] if name == "choices" else value for name, value in raw.items() if counted or name != "usage"}


def _get(holder: object, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
