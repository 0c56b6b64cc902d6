"""A language model for sampling: its samples stay out of streams and caches, and interrupts pass through."""

import sys
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable, RunnableConfig

from medprm_integrations.langchain.wrapped_models import changed

TAG_NOSTREAM = "nostream"
"""LangGraph's tag for models whose tokens must not appear in `stream_mode="messages"` (`langgraph.constants`)."""

NO_CALLBACKS: RunnableConfig = {"callbacks": []}
"""For calls that must not be runs."""


def sampler(llm: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A copy of a language model whose answers are sampled anew each time and are not streamed.

    The copy shares the original's clients. For a binding, a retry or fallbacks, the models inside are copied. A chain
    stays unchanged, and the tag from `sampling_config` keeps its samples out of LangGraph's stream.
    """
    return changed(llm, _drawn_anew)  # type: ignore[no-any-return]


def _drawn_anew(llm: BaseLanguageModel[Any]) -> dict[str, Any]:
    update: dict[str, Any] = {"cache": False, "tags": [*(llm.tags or []), TAG_NOSTREAM]}
    if "disable_streaming" in type(llm).model_fields:
        update["disable_streaming"] = True
    return update


def sampling_config(config: RunnableConfig) -> RunnableConfig:
    """A run's configuration for the samples below it."""
    return {**config, "tags": [*(config.get("tags") or []), TAG_NOSTREAM]}


def is_interrupt(error: Exception) -> bool:
    """Whether an exception is LangGraph's way to leave a node, not a failure."""
    langgraph = sys.modules.get("langgraph.errors")  # if it is not loaded, nothing can raise it
    return langgraph is not None and isinstance(error, langgraph.GraphBubbleUp)
