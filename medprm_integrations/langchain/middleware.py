"""`MedPRMMiddleware`: an agent's final answers are sampled n times and selected with its tools' results as evidence."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from typing_extensions import Unpack

from medprm_integrations.langchain.convert import (
    asked_in,
    document_texts,
    known_tools,
    sample_of,
    structured_answer,
    tool_documents,
)
from medprm_integrations.langchain.messages import total_usage, with_ranking
from medprm_integrations.langchain.sampler import is_interrupt, sampler
from medprm_integrations.langchain.wrapped_models import refuse_nested
from medprm_integrations.shared.best_of_n import Choice, achoose, choose
from medprm_integrations.shared.jobs import Job, new_drawing
from medprm_integrations.shared.settings import ConversationOptions, ConversationSettings
from medprm_integrations.shared.user_warnings import warn_of_unknown_tools
from medprm_scorer.lazy_imports import missing
from medprm_scorer.sampling.rules import Sample
from medprm_scorer.scorer import MedPRM

try:
    from langchain.agents.middleware import AgentMiddleware, ModelResponse
    from langchain.agents.structured_output import StructuredOutputError, ToolStrategy
except ImportError as error:
    raise missing("MedPRMMiddleware", "langchain", "langchain", error) from error


class MedPRMMiddleware(AgentMiddleware):
    """For `create_agent`: samples the agent's final answers n times and goes on with the one that is selected.

    Each turn of the model is drawn once. If it calls tools it goes through untouched, and costs nothing more. If it is
    an answer to the user, n - 1 more are drawn, those among them that call tools are dropped, and the reward model
    chooses; the winner's ranking is in `response_metadata["medprm"]` (`ranking_of` reads it back), with what
    `RankingMetadata` says (invalid structured answers count as failed), and its `usage_metadata` counts the tokens of
    all samples. Structured answers are judged by what stands in their fields; one that breaks the schema cannot win.

    Put it last in the list of middleware, so that the others see one call of the model. With `stream_mode="messages"`
    only the winner is streamed, whole. Interrupts pass through, and so does an error of the first draw, for the
    middleware that retries or falls back; a later sample that fails does not end the others, and is warned of
    (`SamplesFailedWarning`). So is evidence of which nothing could be read (`DocumentsLeftOutWarning`), and a name in
    `evidence_tools` that no tool has (`UnknownToolWarning`).

    In tests, take langchain-core's `GenericFakeChatModel` for the model: its answers are an iterator, which copies
    share. The model is copied to keep its samples out of streams and caches, so a fake that counts its calls in a field
    of its own may count in a copy.

    Args:
        prm: The reward model.
        settings: Those of `ConversationSettings`: `n`, `strategy`, `aggregate`, `agree`, `rules`, `evidence`,
            `evidence_tools`, `question`, `answer`, `options`, `group`, `answer_field`, `max_concurrency`, `on_ranking`,
            `keep`.

    Raises:
        ValueError: A setting is unknown, out of its range or of the wrong kind; in the agent's run, its model is a
            `ChatMedPRM`, which would sample each of the n samples n times.
    """

    def __init__(self, *, prm: MedPRM, **settings: Unpack[ConversationOptions]) -> None:
        super().__init__()
        self.settings = ConversationSettings(prm=prm, **settings)
        self.prm = prm

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings!r})"

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Draw the model's turn, and if it is a final answer, sample and select.

        Args:
            request: What the model is to be asked.
            handler: Asks it.

        Returns:
            The first draw, untouched, or the winner's response.
        """
        job = self._job(request, handler)
        try:
            return _response(choose(self.settings, job, partial(_passes, request, job)))
        except InvalidAnswer as error:
            return error.response

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """`wrap_model_call`, with samples as tasks and the reward model in a worker thread."""
        job = self._job(request, handler)
        try:
            return _response(await achoose(self.settings, job, partial(_passes, request, job)))
        except InvalidAnswer as error:
            return error.response

    def _job(self, request: Any, handler: Callable[[Any], Any]) -> Job[Any]:
        settings, messages = self.settings, _messages(request)
        refuse_nested(request.model)
        warn_of_unknown_tools(settings.evidence_tools, _known_tools(request), self)
        names = _schema_names(request.response_format)
        read = partial(_candidate, structured=request.response_format is not None, names=names, settings=settings)
        asked = settings.asked(request, partial(asked_in, messages))
        return Job(
            question=asked.text,
            cautions=asked.cautions,
            drawing=new_drawing(settings, read, probe=True),
            ask=partial(handler, request.override(model=sampler(request.model))),
            source=request.model,
            usage=lambda responses: total_usage(map(_answer, responses)),
            documents=tool_documents(messages, settings.evidence_tools, ignored=names),  # where own answers come back
            evidence=settings.evidence and partial(settings.evidence, request),
            read=document_texts,
        )


