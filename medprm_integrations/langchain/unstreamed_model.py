"""A chat model that decides on one whole message: all the ways in which LangChain may ask for it."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from typing_extensions import override

from medprm_integrations.langchain.chunks import as_chunk, as_events
from medprm_integrations.langchain.runs import BELOW, below, foreseen, message_id

Message = TypeVar("Message", bound=AIMessage)


class WholeMessageChatModel(BaseChatModel):
    """For models that know their answer only when all of it is there: the stream has one chunk.

    A subclass says what the answer is (`_decide`, `_adecide`), and may change it on its way out, behind the callbacks
    (`_settled`).
    """

    @abstractmethod
    def _decide(
        self, messages: list[BaseMessage], stop: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AIMessage:
        """The answer.

        Args:
            messages: What is asked.
            stop: Where answers end.
            config: For runs below this model's own.
            kwargs: The caller's arguments.
        """

    @abstractmethod
    async def _adecide(
        self, messages: list[BaseMessage], stop: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AIMessage:
        """The answer."""

    def _settled(self, message: Message) -> Message:
        """The answer as the caller gets it."""
        return message

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: Any = None, **kwargs: Any
    ) -> AIMessage:
        """The message that is decided on."""
        return self._settled(super().invoke(input, config, stop=stop, **kwargs))

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: Any = None, **kwargs: Any
    ) -> AIMessage:
        """`invoke`, awaited."""
        return self._settled(await super().ainvoke(input, config, stop=stop, **kwargs))

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: Any = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """The message as one chunk, once it is decided on."""
        config, kwargs[BELOW] = foreseen(config, CallbackManager)
        for chunk in super().stream(input, config, stop=stop, **kwargs):
            yield self._settled(as_chunk(chunk))

    @override
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: Any = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """The message as one chunk, once it is decided on."""
        config, kwargs[BELOW] = foreseen(config, AsyncCallbackManager)
        stream: Any = super().astream(input, config, stop=stop, **kwargs)
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                yield self._settled(as_chunk(chunk))

    @override
    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        """Within a run never through `_stream`, which is not told the run: `_generate` reports the chunk itself."""
        return run_manager is None and super()._should_stream(async_api=async_api, **kwargs)

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        told = _without_stream(kwargs)
        message = self._decide(messages, stop, below(run_manager, CallbackManager, kwargs), kwargs)
        if run_manager and super()._should_stream(async_api=False, run_manager=run_manager, **told):
            chunk = ChatGenerationChunk(message=as_chunk(message))
            run_manager.on_llm_new_token(str(message.text), chunk=chunk)
        return ChatResult(generations=[ChatGeneration(message=message)])

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        told = _without_stream(kwargs)
        message = await self._adecide(messages, stop, below(run_manager, AsyncCallbackManager, kwargs), kwargs)
        if run_manager and super()._should_stream(async_api=True, run_manager=run_manager, **told):
            chunk = ChatGenerationChunk(message=as_chunk(message))
            await run_manager.on_llm_new_token(str(message.text), chunk=chunk)
        return ChatResult(generations=[ChatGeneration(message=message)])

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        _without_stream(kwargs)
        message = self._decide(messages, stop, below(run_manager, CallbackManager, kwargs), kwargs)
        yield ChatGenerationChunk(message=as_chunk(message))

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        _without_stream(kwargs)
        message = await self._adecide(messages, stop, below(run_manager, AsyncCallbackManager, kwargs), kwargs)
        yield ChatGenerationChunk(message=as_chunk(message))

    def _stream_chat_model_events(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """The streaming protocol's events; unlike `_stream`, this is told its run."""
        _without_stream(kwargs)
        message = self._decide(messages, stop, below(run_manager, CallbackManager, kwargs), kwargs)
        yield from as_events(message, message_id(run_manager))

    async def _astream_chat_model_events(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """The streaming protocol's events; unlike `_astream`, this is told its run."""
        _without_stream(kwargs)
        message = await self._adecide(messages, stop, below(run_manager, AsyncCallbackManager, kwargs), kwargs)
        for event in as_events(message, message_id(run_manager)):
            yield event

    @override
    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop(BELOW, None)
        return super()._get_invocation_params(stop=stop, **kwargs)


def _without_stream(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take out of the arguments whether to stream: that is this model's matter, and not the samples'."""
    return {"stream": kwargs.pop("stream")} if "stream" in kwargs else {}
