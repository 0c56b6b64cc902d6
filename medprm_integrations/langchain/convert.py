"""Plain texts from what LangChain passes around: messages, prompts, generations, documents."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.prompt_values import PromptValue

from medprm_integrations.shared import evidence
from medprm_integrations.shared.questions import Asked, put_together
from medprm_integrations.shared.structured import structured_sample
from medprm_integrations.shared.truncation import is_cut_off
from medprm_scorer.errors import InputError
from medprm_scorer.sampling.rules import Sample


def question_text(question: object) -> str:
    """The text of a question.

    Args:
        question: A text, a message, a prompt, or a conversation, of which the human messages count.

    Raises:
        InputError: It is something else, or a conversation in which nobody says anything.
    """
    if isinstance(question, str):
        return question
    if isinstance(question, BaseMessage):
        return str(question.text)
    if isinstance(question, PromptValue):
        question = question.to_messages()
    if isinstance(question, Sequence) and question and all(isinstance(one, BaseMessage) for one in question):
        return asked_in(question).text
    raise InputError(f"the question must be a text, a message or a prompt, not {type(question).__name__}")


def asked_in(messages: Sequence[BaseMessage]) -> Asked:
    """The question of a conversation: the human messages; without any, the last message that no model or tool wrote.

    Summaries that take the place of older messages (`SummarizationMiddleware`) are no questions.

    Raises:
        InputError: There is no such message.
    """
    human = [message for message in messages if isinstance(message, HumanMessage)]
    others = [m for m in messages if not isinstance(m, AIMessage | ToolMessage | HumanMessage)]
    summaries = [message for message in human if message.additional_kwargs.get("lc_source") == "summarization"]
    said = [message for message in human if message not in summaries]
    return put_together(*([str(message.text) for message in group] for group in (said, others, summaries)))


def sample_of(value: object, place: int = 0) -> Sample:
    """A candidate as it is judged.

    Args:
        value: A text, a list of steps, a message, a generation or a document.
        place: Its place among the candidates, for the message of an error.

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
    """A model's message as it is judged; None if it calls tools."""
    return None if message.tool_calls or message.invalid_tool_calls else sample_of(message)


def structured_answer(message: AIMessage, parsed: object, answer_field: str | None) -> Sample:
    """A structured answer as it is judged, with what the model said beside it where a tool's call holds it."""
    sample = structured_sample(parsed, answer_field)
    said = str(message.text) if message.tool_calls else ""
    chain = sample.chain
    if said.strip():
        chain = f"{said}\n{chain}".rstrip() if isinstance(chain, str) else (f"{said}\n{chain[0]}", *chain[1:])
    return Sample(chain, sample.answer, is_cut_off(message.response_metadata))


def document_texts(documents: object) -> list[str]:
    """The texts of a list of `Document`s and texts, in their order; of None, none.

    Raises:
        InputError: It is something else.
    """
    return evidence.document_texts(documents, lambda d: d.page_content if isinstance(d, Document) else d, "Document")


def tool_documents(
    messages: Sequence[Any], tools: Iterable[str] | None = None, ignored: Iterable[str] = ()
) -> list[str]:
    """What an agent's tools have brought, the newest result first; within a result, in its own order.

    A result's artifact counts where it holds `Document`s, as retriever tools return them; else the message's text.
    Results of tools that failed are no evidence.

    Args:
        messages: The conversation, oldest first.
        tools: Names of the tools that count; None for all.
        ignored: Names of tools that do not count.
    """
    wanted, unwanted = None if tools is None else set(tools), set(ignored)
    names = {
        call["id"]: call["name"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
    texts: list[str] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage) or message.status == "error":
            continue
        name = message.name or names.get(message.tool_call_id)
        if name in unwanted or (wanted is not None and name not in wanted):
            continue
        documents = _documents_in(message.artifact)
        texts += [document.page_content for document in documents] if documents else [str(message.text)]
    return texts


def known_tools(tools: Iterable[Any]) -> list[str]:
    """The names of tools in the forms that `bind_tools` takes; those whose form has no name are left out.

    Example:
        >>> known_tools([asked_in, {"type": "function", "function": {"name": "search"}}, {"type": "web_search"}])
        ['asked_in', 'search']
    """
    names = []
    for tool in tools:
        if isinstance(tool, Mapping):
            function = tool.get("function")
            name = function.get("name") if isinstance(function, Mapping) else tool.get("name", tool.get("title"))
        else:
            name = getattr(tool, "name", None) or getattr(tool, "__name__", None)
        names += [name] if isinstance(name, str) else []
    return names


def _documents_in(artifact: object) -> list[Document]:
    """The `Document`s of an artifact: it is one, or a list of them, or a mapping that has such values."""
    if isinstance(artifact, Document):
        return [artifact]
    if isinstance(artifact, Mapping):
        return [document for value in artifact.values() for document in _documents_in(value)]
    if isinstance(artifact, list | tuple | set | frozenset):
        return [value for value in artifact if isinstance(value, Document)]
    return []
