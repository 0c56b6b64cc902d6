"""A language model that decides on one whole answer: all the ways in which LlamaIndex may ask for it."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

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
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import BasePromptTemplate
from pydantic import Field
from typing_extensions import override

from medprm_integrations.llama_index.conversation import text_of
from medprm_integrations.llama_index.language_models import achat_of, acomplete_of
from medprm_integrations.llama_index.templates import PromptMessages, PromptText, filled_in
from medprm_scorer.errors import InputError

Response = TypeVar("Response", ChatResponse, CompletionResponse)


class WholeAnswerLLM(FunctionCallingLLM):
    """For models around another one that know their answer only when all of it is there: the stream has one piece.

    A subclass says how it decides (`_turn`, `_text_turn`, `_decide`, `_adecide`; not marked as abstract, since
    LlamaIndex makes traces of abstract methods). Tools are the other model's matter. None of this is reported as a call
    of a language model: the calls of the other one are.

    Args:
        llm: The other model.
    """

    llm: LLM = Field(repr=False, exclude=True)

    def _turn(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Any:
        """What a subclass needs to know of a conversation; what is wrong with it is refused here."""
        raise NotImplementedError

    def _text_turn(self, prompt: str) -> Any:
        """What a subclass needs to know of a prompt."""
        raise NotImplementedError

    def _decide(self, turn: Any, ask: Callable[[], Response]) -> Response:
        """The answer.

        Args:
            turn: What `_turn` or `_text_turn` gave.
            ask: Gives one answer of the other model.
        """
        raise NotImplementedError

    async def _adecide(self, turn: Any, ask: Callable[[], Awaitable[Response]]) -> Response:
        """The answer."""
        raise NotImplementedError

    def _offered(self, tools: Sequence[Any]) -> None:
        """Takes note of the tools that the other model is offered."""

    @property
    @override
    def metadata(self) -> LLMMetadata:
        """As the model that is sampled from."""
        return self.llm.metadata

    # --- asked for an answer ---

    @override
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The best of n answers, or a turn that calls tools."""
        return self._decide(self._turn(messages, kwargs), partial(self.llm.chat, list(messages), **kwargs))

    @override
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """`chat`, with samples as tasks and the event loop left free."""
        return await self._adecide(self._turn(messages, kwargs), partial(achat_of(self.llm), list(messages), **kwargs))

    @override
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The best of n completions; the prompt is the question."""
        ask = partial(self.llm.complete, str(prompt), formatted=formatted, **kwargs)
        return self._decide(self._text_turn(prompt), ask)

    @override
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """`complete`, with samples as tasks and the event loop left free."""
        ask = partial(acomplete_of(self.llm), str(prompt), formatted=formatted, **kwargs)
        return await self._adecide(self._text_turn(prompt), ask)

    @override
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The answer as one piece, once it is decided on."""
        turn, ask = self._turn(messages, kwargs), partial(self.llm.chat, list(messages), **kwargs)

        def pieces() -> ChatResponseGen:
            response = self._decide(turn, ask)
            yield response.model_copy(update={"delta": text_of(response.message)})

        return pieces()

    @override
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """The answer as one piece, once it is decided on."""
        turn, ask = self._turn(messages, kwargs), partial(achat_of(self.llm), list(messages), **kwargs)

        async def pieces() -> ChatResponseAsyncGen:
            response = await self._adecide(turn, ask)
            yield response.model_copy(update={"delta": text_of(response.message)})

        return pieces()

    @override
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The completion as one piece, once it is decided on."""
        turn, ask = self._text_turn(prompt), partial(self.llm.complete, str(prompt), formatted=formatted, **kwargs)

        def pieces() -> CompletionResponseGen:
            response = self._decide(turn, ask)
            yield response.model_copy(update={"delta": response.text})

        return pieces()

    @override
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """The completion as one piece, once it is decided on."""
        turn, ask = self._text_turn(prompt), partial(acomplete_of(self.llm), str(prompt), formatted=formatted, **kwargs)

        async def pieces() -> CompletionResponseAsyncGen:
            response = await self._adecide(turn, ask)
            yield response.model_copy(update={"delta": response.text})

        return pieces()

    # --- tools: the other model's way ---

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
        """The tools that a response calls, as the model that is sampled from says it."""
        return self._other.get_tool_calls_from_response(response, error_on_no_tool_call=error_on_no_tool_call, **kwargs)

    @property
    def _other(self) -> FunctionCallingLLM:
        if not isinstance(self.llm, FunctionCallingLLM):
            raise InputError(f"{type(self.llm).__name__} cannot call tools: take an llm that can, or a ReActAgent")
        return self.llm

    # --- prompts: what a template is filled in with is kept ---

    @override
    def _get_messages(self, prompt: BasePromptTemplate, **prompt_args: Any) -> list[ChatMessage]:
        return PromptMessages(super()._get_messages(prompt, **prompt_args), filled_in(prompt, prompt_args))

    @override
    def _get_prompt(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        return PromptText(super()._get_prompt(prompt, **prompt_args), filled_in(prompt, prompt_args))
