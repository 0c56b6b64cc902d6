"""A chat model that decides on one whole message, for all the ways in which LangChain may call it.

LangChain's private `_should_stream` is overridden only here.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

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
from langchain_core.runnables.config import ensure_config
from pydantic import PrivateAttr
from typing_extensions import override

from medprm_integrations.langchain.sampler import sampling_config


class UnstreamedChatModel(BaseChatModel):
    """For models whose answer is known only when it is complete: the stream has one chunk.

    A subclass computes the answer (`_decide`, `_adecide`), and may change it after the callbacks (`_settled`).
    """

    _below: RunnableConfig = PrivateAttr(default_factory=RunnableConfig)
    """If `stream` has opened the run: the configuration of the runs below it."""

    @abstractmethod
    def _decide(
        self, messages: list[BaseMessage], stop: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AIMessage:
        """The answer.

        Args:
            messages: The messages.
            stop: Stop sequences.
            config: The configuration for runs below this model's own.
            kwargs: The caller's arguments.
        """

    @abstractmethod
    async def _adecide(
        self, messages: list[BaseMessage], stop: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AIMessage:
        """The answer."""

    def _settled(self, message: AIMessage) -> AIMessage:
        """The answer for the caller."""
        return message

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: Any = None, **kwargs: Any
    ) -> AIMessage:
        """The chosen message."""
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
        model, config = self._in_run(config, CallbackManager)
        for chunk in super(UnstreamedChatModel, model).stream(input, config, stop=stop, **kwargs):
            yield as_chunk(self._settled(chunk))

    @override
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: Any = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """The message as one chunk, once it is decided on."""
        model, config = self._in_run(config, AsyncCallbackManager)
        async for chunk in super(UnstreamedChatModel, model).astream(input, config, stop=stop, **kwargs):
            yield as_chunk(self._settled(chunk))

    def _in_run(self, config: RunnableConfig | None, manager: Any) -> tuple["UnstreamedChatModel", RunnableConfig]:
        """A copy of this model with its run, and that run's configuration.

        `BaseChatModel.stream` does not pass its run to `_stream`, so the runs below are prepared before it exists.
        """
        own = ensure_config(config)
        own["run_id"] = own.get("run_id") or uuid4()
        own["callbacks"] = configured = manager.configure(own.get("callbacks"))
        children = configured.copy()
        children.parent_run_id = own["run_id"]
        model = self.model_copy()
        model._below = {"callbacks": children, "tags": own["tags"], "metadata": own["metadata"]}
        return model, own

    @override
    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        """Within a run never use `_stream`, which does not get the run: `_generate` reports the chunk itself."""
        return run_manager is None and super()._should_stream(async_api=async_api, **kwargs)

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = self._decide(messages, stop, self._config(run_manager, CallbackManager), _without_stream(kwargs))
        if run_manager and super()._should_stream(async_api=False, run_manager=run_manager, **kwargs):
            run_manager.on_llm_new_token(str(message.text), chunk=ChatGenerationChunk(message=as_chunk(message)))
        return ChatResult(generations=[ChatGeneration(message=message)])

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        config = self._config(run_manager, AsyncCallbackManager)
        message = await self._adecide(messages, stop, config, _without_stream(kwargs))
        if run_manager and super()._should_stream(async_api=True, run_manager=run_manager, **kwargs):
            await run_manager.on_llm_new_token(str(message.text), chunk=ChatGenerationChunk(message=as_chunk(message)))
        return ChatResult(generations=[ChatGeneration(message=message)])

    @override
    def _stream(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        message = self._decide(messages, stop, self._config(run_manager, CallbackManager), _without_stream(kwargs))
        yield ChatGenerationChunk(message=as_chunk(message))

    @override
    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        config = self._config(run_manager, AsyncCallbackManager)
        message = await self._adecide(messages, stop, config, _without_stream(kwargs))
        yield ChatGenerationChunk(message=as_chunk(message))

    def _config(self, run_manager: Any, manager: Any) -> RunnableConfig:
        """The configuration of the runs below this model's own; the manager of a model's run cannot make one."""
        if run_manager is None:
            return sampling_config(self._below)
        inherited: dict[str, Any] = {
            "inheritable_handlers": list(run_manager.inheritable_handlers),
            "inheritable_tags": list(run_manager.inheritable_tags),
            "inheritable_metadata": dict(run_manager.inheritable_metadata),
        }
        own = {name.removeprefix("inheritable_"): value for name, value in inherited.items()}
        return sampling_config({"callbacks": manager(**own, **inherited, parent_run_id=run_manager.run_id)})


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """The last and only chunk of a stream, with everything in the message.

    Example:
        >>> chunk = as_chunk(AIMessage("Yes", tool_calls=[{"name": "look", "args": {"at": 1}, "id": "1"}]))
        >>> chunk.text, chunk.tool_calls[0]["args"], chunk.chunk_position
        ('Yes', {'at': 1}, 'last')
    """
    return AIMessageChunk(**{**dict(message), "type": "AIMessageChunk", "chunk_position": "last"})


def _without_stream(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments without the streaming option, which concerns this model, not the samples."""
    return {name: value for name, value in kwargs.items() if name != "stream"}