class InvalidAnswer(Exception):  # its name stands in warnings
    """A response that was to be a structured answer and is none."""

    def __init__(self, response: Any) -> None:
        super().__init__("the structured answer is invalid")
        self.response = response


def _passes(request: Any, job: Job[Any], error: Exception) -> bool:
    """Whether an error is not a sample's that failed, but an interrupt, or the first draw's.

    The first draw may say by an error that it is an answer, though an invalid one; langchain 1.0 has a plain one.
    """
    invalid = (StructuredOutputError,) if request.response_format is None else (StructuredOutputError, ValueError)
    return is_interrupt(error) or (not job.drawing.finished and not isinstance(error, invalid))


def _candidate(
    response: Any, *, structured: bool, names: frozenset[str], settings: ConversationSettings
) -> Sample | InvalidAnswer | None:
    """A response as it is judged; None if it calls tools, an error if it was to be a structured answer and is none."""
    message = _answer(response)
    found = getattr(response, "structured_response", None)
    if found is not None:
        return structured_answer(message, found, settings.answer_field)
    if any(call["name"] not in names for call in [*message.tool_calls, *message.invalid_tool_calls]):
        return None
    return InvalidAnswer(response) if structured else sample_of(message)


def _answer(response: Any) -> AIMessage:
    """The model's message in a response, in which the result of a structured answer's tool may follow it."""
    messages = response.result if isinstance(response, ModelResponse) else [response]
    found: AIMessage = next(message for message in messages if isinstance(message, AIMessage))
    return found


def _messages(request: Any) -> Sequence[BaseMessage]:
    """The whole conversation; `request.messages` may be a part of it that another middleware has cut to size."""
    messages: Sequence[BaseMessage] = (request.state or {}).get("messages") or request.messages
    return messages


def _known_tools(request: Any) -> list[str]:
    """Names of the tools that the model may call; another middleware may hide some that were called before."""
    tools = known_tools(request.tools or [])
    called = [c["name"] for message in _messages(request) if isinstance(message, AIMessage) for c in message.tool_calls]
    return [*tools, *called] if tools else []


def _schema_names(response_format: Any) -> frozenset[str]:
    """Names under which a structured answer may come as a call of a tool."""
    if response_format is None:
        return frozenset()
    if not isinstance(response_format, ToolStrategy):
        schema = getattr(response_format, "schema", response_format)
        try:
            response_format = ToolStrategy(schema)
        except Exception:  # noqa: BLE001 - a schema that cannot be a tool has no name to be called by
            return frozenset()
    return frozenset(spec.name for spec in response_format.schema_specs)


def _response(choice: Choice[Any]) -> Any:
    """The winning response, its message with the ranking, and nothing else in it changed; a call of tools as it is."""
    response, message = choice.value, _answer(choice.value)
    if choice.ranking is None:
        return response
    chosen = with_ranking(message, choice)
    if not isinstance(response, ModelResponse):
        return chosen
    result = [chosen if one is message else one for one in response.result]
    return ModelResponse(result=result, structured_response=response.structured_response)
