"""A language model that decides on one whole answer, for all the ways in which LlamaIndex may call it.

LlamaIndex's private names are used only here.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.llms import LLM, CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import BasePromptTemplate
from pydantic import Field
from typing_extensions import override

from medprm_integrations.llama_index.prompts import PromptMessages, PromptText, filled_in
from medprm_integrations.shared.concurrency import in_thread
from medprm_integrations.shared.jobs import Job
from medprm_scorer.errors import InputError


class UnstreamedLLM(FunctionCallingLLM):
    """For models around another one whose answer is known only when it is complete: the stream has one piece.

    A subclass implements the decision (`_chat_job`, `_text_job`, `_decide`, `_adecide`; not marked as abstract, since
    LlamaIndex traces abstract methods). Tools are handled by the other model. Only the calls of the other model are
    reported as calls of a language model.

    Args:
        llm: The other model.
    """

    llm: LLM = Field(repr=False, exclude=True)

    def _chat_job(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any], ask: Callable[[], Any]) -> Job[Any]:
        """The job of a conversation; `ask` gets one answer of the other model."""
        raise NotImplementedError

    def _text_job(self, prompt: str, ask: Callable[[], Any]) -> Job[Any]:
        """The job of a prompt."""
        raise NotImplementedError

    def _decide(self, job: Job[Any]) -> Any:
        """The answer."""
        raise NotImplementedError

    async def _adecide(self, job: Job[Any]) -> Any:
        """The answer."""
        raise NotImplementedError

    def _offered(self, tools: Sequence[Any]) -> None:
        """Records the tools that are offered to the other model."""

    @property
    @override
    def metadata(self) -> LLMMetadata:
        """The metadata of the model that is sampled from."""
        return self.llm.metadata

    # --- answers ---

    @override
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        """The best of n answers, or a turn that calls tools."""
        return self._decide(self._chat_job(messages, kwargs, partial(self.llm.chat, list(messages), **kwargs)))

    @override
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        """`chat`, with samples as tasks and without blocking the event loop."""
        ask = partial(achat_of(self.llm), list(messages), **kwargs)
        return await self._adecide(self._chat_job(messages, kwargs, ask))

    @override
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """The best of n completions; the prompt is the question."""
        ask = partial(self.llm.complete, str(prompt), formatted=formatted, **kwargs)
        return self._decide(self._text_job(prompt, ask))

    @override
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """`complete`, with samples as tasks and without blocking the event loop."""
        ask = partial(acomplete_of(self.llm), str(prompt), formatted=formatted, **kwargs)
        return await self._adecide(self._text_job(prompt, ask))

    @override
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The answer as one piece, once it is decided on."""
        return _piece(partial(self.chat, messages, **kwargs))

    @override
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """The answer as one piece, once it is decided on."""
        return _apiece(partial(self.achat, messages, **kwargs))

    @override
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The completion as one piece, once it is decided on."""
        return _piece(partial(self.complete, prompt, formatted, **kwargs))

    @override
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """The completion as one piece, once it is decided on."""
        return _apiece(partial(self.acomplete, prompt, formatted, **kwargs))

    # --- tools: as the other model does it ---

    @override
    def _prepare_chat_with_tools(
        self,
        tools: Sequence[Any],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        self._offered(tools)
        return self._other._prepare_chat_with_tools_compat(
            tools,
            user_msg=user_msg,
            chat_history=chat_history,
            verbose=verbose,
            allow_parallel_tool_calls=allow_parallel_tool_calls,
            tool_required=tool_required,
            **kwargs,
        )

    @override
    def _validate_chat_with_tools_response(
        self, response: ChatResponse, tools: Sequence[Any], allow_parallel_tool_calls: bool = False, **kwargs: Any
    ) -> ChatResponse:
        return self._other._validate_chat_with_tools_response(
            response, tools, allow_parallel_tool_calls=allow_parallel_tool_calls, **kwargs
        )

    @override
    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tools that a response calls, as read by the model that is sampled from."""
        return self._other.get_tool_calls_from_response(response, error_on_no_tool_call=error_on_no_tool_call, **kwargs)

    @property
    def _other(self) -> FunctionCallingLLM:
        if not isinstance(self.llm, FunctionCallingLLM):
            raise InputError(f"{type(self.llm).__name__} cannot call tools: use an llm that can, or a ReActAgent")
        return self.llm

    # --- prompts: the values of a template are kept ---

    @override
    def _get_messages(self, prompt: BasePromptTemplate, **prompt_args: Any) -> list[ChatMessage]:
        return PromptMessages(super()._get_messages(prompt, **prompt_args), filled_in(prompt, prompt_args))

    @override
    def _get_prompt(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        return PromptText(super()._get_prompt(prompt, **prompt_args), filled_in(prompt, prompt_args))


def language_model(llm: Any) -> LLM:
    """The language model to sample from, checked.

    Raises:
        InputError: It is something else, or a model that itself samples several answers.

    Example:
        >>> language_model("gpt-5")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: llm must be a LlamaIndex LLM, not str
    """
    if isinstance(llm, type) and issubclass(llm, LLM):
        raise InputError(f"llm must be a LlamaIndex LLM, not the class: make one, {llm.__name__}(...)")
    if not isinstance(llm, LLM):
        raise InputError(f"llm must be a LlamaIndex LLM, not {type(llm).__name__}")
    if isinstance(llm, UnstreamedLLM):
        raise InputError("llm must be a model to sample from, not a MedPRMLLM, which samples itself")
    return llm


def messages_of(llm: LLM, prompt: BasePromptTemplate, values: dict[str, Any]) -> list[ChatMessage]:
    """The messages for a chat model; its own system prompt comes before them."""
    return llm._get_messages(prompt, **values)


def text_prompt_of(llm: LLM, prompt: BasePromptTemplate, values: dict[str, Any]) -> str:
    """The text for a text model."""
    return llm._get_prompt(prompt, **values)


def achat_of(llm: LLM) -> Callable[..., Awaitable[ChatResponse]]:
    """`llm.achat`; if that is `CustomLLM`'s, which blocks the event loop, `llm.chat` in a thread instead."""
    return partial(in_thread, llm.chat) if _blocks(llm, "achat") else llm.achat


def acomplete_of(llm: LLM) -> Callable[..., Awaitable[CompletionResponse]]:
    """`llm.acomplete`; if that is `CustomLLM`'s, which blocks the event loop, `llm.complete` in a thread instead."""
    return partial(in_thread, llm.complete) if _blocks(llm, "acomplete") else llm.acomplete


def response_text(response: ChatResponse | CompletionResponse) -> str:
    """The text of a response; "" if it has none."""
    return (response.message.content or "") if isinstance(response, ChatResponse) else response.text


def _blocks(llm: LLM, method: str) -> bool:
    """Whether a model's async method is `CustomLLM`'s, which calls the sync one."""
    return next((cls for cls in type(llm).__mro__ if method in vars(cls)), None) is CustomLLM


def _piece(ask: Callable[[], Any]) -> Generator[Any, None, None]:
    response = ask()
    yield response.model_copy(update={"delta": response_text(response)})


async def _apiece(ask: Callable[[], Awaitable[Any]]) -> AsyncGenerator[Any, None]:
    response = await ask()
    yield response.model_copy(update={"delta": response_text(response)})
