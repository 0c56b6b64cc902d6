"""Chat models inside LangChain's wrappers: bindings, retries, fallbacks, configurable fields."""

from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.runnables import Runnable, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable


def inside(llm: object) -> object:
    """The model inside all wrappers: with fallbacks the first model, with configurable models the default."""
    while True:
        if isinstance(llm, RunnableBindingBase):
            llm = llm.bound
        elif isinstance(llm, RunnableWithFallbacks):
            llm = llm.runnable
        elif isinstance(llm, DynamicRunnable):
            llm = llm.default
        else:
            return llm


def changed(llm: Any, change: Callable[[BaseLanguageModel[Any]], dict[str, Any]]) -> Any:
    """A copy in which the models inside all wrappers have changed fields; anything else stays unchanged.

    Args:
        llm: The model, with its wrappers.
        change: A function from a language model to its changed fields.
    """
    if isinstance(llm, RunnableBindingBase):
        return llm.model_copy(update={"bound": changed(llm.bound, change)})
    if isinstance(llm, RunnableWithFallbacks):
        fallbacks = [changed(one, change) for one in llm.fallbacks]
        return llm.model_copy(update={"runnable": changed(llm.runnable, change), "fallbacks": fallbacks})
    if isinstance(llm, DynamicRunnable):
        return llm.model_copy(update={"default": changed(llm.default, change)})
    return llm.model_copy(update=change(llm)) if isinstance(llm, BaseLanguageModel) else llm


def chat_model_in(llm: object) -> BaseChatModel:
    """The chat model that determines how tools are bound, answers structured and tokens counted.

    Args:
        llm: A chat model, `with_retry()`, `with_fallbacks()`, `bind(…)` or configurable fields of one, or the result of
            `init_chat_model()`.

    Raises:
        ValueError: There is none, or it already samples several answers.
    """
    found = inside(given_object(llm))
    if type(found).__name__ == "_ConfigurableModel":  # langchain's own class, which makes a model for each call
        try:
            found = inside(found._model())  # type: ignore[attr-defined]
        except Exception as error:
            raise ValueError("llm must have a default model: init_chat_model(model, …)") from error
    if not isinstance(found, BaseChatModel):
        raise ValueError(f"llm must be a chat model, not {type(found).__name__}: for a chain, take MedPRMBestOfN")
    refuse_nested(found)
    return found


def given_object(llm: Any) -> Any:
    """The argument, unless it is a class.

    Raises:
        ValueError: It is one.
    """
    if isinstance(llm, type):
        raise ValueError(f"llm must be an object, not the class: llm={llm.__name__}(…)")
    return llm


def refuse_nested(llm: object) -> None:
    """Refuse a model that gives n answers itself, since n · n answers would be paid for.

    Raises:
        ValueError: It is a `ChatMedPRM`, or it has its own `n`, and only the first of its answers would count.
    """
    found = inside(llm)
    if getattr(type(found), "samples_itself", False):
        raise ValueError("llm must be a model to sample from, not a ChatMedPRM, which samples itself")
    n = getattr(found, "n", None) if isinstance(found, BaseLanguageModel) else None
    if isinstance(n, int) and n > 1:
        raise ValueError(f"llm gives {n} answers to each call, of which only one would count: leave its n at 1")


def bound_arguments(llm: Runnable[Any, Any]) -> dict[str, Any]:
    """The arguments with which a model is always called, from its bindings."""
    arguments: dict[str, Any] = {}
    while isinstance(llm, RunnableBindingBase):
        arguments = {**llm.kwargs, **arguments}
        llm = llm.bound
    return arguments
