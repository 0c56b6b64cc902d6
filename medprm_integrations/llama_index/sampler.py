"""Gets one sample from a language model: a chat message, a completion, or a structured answer."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from pydantic import BaseModel

from medprm_integrations.llama_index.unstreamed_llm import (
    achat_of,
    acomplete_of,
    messages_of,
    response_text,
    text_prompt_of,
)
from medprm_integrations.shared.structured import structured_sample
from medprm_integrations.shared.truncation import is_cut_off
from medprm_scorer.errors import InputError
from medprm_scorer.sampling.rules import Sample

Response = ChatResponse | CompletionResponse | BaseModel
"""The output of a language model: a response, or a structured answer if that was requested."""


def asking(
    llm: LLM, prompt: BasePromptTemplate, values: dict[str, Any], output_cls: type[BaseModel] | None, *, is_async: bool
) -> Callable[..., Any]:
    """A function that calls a language model as LlamaIndex's `predict` does, but returns the whole response.

    Args:
        llm: The model; its own system prompt comes before the messages.
        prompt: The prompt.
        values: The values of the prompt's variables.
        output_cls: Request an answer of this class, in the model's own way.
        is_async: Whether calls are awaited.

    Returns:
        The function; without `output_cls` it takes further arguments for the language model's API.
    """
    if output_cls is not None:
        return partial(_astructured if is_async else _structured, llm, output_cls, prompt, values)
    if llm.metadata.is_chat_model:
        messages = messages_of(llm, prompt, values)
        chat = achat_of(llm) if is_async else llm.chat
        return lambda **more: chat(list(messages), **more)
    return partial(acomplete_of(llm) if is_async else llm.complete, text_prompt_of(llm, prompt, values), formatted=True)


def sample_of(response: Response, answer_field: str | None = None) -> Sample:
    """A response in the form in which it is judged; for a structured answer, the content of its fields.

    Example:
        >>> sample_of(CompletionResponse(text="The answer is (A)", raw={"finish_reason": "length"})).truncated
        True
    """
    if isinstance(response, ChatResponse | CompletionResponse):
        return Sample(response_text(response), truncated=was_cut_off(response))
    return structured_sample(response, answer_field)


def was_cut_off(response: ChatResponse | CompletionResponse) -> bool:
    """Whether the language model was cut off before it had finished."""
    message = response.message.additional_kwargs if isinstance(response, ChatResponse) else None
    return any(map(is_cut_off, (response.raw, response.additional_kwargs, message)))


def _structured(llm: LLM, output_cls: Any, prompt: Any, values: dict[str, Any]) -> BaseModel:
    # a copy of the prompt: programs for models without tools put their parser into it
    return _checked(llm.structured_predict(output_cls, deepcopy(prompt), **values), output_cls)


async def _astructured(llm: LLM, output_cls: Any, prompt: Any, values: dict[str, Any]) -> BaseModel:
    return _checked(await llm.astructured_predict(output_cls, deepcopy(prompt), **values), output_cls)


def _checked(found: object, output_cls: type[BaseModel]) -> BaseModel:
    if not isinstance(found, output_cls):
        raise InputError(f"the llm gave {type(found).__name__} where {output_cls.__name__} was asked for")
    return found
