"""One sample from a language model: a chat model's, a text model's, or a structured answer."""

from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from pydantic import BaseModel

from medprm_integrations.llama_index.language_models import achat_of, acomplete_of
from medprm_integrations.shared.structured import structured_text
from medprm_scorer.errors import InputError

Sample = ChatResponse | CompletionResponse | BaseModel
"""What a language model gives: a response, or, where a structured answer was asked for, that."""


@dataclass(frozen=True, repr=False)
class Asking:
    """A prompt, ready to be asked again and again.

    Args:
        once: Gives one sample.
        aonce: Gives one sample, awaited.
    """

    once: Callable[[], Sample]
    aonce: Callable[[], Awaitable[Sample]]


def asking(
    llm: LLM, prompt: BasePromptTemplate, values: dict[str, Any], output_cls: type[BaseModel] | None = None
) -> Asking:
    """How to ask a language model, as LlamaIndex's `predict` does, but for the whole response.

    Args:
        llm: The model; its own system prompt comes before the messages.
        prompt: The prompt.
        values: What it is filled in with.
        output_cls: Ask for an answer of this class, in the model's way.
    """
    if output_cls is not None:
        return Asking(
            partial(_structured, llm, output_cls, prompt, values),
            partial(_astructured, llm, output_cls, prompt, values),
        )
    if llm.metadata.is_chat_model:
        messages = llm._get_messages(prompt, **values)
        return Asking(lambda: llm.chat(list(messages)), lambda: achat_of(llm)(list(messages)))
    text = llm._get_prompt(prompt, **values)
    return Asking(lambda: llm.complete(text, formatted=True), lambda: acomplete_of(llm)(text, formatted=True))


def said(sample: Sample) -> str:
    """The text of a sample, by which it is judged; of a structured answer, what stands in its fields.

    Example:
        >>> said(CompletionResponse(text="The answer is (A)"))
        'The answer is (A)'
    """
    if isinstance(sample, ChatResponse):
        return sample.message.content or ""
    return sample.text if isinstance(sample, CompletionResponse) else structured_text(sample)


def _structured(llm: LLM, output_cls: Any, prompt: Any, values: dict[str, Any]) -> BaseModel:
    # a copy of the prompt: programs for models without tools put their parser into it
    return _checked(llm.structured_predict(output_cls, deepcopy(prompt), **values), output_cls)


async def _astructured(llm: LLM, output_cls: Any, prompt: Any, values: dict[str, Any]) -> BaseModel:
    return _checked(await llm.astructured_predict(output_cls, deepcopy(prompt), **values), output_cls)


def _checked(found: object, output_cls: type[BaseModel]) -> BaseModel:
    if not isinstance(found, output_cls):
        raise InputError(f"the llm gave {type(found).__name__} where {output_cls.__name__} was asked for")
    return found
