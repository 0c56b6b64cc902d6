"""`MedPRMLLM`: a language model that samples n answers from another one and gives the best."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import override

from medprm_integrations.llama_index.conversation import is_react, last_question, react_answer, text_of, tool_documents
from medprm_integrations.llama_index.copies import sharing
from medprm_integrations.llama_index.language_models import language_model
from medprm_integrations.llama_index.nodes import document_texts
from medprm_integrations.llama_index.responses import crowned, total_usage
from medprm_integrations.llama_index.templates import Filled, PromptMessages, PromptText, context_documents
from medprm_integrations.llama_index.unstreamed_llm import Response, WholeAnswerLLM
from medprm_integrations.shared.asking import adraw, draw
from medprm_integrations.shared.drawing import Drawing
from medprm_integrations.shared.evidence import Evidence, counted, within_budget
from medprm_integrations.shared.evidence_tools import warn_of_unknown
from medprm_integrations.shared.gathering import agathered, gathered
from medprm_integrations.shared.known_settings import KnownSettings
from medprm_integrations.shared.ranking_metadata import ranking_metadata
from medprm_integrations.shared.settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_N,
    Aggregate,
    Agreement,
    Concurrency,
    RewardModel,
    SampleCount,
    Strategy,
    ToolNames,
)
from medprm_integrations.shared.sharing import share
from medprm_scorer.results.models import Ranking

share()
_INHERITED = (
    "callback_manager",
    "system_prompt",
    "messages_to_prompt",
    "completion_to_prompt",
    "output_parser",
    "pydantic_program_mode",
    "query_wrapper_prompt",
)
"""Fields in which this model is as the one that it samples from, unless it is told otherwise."""


class MedPRMLLM(KnownSettings, WholeAnswerLLM):
    """A language model that samples n answers from another one and gives the one that the reward model selects.

    It takes the other model's place in agents, chat engines, query engines and workflows. A turn that calls tools is
    handed on as it is, and where tools may be called only one is drawn first; only answers to the user are sampled and
    selected. Of a `ReActAgent`'s turns, it is those that answer. The stream has one piece, the winner.

    The question is the last user's message, or the `query_str` of the prompt template. The evidence is what the
    template was given as context, then what tools have brought to the conversation, the newest first, within the reward
    model's budget for documents.

    The winner's ranking is in the response's `additional_kwargs["medprm"]` and, since agents hand on only that, in
    `raw["medprm"]`; `ranking_of` reads it back from either. With it stand `usage`, `samples_failed`, `samples_dropped`
    and `documents_left_out`. Chat engines and query engines keep only the answer's text: give `on_ranking` there. The
    response counts the tokens of all samples. Callbacks see the n calls of the other model, and no call of this one, so
    that no tokens are counted twice.

    Samples that failed are warned of (`SamplesFailedWarning`), and so is evidence of which nothing could be read
    (`DocumentsLeftOutWarning`). Where the `llm` has no async of its own (a `CustomLLM` without `achat`), async samples
    are asked for in threads, which run to their end when the caller is cancelled.

    Args:
        llm: The model to sample from, with a temperature above 0.
        prm: The reward model.
        n: How many samples.
        strategy: `weighted_vote`, `best_of_n` or `majority_vote`.
        aggregate: How step rewards become a chain reward.
        max_concurrency: Most calls of the `llm` at once.
        agree: Draw no more once so many samples give the same answer; None draws all n.
        evidence: Your own function from the messages to documents (texts or nodes), which come first; async is fine
            where this model is used async.
        evidence_tools: Names of the tools whose results are evidence; None for all, an empty list for none.
        question: Your own function from the messages to the question.
        on_ranking: Called with each ranking, in the thread or task of the call that it answers.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from llama_index.core.llms import MockLLM
        >>> llm = MedPRMLLM(llm=MockLLM(max_tokens=3), prm=MedPRM.from_pretrained(), n=1)
        >>> response = llm.chat([ChatMessage("Which dose?")])
        >>> response.message.content, len(response.additional_kwargs["medprm"]["chains"])
        ('text text text', 1)
    """

    prm: RewardModel = Field(repr=False, exclude=True)
    n: SampleCount = DEFAULT_N
    strategy: Strategy = "weighted_vote"
    aggregate: Aggregate = "min"
    max_concurrency: Concurrency = DEFAULT_CONCURRENCY
    agree: Agreement | None = None
    evidence: Callable[[Sequence[ChatMessage]], Any] | None = Field(default=None, repr=False, exclude=True)
    evidence_tools: ToolNames | None = None
    question: Callable[[Sequence[ChatMessage]], str] | None = Field(default=None, repr=False, exclude=True)
    on_ranking: Callable[[Ranking], None] | None = Field(default=None, repr=False, exclude=True)

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _as_the_other(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "llm" not in values:
            return values
        llm = language_model(values["llm"])
        if isinstance(llm, MedPRMLLM):
            raise ValueError("llm must be a model to sample from, and not a MedPRMLLM, which samples itself")
        return {**{name: getattr(llm, name) for name in _INHERITED}, **values}

    @override
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "MedPRMLLM":
        return super().__deepcopy__(sharing(memo, self.llm, self.callback_manager))

    @classmethod
    @override
    def class_name(cls) -> str:
        return "MedPRMLLM"

    @override
    def _decide(self, turn: "_Turn", ask: Callable[[], Response]) -> Response:
        draw(turn.drawing, ask, self.max_concurrency)
        if self._is_over(turn):
            return cast("Response", turn.drawing.dropped[0])
        evidence = self._evidence(turn, gathered(self.evidence, turn.messages, document_texts, "achat"))
        ranking = self.prm.rank(turn.question, turn.drawing.texts, evidence.texts, **self._choice)
        return cast("Response", self._chosen(turn, ranking, evidence))

    @override
    async def _adecide(self, turn: "_Turn", ask: Callable[[], Awaitable[Response]]) -> Response:
        await adraw(turn.drawing, ask, self.max_concurrency)
        if self._is_over(turn):
            return cast("Response", turn.drawing.dropped[0])
        evidence = self._evidence(turn, await agathered(self.evidence, turn.messages, document_texts))
        ranking = await self.prm.arank(turn.question, turn.drawing.texts, evidence.texts, **self._choice)
        return cast("Response", self._chosen(turn, ranking, evidence))

    def _chosen(self, turn: "_Turn", ranking: Ranking, evidence: Evidence) -> Any:
        ranking = counted(ranking, evidence)
        if self.on_ranking is not None:
            self.on_ranking(ranking)
        note = ranking_metadata(ranking, turn.drawing, total_usage([*turn.drawing.values, *turn.drawing.dropped]))
        return crowned(turn.drawing.values[ranking.best.index], note)

    @property
    def _choice(self) -> dict[str, Any]:
        return {"strategy": self.strategy, "aggregate": self.aggregate}

    def _is_over(self, turn: "_Turn") -> bool:
        """Whether there is no answer to choose: the turn calls tools, and goes on untouched."""
        turn.drawing.check()
        turn.drawing.warn(self.llm)
        return not turn.drawing.values

    @override
    def _offered(self, tools: Sequence[Any]) -> None:
        warn_of_unknown(self.evidence_tools, [str(tool.metadata.name) for tool in tools], self)

    @override
    def _turn(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> "_Turn":
        react = is_react(messages)
        drawing = Drawing[Any](
            self.n,
            partial(self._candidate, react=react),
            agree=self.agree,
            answer=self.prm.read_answer,
            probe=react or bool(kwargs.get("tools")),
        )
        filled = messages.filled if isinstance(messages, PromptMessages) else Filled()
        return _Turn(self._question(messages, filled), tuple(messages), filled.context, drawing)

    @override
    def _text_turn(self, prompt: str) -> "_Turn":
        drawing = Drawing[Any](self.n, lambda sample: str(sample.text), agree=self.agree, answer=self.prm.read_answer)
        filled = prompt.filled if isinstance(prompt, PromptText) else Filled()
        messages = (ChatMessage(content=str(prompt)),)
        return _Turn(self._question(messages, filled), messages, filled.context, drawing)

    def _question(self, messages: Sequence[ChatMessage], filled: Filled) -> str:
        if self.question is not None:
            return self.question(messages)
        return filled.question or last_question(messages)

    def _candidate(self, response: ChatResponse, *, react: bool) -> str | None:
        """The text by which a sample is judged; None if it calls tools."""
        if self._calls(response) is not None:
            return None
        text = text_of(response.message)
        return react_answer(text) if react else text

    def _evidence(self, turn: "_Turn", given: list[str]) -> Evidence:
        context = context_documents(turn.context, self.prm.count_tokens)
        found = tool_documents(turn.messages, self._calls_in, self.evidence_tools)
        return within_budget([*given, *context, *found], self.prm.count_tokens)

    def _calls(self, response: ChatResponse) -> dict[str, str] | None:
        """The tools that a response calls, their names by the ids of the calls; None if it calls none."""
        message = response.message
        marked = bool(message.additional_kwargs.get("tool_calls")) or any(
            getattr(block, "block_type", None) == "tool_call" for block in message.blocks
        )
        selected: Sequence[ToolSelection] = ()
        if isinstance(self.llm, FunctionCallingLLM):
            try:
                selected = self.llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
            except Exception:  # noqa: BLE001 - such as arguments that are no JSON: the marks say that it is a call
                selected = ()
        return {call.tool_id: call.tool_name for call in selected} if selected or marked else None

    def _calls_in(self, message: ChatMessage) -> dict[str, str]:
        return self._calls(ChatResponse(message=message)) or {}


@dataclass(repr=False)
class _Turn:
    """One turn of the model: what is asked, and what was drawn."""

    question: str
    messages: tuple[ChatMessage, ...]
    context: tuple[str, ...]
    drawing: Drawing[Any]
