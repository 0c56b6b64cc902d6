"""The winning message: the unchanged sample, with its ranking in the metadata and nothing added to its text."""

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage

from medprm_integrations.shared.best_of_n import Choice
from medprm_integrations.shared.ranking_metadata import KEY, read_ranking
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking

_OF_THE_MODEL = ("model_name", "model_provider")


def ranking_of(message: object) -> Ranking:
    """The ranking by which a message was chosen.

    Besides the ranking, `message.response_metadata["medprm"]` holds what `RankingMetadata` describes, such as
    `cautions`. What the ranking lacks depends on `keep`: by default the texts of the losing chains, with `figures` also
    the question and the answers. These are "", while a ranking passed to `on_ranking` has them. The winner's text is
    the message's current text; for a structured answer that came as a tool call, it is "".

    Args:
        message: The answer of `MedPRMBestOfN`, `ChatMedPRM`, `MedPRMOutputParser` or an agent with `MedPRMMiddleware`.
            In an agent's state, that is `state["messages"][-1]`.

    Raises:
        InputError: It is not a message, it was not chosen (for example because it calls tools), or `keep` is `none`.
    """
    if not isinstance(message, BaseMessage):
        kind = type(message).__name__
        raise InputError(f"ranking_of takes a message, not {kind}: give the message: state['messages'][-1]")
    return read_ranking(message.response_metadata.get(KEY), "message", text=str(message.text))


def as_message(output: object) -> AIMessage:
    """The output of a language model, as a new `AIMessage` that may be changed.

    Raises:
        InputError: It is neither a message nor a text.
    """
    if isinstance(output, str):
        return AIMessage(content=output)
    if not isinstance(output, BaseMessage):
        raise InputError(f"the llm must return messages or texts, not {type(output).__name__}")
    if isinstance(output, AIMessage) and not isinstance(output, AIMessageChunk):
        return output.model_copy()
    fields = {
        name: value
        for name in ("content", "additional_kwargs", "response_metadata", "id", "name", "tool_calls", "usage_metadata")
        if (value := getattr(output, name, None))
    }
    return AIMessage(**{"content": "", **fields})


def total_usage(messages: Iterable[object]) -> UsageMetadata | None:
    """The tokens of all messages together; None if none of them reports any.

    LangChain's report of their cost is left out: it exists only for the first choice of a call.

    Example:
        >>> used = UsageMetadata(input_tokens=2, output_tokens=3, total_tokens=5)
        >>> total_usage([AIMessage("a", usage_metadata=used), AIMessage("b", usage_metadata=used)])["total_tokens"]
        10
    """
    total: UsageMetadata | None = None
    for message in messages:
        used = message.usage_metadata if isinstance(message, AIMessage) else None
        if used:
            total = add_usage(total, used)
    if total:
        total.pop("total_cost", None)  # type: ignore[typeddict-item]
    return total


def with_ranking(message: AIMessage, choice: Choice[Any]) -> AIMessage:
    """A copy of the winning message with its ranking in the metadata and the tokens of all samples as its usage.

    If another text replaces the winner's, nothing of the winner is kept: its metadata may repeat it, for example in
    log-probabilities.
    """
    if choice.said is not None:
        return said_instead(message, choice.said, choice.note, choice.note["usage"])
    response_metadata = {**message.response_metadata, KEY: choice.note}
    return message.model_copy(update={"response_metadata": response_metadata, "usage_metadata": choice.note["usage"]})


def said_instead(message: AIMessage, text: str, note: Mapping[str, Any], usage: Any) -> AIMessage:
    """A message that replaces another one; it keeps only the other's id and model name."""
    kept = {name: message.response_metadata[name] for name in _OF_THE_MODEL if name in message.response_metadata}
    return AIMessage(
        content=text, id=message.id, name=message.name, response_metadata={**kept, KEY: note}, usage_metadata=usage
    )
