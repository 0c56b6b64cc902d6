"""Language models to sample from: what is none is refused, and those without async of their own wait in threads."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.llms import LLM, CustomLLM

from medprm_integrations.shared.concurrency import in_thread
from medprm_scorer.errors import InputError


def language_model(llm: Any) -> LLM:
    """The language model that somebody gave.

    Raises:
        InputError: It is something else.

    Example:
        >>> language_model("gpt-5")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: llm must be a LlamaIndex LLM, not str
    """
    if not isinstance(llm, LLM):
        raise InputError(f"llm must be a LlamaIndex LLM, not {type(llm).__name__}")
    return llm


def achat_of(llm: LLM) -> Callable[..., Awaitable[ChatResponse]]:
    """`llm.achat`; where that is `CustomLLM`'s, which blocks the event loop, `llm.chat` in a thread instead."""
    return partial(in_thread, llm.chat) if _blocks(llm, "achat") else llm.achat


def acomplete_of(llm: LLM) -> Callable[..., Awaitable[CompletionResponse]]:
    """`llm.acomplete`; where that is `CustomLLM`'s, which blocks the event loop, `llm.complete` in a thread instead."""
    return partial(in_thread, llm.complete) if _blocks(llm, "acomplete") else llm.acomplete


def _blocks(llm: LLM, method: str) -> bool:
    """Whether a model's async method is `CustomLLM`'s, which calls the sync one."""
    return next((cls for cls in type(llm).__mro__ if method in vars(cls)), None) is CustomLLM
