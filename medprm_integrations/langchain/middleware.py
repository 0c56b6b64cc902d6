"""`MedPRMMiddleware`: an agent's final answers are sampled n times and selected with its tools' results as evidence."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, ClassVar, cast

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from pydantic import ConfigDict
from typing_extensions import Self, Unpack

from medprm_integrations.langchain.conversation import asked_in, known_tools, not_given, tool_documents
from medprm_integrations.langchain.convert import sample_of, structured_answer
from medprm_integrations.langchain.doubt import DOUBTS, ask_in_doubt, check_resumable
from medprm_integrations.langchain.events import aannounce, announce
from medprm_integrations.langchain.helper_calls import fields_in, is_helper_call
from medprm_integrations.langchain.messages import total_usage, with_ranking
from medprm_integrations.langchain.order import SeenModel, warn_of_order
from medprm_integrations.langchain.retrieved import document_texts, evidence_call, evidence_function
from medprm_integrations.langchain.sampler import is_interrupt, sampler
from medprm_integrations.langchain.several import in_one_call
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


class _Settings(ConversationSettings):
    model_config = ConfigDict(title="MedPRMMiddleware")  # the name in its errors

    doubts: ClassVar[tuple[str, ...]] = DOUBTS


class _NotAnObject:
    """The attribute that `create_agent` reads if the class is passed by mistake: it raises an error that says so."""

    def __get__(self, *_: object) -> Any:
        raise TypeError("middleware takes an object, not the class: middleware=[MedPRMMiddleware(prm=…)]")


class _Kind(type(AgentMiddleware)):  # type: ignore[misc] # whatever its metaclass is
    """The metaclass, in which `create_agent` looks if the class is passed."""

    wrap_tool_call = _NotAnObject()


class MedPRMMiddleware(AgentMiddleware, metaclass=_Kind):
    """For `create_agent`: samples the agent's final answers n times and continues with the one that is selected.

    Each turn of the model is drawn once. If it calls tools, it is passed on unchanged, at no further cost. If it is an
    answer to the user, n - 1 more are drawn, those that call tools are dropped, and the reward model chooses. The
    winner's ranking is in `response_metadata["medprm"]` (`ranking_of` reads it back), with what `RankingMetadata`
    describes (invalid structured answers count as failed), and its `usage_metadata` counts the tokens of all samples.
    Structured answers are judged by the content of their fields; one that violates the schema cannot win.

    Put it last in the list of middleware, so that the others see one call of the model. A middleware after it that
    changes the model, or answers instead of it, gives a `MiddlewareOrderWarning`. With `stream_mode="messages"` only
    the winner is streamed, in one piece; the ranking's figures are a custom event of the run, `medprm_ranking`, in
    `astream_events`. The question and the evidence are found as in `ChatMedPRM`. A `response_format` without a field
    for reasoning or answer is not an answer to the user: such turns run once (`is_answer=` takes your own rule).
    Interrupts pass through, and so does an error of the first sample, for middleware that retries or falls back. A
    later failed sample does not affect the others, and gives a `SamplesFailedWarning`. Evidence of which nothing could
    be read gives a `DocumentsLeftOutWarning`, and a name in `evidence_tools` that no tool has gives an
    `UnknownToolWarning`.

    With `on_doubt="interrupt"` the agent pauses at an answer that is not trusted, as described in `ask_in_doubt`, and
    uses a person's reply as the answer. This needs a `checkpointer`. Nothing is sampled again on resume. Until then the
    message has `doubt_answer` as its text, and its metadata contain the answer (`answer_waiting`), whatever `keep` is.

    In tests, use langchain-core's `GenericFakeChatModel` as the model: its answers are an iterator, which copies share.
    For an agent with tools, give a subclass of it a `bind_tools` that returns `self`.
    The model is copied to keep its samples out of streams and caches, so a fake that counts its calls in a field may
    count in a copy.

    Args:
        prm: The reward model.
        settings: Those of `ConversationSettings`: `n`, `strategy`, `aggregate`, `stop`, `agree`, `rules`, `timeout`,
            `deadline`, `replacements`, `quorum`, `max_tokens_total`, `several_per_call`, `on_sample`, `evidence`,
            `evidence_tools`, `is_answer`, `question`, `answer`, `options`, `group`, `answer_field`, `max_concurrency`,
            `on_ranking`, `keep`, `explain`, `trust`, `on_doubt`, `doubt_answer`. `evidence` may also be a retriever,
            which gets the judged question as its query.

    Raises:
        ValueError: A setting is unknown, out of its range or of the wrong kind; in the agent's run, its model is a
            `ChatMedPRM`, which would sample each of the n samples n times.
    """

    def __new__(cls, *values: object, **settings: object) -> Self:
        """Refuse positional settings, with a message that a user can act on; only `interrupt` adds a node."""
        if values:
            raise TypeError("MedPRMMiddleware takes its settings by name: MedPRMMiddleware(prm=…, n=…)")
        asks = cls is MedPRMMiddleware and settings.get("on_doubt") == "interrupt"
        return super().__new__(cast("type[Self]", _AskingMiddleware) if asks else cls)

    def __init__(self, *, prm: MedPRM, **settings: Unpack[ConversationOptions]) -> None:
        super().__init__()
        settings["evidence"] = cast("Any", evidence_function(settings.get("evidence")))
        self.settings = _Settings(prm=prm, **settings)
        self.prm = prm

    def __repr__(self) -> str:
        return f"MedPRMMiddleware({self.settings!r})"

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Draw the model's turn; if it is a final answer, sample more and select.

        Args:
            request: The request to the model.
            handler: Sends it.

        Returns:
            The first draw, unchanged, or the winner's response.
        """
        if not self._is_answer(request):
            return handler(request)
        seen = SeenModel()
        job = self._job(request, handler, seen, awaited=False)
        try:
            choice = choose(self.settings, job, partial(_passes, request, job))
        except InvalidAnswer as error:
            return error.response
        finally:
            warn_of_order(seen, job.drawing, self)
        announce([choice], [None])
        return _response(choice)

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """`wrap_model_call`, with samples as tasks and the reward model in a worker thread."""
        if not self._is_answer(request):
            return await handler(request)
        seen = SeenModel()
        job = self._job(request, handler, seen, awaited=True)
        try:
            choice = await achoose(self.settings, job, partial(_passes, request, job))
        except InvalidAnswer as error:
            return error.response
        finally:
            warn_of_order(seen, job.drawing, self)
        await aannounce([choice], [None])
        return _response(choice)

    def _is_answer(self, request: Any) -> bool:
        """Whether the turn is an answer to the user, or may become one."""
        refuse_nested(request.model)
        if self.settings.is_answer is not None:
            return self.settings.is_answer(request)
        specs = [] if self.settings.answer_field else _schemas(request.response_format)
        return not is_helper_call((), {}, fields_in([spec.json_schema for spec in specs]) if specs else None)

    def _job(self, request: Any, handler: Callable[[Any], Any], seen: SeenModel, *, awaited: bool) -> Job[Any]:
        settings, messages = self.settings, _messages(request)
        warn_of_unknown_tools(settings.evidence_tools, _known_tools(request), self)
        names = frozenset(spec.name for spec in _schemas(request.response_format))
        read = partial(_candidate, structured=request.response_format is not None, names=names, settings=settings)
        asked = settings.asked(request, partial(asked_in, messages))
        # a structured answer is returned as a tool result
        documents = tool_documents(messages, settings.evidence_tools, ignored=names, start=asked.start)
        llm = seen.watched(sampler(request.model))

        def ask(llm: Any) -> Any:
            return handler(request.override(model=llm))

        return Job(
            question=asked.text,
            cautions=(*asked.cautions, *not_given([*_told(request), *messages], documents, settings.evidence)),
            drawing=new_drawing(settings, read, probe=True),
            ask=partial(ask, llm),
            ask_several=in_one_call(settings, llm, ask, awaited=awaited),
            source=request.model,
            usage=lambda responses: total_usage(map(_answer, responses)),
            documents=documents,
            evidence=evidence_call(settings.evidence, request, asked.text, awaited=awaited),
            read=document_texts,
            structured=request.response_format is not None,
        )


