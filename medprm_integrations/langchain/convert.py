"""Plain texts from LangChain's objects: messages, prompts, generations, documents."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.prompt_values import PromptValue

from medprm_integrations.langchain.conversation import asked_in
from medprm_integrations.shared.questions import Asked
from medprm_integrations.shared.structured import structured_sample
from medprm_integrations.shared.truncation import is_cut_off
from medprm_scorer.errors import InputError
from medprm_scorer.sampling.rules import Sample

_MESSAGE_LIKE = (BaseMessage, Mapping, tuple)


def asked_about(question: object) -> Asked:
    """The question of an input, with its cautions.

    Args:
        question: A text, a message, a prompt, or a conversation, of which the human messages count: messages, or their
            short forms (`("user", "…")`, `{"role": "user", "content": "…"}`).

    Raises:
        InputError: It is something else, or a conversation without any text.
    """
    if isinstance(question, str):
        return Asked(question)
    if isinstance(question, HumanMessage):
        question = [question]
    if isinstance(question, BaseMessage):
        return Asked(str(question.text))
    if isinstance(question, PromptValue):
        question = question.to_messages()
    if isinstance(question, list | tuple) and question and all(isinstance(one, _MESSAGE_LIKE) for one in question):
        return asked_in(messages_in(question))
    raise InputError(
        f"the question must be a text, a message, a prompt or a conversation, not {type(question).__name__}"
    )


def messages_in(conversation: Sequence[Any]) -> list[BaseMessage]:
    """The messages of a conversation, in any of LangChain's forms.

    Raises:
        InputError: Something in it is not a message.
    """
    try:
        return convert_to_messages(conversation)
    except Exception:  # noqa: BLE001 - the text of the error may contain the message
        raise InputError("a conversation must be a list of messages") from None


def sample_of(value: object, place: int = 0) -> Sample:
    """A candidate in the form in which it is judged.

    Args:
        value: A text, a list of steps, a message, a generation or a document.
        place: Its index among the candidates, for error messages.

    Raises:
        InputError: It is none of these.
    """
    truncated = isinstance(value, Generation) and is_cut_off(value.generation_info)
    if isinstance(value, ChatGeneration):
        value = value.message
    if isinstance(value, BaseMessage):
        return Sample(str(value.text), truncated=truncated or is_cut_off(value.response_metadata))
    if isinstance(value, Generation):
        return Sample(value.text, truncated=truncated)
    if isinstance(value, Document):
        return Sample(value.page_content)
    if isinstance(value, str):
        return Sample(value)
    if isinstance(value, list | tuple) and all(isinstance(step, str) for step in value):
        return Sample(tuple(value))
    raise InputError(
        f"candidate {place} must be a text, a list of steps, a message or a generation, not {type(value).__name__}"
    )


def samples_of(values: object) -> list[Sample]:
    """The candidates of one question.

    Args:
        values: A list of what `sample_of` takes, or the result of a `generate` call for one prompt.

    Raises:
        InputError: It is something else, or the result of several prompts.
    """
    if isinstance(values, LLMResult):
        if len(values.generations) != 1:
            raise InputError(
                f"candidates: a result of {len(values.generations)} prompts; give one prompt's generations"
            )
        values = values.generations[0]
    if isinstance(values, ChatResult):
        values = values.generations
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError("candidates must be a list of texts, messages or generations")
    return [sample_of(value, place) for place, value in enumerate(values)]


def answer_of(message: AIMessage) -> Sample | None:
    """A model's message in the form in which it is judged; None if it calls tools."""
    return None if message.tool_calls or message.invalid_tool_calls else sample_of(message)


def structured_answer(message: AIMessage, parsed: object, answer_field: str | None) -> Sample:
    """A structured answer in the form in which it is judged, with the model's text if it came as a tool call."""
    sample = structured_sample(parsed, answer_field)
    said = str(message.text) if message.tool_calls else ""
    chain = sample.chain
    if said.strip():
        chain = f"{said}\n{chain}".rstrip() if isinstance(chain, str) else (f"{said}\n{chain[0]}", *chain[1:])
    return Sample(chain, sample.answer, is_cut_off(message.response_metadata))
