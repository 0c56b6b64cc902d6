"""`MedPRMMiddleware`: an agent's final answers are sampled n times and selected with its tools' results as evidence."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from medprm_integrations.langchain.convert import known_tools, last_question, tool_documents
from medprm_integrations.langchain.gathering import agathered, gathered
from medprm_integrations.langchain.messages import crowned, total_usage
from medprm_integrations.langchain.sampler import is_interrupt, quiet
from medprm_integrations.shared.asking import adraw, draw
from medprm_integrations.shared.drawing import Drawing
from medprm_integrations.shared.evidence import Evidence, counted, within_budget
from medprm_integrations.shared.evidence_tools import tool_names, warn_of_unknown
from medprm_integrations.shared.lazy_imports import missing
from medprm_integrations.shared.settings import DEFAULT_CONCURRENCY, DEFAULT_N, SamplingSettings, reward_model
from medprm_integrations.shared.sharing import share
from medprm_integrations.shared.structured import structured_text
from medprm_scorer.results.models import Ranking
from medprm_scorer.scorer import MedPRM

try:
    from langchain.agents.middleware import AgentMiddleware, ModelResponse
    from langchain.agents.structured_output import StructuredOutputError, ToolStrategy
except ImportError as error:
    raise missing("MedPRMMiddleware", "langchain", "langchain", error) from error

share()


class MedPRMMiddleware(AgentMiddleware):
    """For `create_agent`: samples the agent's final answers n times and goes on with the one that is selected.

    Each turn of the model is drawn once. If it calls tools it goes through untouched, and costs nothing more. If it is
    an answer to the user, n - 1 more are drawn, those among them that call tools are dropped, and the reward model
    chooses; the winner's ranking is in `response_metadata["medprm"]` (`ranking_of` reads it back), with `usage`,
    `samples_failed` (invalid structured answers count), `samples_dropped` and `documents_left_out`, and its
    `usage_metadata` counts the tokens of all samples. Structured answers are judged by what stands in their fields;
    one that breaks the schema cannot win.

    Put it last in the list of middleware, so that the others see one call of the model. With `stream_mode="messages"`
    only the winner is streamed, whole. Interrupts pass through, and so does an error of the first draw, for the
    middleware that retries or falls back; a later sample that fails does not end the others, and is warned of
    (`SamplesFailedWarning`). So is evidence of which nothing could be read (`DocumentsLeftOutWarning`).

    In tests, take langchain-core's `GenericFakeChatModel` for the model: its answers are an iterator, which copies
    share. The model is copied to keep its samples out of streams and caches, so a fake that counts its calls in a field
    of its own may count in a copy.

    Args:
        prm: The reward model.
        n: How many samples of a final answer.
        strategy: `weighted_vote`, `best_of_n` or `majority_vote`.
        aggregate: How step rewards become a chain reward.
        evidence_tools: Names of the tools whose results are evidence; None for all, an empty list for none; a name that
            no tool has is warned of (`UnknownToolWarning`). The newest results come first within the reward model's
            budget; artifacts with `Document`s count, else the text.
        evidence: Your own function from the `ModelRequest` to documents, which come before those of the tools; async is
            fine where the agent runs async.
        question: Your own function from the `ModelRequest` to the question; None takes the last human message.
        max_concurrency: Most calls of the model at once.
        agree: Draw no more once so many samples give the same answer; None draws all n.

    Raises:
        ValueError: A setting is out of its range or of the wrong kind.
    """

    def __init__(
        self,
        *,
        prm: MedPRM,
        n: int = DEFAULT_N,
        strategy: str = "weighted_vote",
        aggregate: str = "min",
        evidence_tools: Sequence[str] | None = None,
        evidence: Callable[[Any], Any] | None = None,
        question: Callable[[Any], str] | None = None,
        max_concurrency: int = DEFAULT_CONCURRENCY,
        agree: int | None = None,
    ) -> None:
        super().__init__()
        self.prm = reward_model(prm)
        self.settings = SamplingSettings(
            n=n, strategy=strategy, aggregate=aggregate, max_concurrency=max_concurrency, agree=agree
        )
        self.evidence_tools = tool_names(evidence_tools)
        self._evidence_function, self._question_function = evidence, question

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
        drawing, asked = self._begin(request)
        try:
            drawing.add([handler(asked)])
        except _invalid_answers(request) as error:  # other errors pass
            drawing.add([error])
        draw(drawing, partial(handler, asked), self.settings.max_concurrency, is_interrupt)
        if not drawing.values:
            return _without_candidates(drawing)
        drawing.warn(request.model)
        evidence = self._evidence(request, gathered(self._evidence_function, request))
        ranking = self.prm.rank(self._question(request), drawing.texts, evidence.texts, **self._choice)
        return _winner(drawing, ranking, evidence)

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """`wrap_model_call`, with samples as tasks and the reward model in a worker thread."""
        drawing, asked = self._begin(request)
        try:
            drawing.add([await handler(asked)])
        except _invalid_answers(request) as error:
            drawing.add([error])
        await adraw(drawing, partial(handler, asked), self.settings.max_concurrency, is_interrupt)
        if not drawing.values:
            return _without_candidates(drawing)
        drawing.warn(request.model)
        evidence = self._evidence(request, await agathered(self._evidence_function, request))
        ranking = await self.prm.arank(self._question(request), drawing.texts, evidence.texts, **self._choice)
        return _winner(drawing, ranking, evidence)

    @property
    def _choice(self) -> dict[str, str]:
        return {"strategy": self.settings.strategy, "aggregate": self.settings.aggregate}

    def _begin(self, request: Any) -> tuple["_Drawing", Any]:
        """The samples to come, and the request as each of them is asked."""
        warn_of_unknown(self.evidence_tools, _known_tools(request), self)
        names = _schema_names(request.response_format)
        read = partial(_candidate, structured=request.response_format is not None, schema_names=names)
        drawing = _Drawing(self.settings.n, read, agree=self.settings.agree, answer=self.prm.read_answer, probe=True)
        return drawing, request.override(model=quiet(request.model))

    def _question(self, request: Any) -> str:
        return (
            last_question(_messages(request)) if self._question_function is None else self._question_function(request)
        )

    def _evidence(self, request: Any, given: list[str]) -> Evidence:
        own_answers = _schema_names(request.response_format)  # they come back as results of tools
        found = tool_documents(_messages(request), self.evidence_tools, ignored=own_answers)
        return within_budget([*given, *found], self.prm.count_tokens)


class InvalidAnswer(Exception):  # its name is told in warnings
    """A response that was to be a structured answer and is none."""

    def __init__(self, response: Any) -> None:
        super().__init__("the structured answer is invalid")
        self.response = response


class _Drawing(Drawing[Any]):
    """Takes an invalid structured answer for a failure: it cannot win, and more are drawn."""

    def add(self, outcomes: Sequence[Any]) -> None:
        for outcome in outcomes:
            try:
                super().add([outcome])
            except InvalidAnswer as error:
                super().add([error])


def _candidate(response: Any, *, structured: bool, schema_names: frozenset[str]) -> str | None:
    """The text by which a response is judged; None if it calls tools.

    Raises:
        InvalidAnswer: A structured answer was asked for, and this is none.
    """
    message = _answer(response)
    found = getattr(response, "structured_response", None)
    if found is not None:
        parts = [str(message.text) if message.tool_calls else "", structured_text(found)]
        return "\n".join(part for part in parts if part.strip())
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    if any(call["name"] not in schema_names for call in calls):
        return None
    if structured:
        raise InvalidAnswer(response)
    return str(message.text)


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


def _invalid_answers(request: Any) -> tuple[type[Exception], ...]:
    """The errors by which a draw says that it is an answer, though an invalid one; langchain 1.0 has a plain one."""
    return (StructuredOutputError,) if request.response_format is None else (StructuredOutputError, ValueError)


def _without_candidates(drawing: _Drawing) -> Any:
    """A turn that calls tools as it was drawn; an invalid structured answer, which the agent asks to be mended."""
    if drawing.dropped:
        return drawing.dropped[0]
    for error in drawing.errors:
        if isinstance(error, InvalidAnswer):
            return error.response
    drawing.check()
    raise AssertionError  # pragma: no cover - `check` raises without candidates


def _winner(drawing: _Drawing, ranking: Ranking, evidence: Evidence) -> Any:
    """The winning response, its message with the ranking; nothing else in it is changed."""
    usage = total_usage(_answer(response) for response in [*drawing.values, *drawing.dropped])
    response = drawing.values[ranking.best.index]
    message = _answer(response)
    crowned_message = crowned(message, counted(ranking, evidence), drawing, usage)
    if not isinstance(response, ModelResponse):
        return crowned_message
    result = [crowned_message if one is message else one for one in response.result]
    return ModelResponse(result=result, structured_response=response.structured_response)