class _AskingMiddleware(MedPRMMiddleware):
    """A middleware that asks a person in a node after the model's, so that the samples are in the state on resume."""

    @property
    def name(self) -> str:
        """The name in the graph."""
        return str(MedPRMMiddleware.__name__)

    def _job(self, *given: Any, **named: Any) -> Job[Any]:
        check_resumable()  # before anything is paid for
        return super()._job(*given, **named)

    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """Ask about the model's last message, if it is not trusted.

        Args:
            state: The agent's state.
            runtime: Not used.

        Returns:
            The message that replaces it.
        """
        message = state["messages"][-1]
        settled = ask_in_doubt(message) if isinstance(message, AIMessage) else message
        return None if settled is message else {"messages": [settled]}

    async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """`after_model`, awaited."""
        return self.after_model(state, runtime)


class InvalidAnswer(Exception):  # its name is shown in warnings
    """A response that should be a structured answer but is not."""

    def __init__(self, response: Any) -> None:
        super().__init__("the structured answer is invalid")
        self.response = response


def _passes(request: Any, job: Job[Any], error: Exception) -> bool:
    """Whether an error is not that of a failed sample, but an interrupt, or that of the first draw.

    An error of the first draw may mean that it is an answer, but an invalid one; in langchain 1.0 this is a plain
    error.
    """
    invalid = (StructuredOutputError,) if request.response_format is None else (StructuredOutputError, ValueError)
    return is_interrupt(error) or (not job.drawing.finished and not isinstance(error, invalid))


