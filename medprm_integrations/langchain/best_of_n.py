"""`MedPRMBestOfN`: a question and documents in, the best of n sampled answers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AnyMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from pydantic import ConfigDict, Field, PrivateAttr, field_validator
from typing_extensions import NotRequired, TypedDict, override

from medprm_integrations.langchain.convert import document_texts, question_text
from medprm_integrations.langchain.messages import as_message, crowned, total_usage
from medprm_integrations.langchain.sampler import is_interrupt, quiet, sampling_config
from medprm_integrations.shared.concurrency import arun_all, run_all
from medprm_integrations.shared.drawing import Drawing
from medprm_integrations.shared.evidence import warn_if_unread
from medprm_integrations.shared.input_keys import checked_keys
from medprm_integrations.shared.known_settings import KnownSettings
from medprm_integrations.shared.settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_N,
    Aggregate,
    Agreement,
    Concurrency,
    RewardModel,
    SampleCount,
    Strategy,
)
from medprm_integrations.shared.sharing import share
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking, RankRequest
from medprm_scorer.text.policy_prompts import policy_messages
from medprm_scorer.text.prompts import document_block

share()


class BestOfNInput(TypedDict):
    """What `MedPRMBestOfN` takes."""

    question: str | AnyMessage
    documents: NotRequired[list[str | Document]]


class MedPRMBestOfN(KnownSettings, RunnableSerializable[BestOfNInput, AIMessage]):
    """Asks a language model n times, with the documents as evidence, and answers with the best sample.

    The winner is an `AIMessage` as the model wrote it. Its ranking is in `response_metadata["medprm"]` (`ranking_of`
    reads it back), with `usage`, `samples_failed`, `samples_dropped` and `documents_left_out`; its `usage_metadata`
    counts the tokens of all samples. A sample that fails does not end the others, and is warned of
    (`SamplesFailedWarning`); if all fail, the first error is raised, with a note of the count. Samples that call tools
    cannot win; if all do, the first comes back as it is. `batch` samples for all questions, at most `max_concurrency`
    at once, and then calls the reward model once.

    Documents under another name than `documents` (`context`, `docs`) are refused, since nobody would read them; with a
    `prompt` that has such a variable, give `documents` too.

    Args:
        llm: The model to sample from: a chat model, a text model, or a chain that takes messages. Give it a temperature
            above 0.
        prm: The reward model.
        n: How many samples.
        strategy: `weighted_vote`, `best_of_n` or `majority_vote`.
        aggregate: How step rewards become a chain reward.
        prompt: Makes the messages from the input, in which `documents` is one text with numbered documents; None takes
            `medprm_scorer.policy_messages`, which asks for steps as the reward model reads them.
        max_concurrency: Most calls of the `llm` at once; None takes the run configuration's, else 8.
        agree: Draw no more once so many samples give the same answer; None draws all n.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from langchain_core.language_models import FakeListChatModel
        >>> answers = ["Step 1: Give 5 mg. The answer is (A)", "Step 1: Give 9 mg. The answer is (B)"]
        >>> llm = FakeListChatModel(responses=answers)
        >>> best = MedPRMBestOfN(llm=llm, prm=MedPRM.from_pretrained(), n=2)
        >>> message = best.invoke({"question": "Which dose?", "documents": ["Label: give 5 mg."]})
        >>> message.text in answers, len(message.response_metadata["medprm"]["chains"])
        (True, 2)
    """

    llm: Runnable[Any, Any] = Field(repr=False, exclude=True)
    prm: RewardModel = Field(repr=False, exclude=True)
    n: SampleCount = DEFAULT_N
    strategy: Strategy = "weighted_vote"
    aggregate: Aggregate = "min"
    prompt: Runnable[Any, Any] | None = Field(default=None, repr=False, exclude=True)
    max_concurrency: Concurrency | None = None
    agree: Agreement | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, validate_default=True)

    _sampler: Runnable[Any, Any] = PrivateAttr()

    @field_validator("llm", mode="before")
    @classmethod
    def _is_runnable(cls, llm: Any) -> Any:
        if not isinstance(llm, Runnable):
            raise ValueError(f"llm must be a chat model, a text model or a chain, not {type(llm).__name__}")
        return llm

    @override
    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._sampler = quiet(self.llm)

    @override
    def invoke(self, input: BestOfNInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """Sample, score and select.

        Args:
            input: `question` and perhaps `documents`; with a `prompt`, whatever else it needs.
            config: Callbacks, tags and the like; the samples are child runs.
            kwargs: Handed to the `llm`, such as `stop`.

        Raises:
            InputError: Something in the input is missing or of the wrong kind.
            ScoringError: No sample could be scored.
            Exception: Every sample failed: the first one's error.
        """
        return self._call_with_config(cast("Any", self._answer), input, config, **kwargs)

    @override
    async def ainvoke(self, input: BestOfNInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """`invoke`, with samples as tasks and the reward model in a worker thread."""
        return await self._acall_with_config(cast("Any", self._aanswer), input, config, **kwargs)

    @override
    def batch(
        self,
        inputs: list[BestOfNInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer many questions with one call of the reward model."""
        return self._batch_with_config(
            cast("Any", self._answer_all), inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    @override
    async def abatch(
        self,
        inputs: list[BestOfNInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """`batch`, with samples as tasks and the reward model in a worker thread."""
        return await self._abatch_with_config(
            cast("Any", self._aanswer_all), inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def _answer(self, value: BestOfNInput, config: RunnableConfig, **kwargs: Any) -> AIMessage:
        return _only(self._answer_all([value], config=[config], **kwargs))

    async def _aanswer(self, value: BestOfNInput, config: RunnableConfig, **kwargs: Any) -> AIMessage:
        return _only(await self._aanswer_all([value], config=[config], **kwargs))

    def _answer_all(
        self, values: list[BestOfNInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | AIMessage]:
        asked = [self._begin(value, one) for value, one in zip(values, config, strict=True)]
        while turns := _next_round(asked):
            calls = [partial(self._sampler.invoke, turn.messages, turn.config, **kwargs) for turn in turns]
            _take_in(turns, run_all(calls, self._limit(config), is_interrupt))
        ranked = self.prm.rank_batch(self._requests(asked), strategy=self.strategy, aggregate=self.aggregate)
        return self._finish(asked, ranked)

    async def _aanswer_all(
        self, values: list[BestOfNInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | AIMessage]:
        asked = [await self._abegin(value, one) for value, one in zip(values, config, strict=True)]
        while turns := _next_round(asked):
            calls = [partial(self._sampler.ainvoke, turn.messages, turn.config, **kwargs) for turn in turns]
            _take_in(turns, await arun_all(calls, self._limit(config), is_interrupt))
        ranked = await self.prm.arank_batch(self._requests(asked), strategy=self.strategy, aggregate=self.aggregate)
        return self._finish(asked, ranked)

    def _limit(self, configs: Sequence[RunnableConfig]) -> int:
        return self.max_concurrency or configs[0].get("max_concurrency") or DEFAULT_CONCURRENCY

    def _begin(self, value: BestOfNInput, config: RunnableConfig) -> "_Asked | Exception":
        try:
            asked = self._read(value, config)
            if self.prompt is not None:
                asked.messages = self.prompt.invoke(asked.messages, config)
        except Exception as error:  # a bad question ends only itself; `invoke` raises the error
            if is_interrupt(error):
                raise
            return error
        return asked

    async def _abegin(self, value: BestOfNInput, config: RunnableConfig) -> "_Asked | Exception":
        try:
            asked = self._read(value, config)
            if self.prompt is not None:
                asked.messages = await self.prompt.ainvoke(asked.messages, config)
        except Exception as error:
            if is_interrupt(error):
                raise
            return error
        return asked

    def _read(self, value: BestOfNInput, config: RunnableConfig) -> "_Asked":
        given = checked_keys(value, ("question",))
        question, documents = question_text(given["question"]), document_texts(given.get("documents"))
        if not question.strip():  # refused before anything is paid for
            raise InputError("the question must be a text that is not blank")
        messages: Any
        if self.prompt is None:
            messages = convert_to_messages(policy_messages(question, documents))
        else:
            messages = {**given, "question": question, "documents": document_block(documents).rstrip("\n")}
        drawing = Drawing[AIMessage](self.n, _text, agree=self.agree, answer=self.prm.read_answer)
        return _Asked(question, documents, messages, sampling_config(config), drawing)

    def _requests(self, asked: Sequence["_Asked | Exception"]) -> list[RankRequest]:
        return [one.request() for one in asked if isinstance(one, _Asked) and one.drawing.values]

    def _finish(
        self, asked: Sequence["_Asked | Exception"], ranked: Sequence[Ranking | Exception]
    ) -> list[Exception | AIMessage]:
        rankings = iter(ranked)
        answers: list[Exception | AIMessage] = []
        for one in asked:
            if isinstance(one, Exception):
                answers.append(one)
            elif not one.drawing.values:
                answers.append(one.without_candidates())
            else:
                one.drawing.warn(self.llm)
                ranking = next(rankings)
                if isinstance(ranking, Ranking):
                    warn_if_unread(ranking, one.documents, self.prm.count_tokens)
                answers.append(one.winner(ranking) if isinstance(ranking, Ranking) else ranking)
        return answers


@dataclass(repr=False)
class _Asked:
    """One question on its way: what the model is asked, and what it has said."""

    question: str
    documents: list[str]
    messages: Any
    config: RunnableConfig
    drawing: Drawing[AIMessage]

    def request(self) -> RankRequest:
        return RankRequest(question=self.question, candidates=list(self.drawing.texts), documents=self.documents)

    def winner(self, ranking: Ranking) -> AIMessage:
        drawing = self.drawing
        usage = total_usage([*drawing.values, *drawing.dropped])
        return crowned(drawing.values[ranking.best.index], ranking, drawing, usage)

    def without_candidates(self) -> AIMessage | Exception:
        try:
            self.drawing.check()
        except Exception as error:  # noqa: BLE001 - it is the first sample's
            return error
        return self.drawing.dropped[0]


def _text(message: AIMessage) -> str | None:
    return None if message.tool_calls or message.invalid_tool_calls else str(message.text)


def _next_round(asked: Sequence[_Asked | Exception]) -> list[_Asked]:
    """Each question as often as it is to be asked next."""
    return [one for one in asked if isinstance(one, _Asked) for _ in range(one.drawing.to_draw())]


def _take_in(turns: Sequence[_Asked], outcomes: Sequence[Any]) -> None:
    for turn, outcome in zip(turns, outcomes, strict=True):
        turn.drawing.add([outcome if isinstance(outcome, Exception) else as_message(outcome)])


def _only(results: list[Exception | AIMessage]) -> AIMessage:
    (result,) = results
    if isinstance(result, Exception):
        raise result
    return result
