"""Several samples from one call of a chat model that takes `n`, as OpenAI's does: the prompt is billed once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables.config import ensure_config, merge_configs

from medprm_integrations.langchain.messages import as_message


@dataclass(frozen=True, repr=False)
class Several:
    """A chat model that takes `n`, with what is bound to it.

    Args:
        model: The model.
        bound: Arguments of each call.
        config: Configuration of each run.
    """

    model: BaseChatModel
    bound: Mapping[str, Any]
    config: RunnableConfig

    def draw(self, given: Any, config: RunnableConfig, count: int, kwargs: Mapping[str, Any]) -> list[AIMessage]:
        """So many samples, or as many as the server gives.

        Args:
            given: The messages, or the value of a prompt.
            config: The run's configuration.
            count: How many samples.
            kwargs: Arguments of this call.
        """
        return _messages(self.model.generate([_asked(given)], **self._arguments(config, count, kwargs)))

    async def adraw(self, given: Any, config: RunnableConfig, count: int, kwargs: Mapping[str, Any]) -> list[AIMessage]:
        """As `draw`."""
        return _messages(await self.model.agenerate([_asked(given)], **self._arguments(config, count, kwargs)))

    def _arguments(self, config: RunnableConfig, count: int, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        run = ensure_config(merge_configs(self.config, config))
        return {
            **self.bound,
            **kwargs,
            "n": count,
            "callbacks": run.get("callbacks"),
            "tags": run.get("tags"),
            "metadata": run.get("metadata"),
        }


def several_samples(llm: Runnable[Any, Any]) -> Several | None:
    """The model as one that gives several samples in a call; None if it takes no `n`."""
    if isinstance(llm, RunnableBinding) and not llm.config_factories and type(llm).invoke is RunnableBinding.invoke:
        inner = several_samples(llm.bound)
        if inner is None:
            return None
        return Several(inner.model, {**inner.bound, **llm.kwargs}, merge_configs(inner.config, llm.config))
    if isinstance(llm, BaseChatModel) and "n" in type(llm).model_fields:
        return Several(llm, {}, {})
    return None


def _asked(given: Any) -> list[BaseMessage]:
    return given.to_messages() if isinstance(given, PromptValue) else convert_to_messages(given)


def _messages(result: LLMResult) -> list[AIMessage]:
    """The samples; each says the usage of the whole call, which is kept on the first alone."""
    messages = [as_message(one.message) for one in result.generations[0]]  # type: ignore[union-attr]
    return [
        message.model_copy(update={"usage_metadata": None}) if place else message
        for place, message in enumerate(messages)
    ]