def _candidate(
    response: Any, *, structured: bool, names: frozenset[str], settings: ConversationSettings
) -> Sample | InvalidAnswer | None:
    """A response in the form in which it is judged; None for tool calls, an error for an invalid structure."""
    message = _answer(response)
    found = getattr(response, "structured_response", None)
    if found is not None:
        return structured_answer(message, found, settings.answer_field)
    if any(call["name"] not in names for call in [*message.tool_calls, *message.invalid_tool_calls]):
        return None
    return InvalidAnswer(response) if structured else sample_of(message)


def _answer(response: Any) -> AIMessage:
    """The model's message in a response; the tool result of a structured answer may follow it."""
    messages = response.result if isinstance(response, ModelResponse) else [response]
    found: AIMessage = next(message for message in messages if isinstance(message, AIMessage))
    return found


def _messages(request: Any) -> Sequence[BaseMessage]:
    """The whole conversation; another middleware may have shortened `request.messages`."""
    messages: Sequence[BaseMessage] = (request.state or {}).get("messages") or request.messages
    return messages


def _told(request: Any) -> list[BaseMessage]:
    """The system message, if there is one; langchain 1.0 has only its text."""
    told = getattr(request, "system_message", None)
    text = getattr(request, "system_prompt", None)
    return [told] if told is not None else [SystemMessage(text)] if text else []


def _known_tools(request: Any) -> list[str]:
    """Names of the tools that the model may call; another middleware may hide some that were called before."""
    tools = known_tools(request.tools or [])
    called = [c["name"] for message in _messages(request) if isinstance(message, AIMessage) for c in message.tool_calls]
    return [*tools, *called] if tools else []


def _schemas(response_format: Any) -> list[Any]:
    """The schemas of structured answers, each with its name as a tool."""
    if response_format is None:
        return []
    if not isinstance(response_format, ToolStrategy):
        schema = getattr(response_format, "schema", response_format)
        try:
            response_format = ToolStrategy(schema)
        except Exception:  # noqa: BLE001 - a schema that cannot be a tool has no tool name
            return []
    return list(response_format.schema_specs)


def _response(choice: Choice[Any]) -> Any:
    """The winning response with the ranking in its message and no other change; a tool call is returned unchanged."""
    response, message = choice.value, _answer(choice.value)
    if choice.ranking is None:
        return response
    chosen = with_ranking(message, choice)
    if not isinstance(response, ModelResponse):
        return chosen
    result = [chosen if one is message else one for one in response.result]
    return ModelResponse(result=result, structured_response=response.structured_response)
