"""`MedPRMBestOfN`: a question and documents in, the best of n sampled answers out."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, ClassVar, cast

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AnyMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import Field, PrivateAttr, field_validator, model_validator
from typing_extensions import NotRequired, Self, TypedDict, override

from medprm_integrations.langchain.convert import answer_of, asked_about
from medprm_integrations.langchain.doubt import DOUBTS
from medprm_integrations.langchain.events import aannounce, announce
from medprm_integrations.langchain.input_keys import checked_keys
from medprm_integrations.langchain.messages import as_message, total_usage, with_ranking
from medprm_integrations.langchain.packed_runnable import PackedRunnable
from medprm_integrations.langchain.retrieved import document_scores, document_texts
from medprm_integrations.langchain.sampler import is_interrupt, sampler, sampling_config
from medprm_integrations.langchain.several import in_one_call
from medprm_integrations.langchain.stepwise import apieces, check_search, pieces, searched
from medprm_integrations.langchain.wrapped_models import given_object, refuse_nested
from medprm_integrations.shared.best_of_n import Choice, achoose_all, choose_all
from medprm_integrations.shared.concurrency import arun_each, run_each
from medprm_integrations.shared.jobs import Job, new_drawing
from medprm_integrations.shared.search_settings import SearchingSettings
from medprm_integrations.shared.stepwise import Searched, asearch_all, search_all
from medprm_scorer.text.policy import policy_messages
from medprm_scorer.text.prompts import document_block


class BestOfNInput(TypedDict):
    """What `MedPRMBestOfN` takes."""

    question: str | AnyMessage
    documents: NotRequired[list[str | Document]]


class MedPRMBestOfN(PackedRunnable[BestOfNInput, AIMessage], SearchingSettings):
    """Asks a language model n times, with the documents as evidence, and answers with the best sample.

    The winner is an `AIMessage` as the model wrote it. Its ranking is in `response_metadata["medprm"]` (`ranking_of`
    reads it back), with what `RankingMetadata` describes; its `usage_metadata` counts the tokens of all samples. A
    failed sample does not affect the others, and gives a `SamplesFailedWarning`; if all fail, the first error is
    raised, with a note of how many failed. Samples that call tools cannot win; if all do, the first is returned
    unchanged. `batch` samples for all questions, at most `max_concurrency` at once, and then calls the reward model
    once.

    Documents under a name other than `documents` (`context`, `docs`) are refused, since they would not be read; if your
    `prompt` has such a variable, also pass `documents`. Other arguments of a call, such as `stop`, go to the `llm`.

    Args:
        llm: The model to sample from: a chat model, a text model, or a chain that takes messages. Give it a temperature
            above 0.
        prompt: Makes the messages from the input, in which `documents` is one text with numbered documents; None uses
            `medprm_scorer.policy_messages`, which asks for steps in the form that the reward model reads.
        settings: Those of `SamplingSettings`: `prm`, `n`, `strategy`, `aggregate`, `stop`, `agree`, `rules`, `timeout`,
            `deadline`, `replacements`, `quorum`, `max_tokens_total`, `several_per_call`, `on_sample`, `answer`,
            `options`, `group`, `max_concurrency`, `on_ranking`, `keep`, `explain`, `trust`, `on_doubt`, `doubt_answer`,
            `question`. `search=` (a `StepSearch`) chooses among steps while they are written, instead of whole samples;
            `stream` and `astream` then give each step of the answer as soon as it is final, and the ranking with the
            last piece.

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

    doubts: ClassVar[tuple[str, ...]] = DOUBTS

    llm: Runnable[Any, Any] = Field(repr=False, exclude=True)
    prompt: Runnable[Any, Any] | None = Field(default=None, repr=False, exclude=True)

    _sampler: Runnable[Any, Any] = PrivateAttr()

    @field_validator("llm", mode="before")
    @classmethod
    def _is_runnable(cls, llm: Any) -> Any:
        if not isinstance(given_object(llm), Runnable):
            raise ValueError(f"llm must be a chat model, a text model or a chain, not {type(llm).__name__}")
        refuse_nested(llm)
        return llm

    @override
    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._sampler = sampler(self.llm)

    @model_validator(mode="after")
    def _can_write_steps(self) -> Self:
        check_search(self, self.llm)
        return self

    @override
    def _run(
        self, values: list[BestOfNInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | AIMessage]:
        if self.search is not None:
            asked = [partial(self._searched, value, one, kwargs) for value, one in zip(values, config, strict=True)]
            choices = search_all(self, run_each(asked, is_interrupt))
            announce(choices, config)
            return _messages(choices)
        read = [partial(self._job, value, one, kwargs) for value, one in zip(values, config, strict=True)]
        jobs = run_each(read, is_interrupt)  # a bad question affects only itself
        choices = choose_all(self, jobs, is_interrupt, config[0].get("max_concurrency"))
        announce(choices, config)
        return _messages(choices)

    @override
    async def _arun(
        self, values: list[BestOfNInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | AIMessage]:
        if self.search is not None:
            asked = [
                partial(self._searched, value, one, kwargs, awaited=True)
                for value, one in zip(values, config, strict=True)
            ]
            choices = await asearch_all(self, run_each(asked, is_interrupt))
            await aannounce(choices, config)
            return _messages(choices)
        read = [partial(self._ajob, value, one, kwargs) for value, one in zip(values, config, strict=True)]
        jobs = await arun_each(read, is_interrupt)
        choices = await achoose_all(self, jobs, is_interrupt, config[0].get("max_concurrency"))
        await aannounce(choices, config)
        return _messages(choices)

    @override
    def stream(self, input: BestOfNInput, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[AIMessage]:
        """The answer; with `search`, its steps one by one, each as soon as it is final."""
        if self.search is None:
            return super().stream(input, config, **kwargs)
        return self._transform_stream_with_config(iter([input]), cast("Any", self._pieces), config, **kwargs)

    @override
    async def astream(
        self, input: BestOfNInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        """`stream`, without blocking the event loop."""
        if self.search is None:
            found = super().astream(input, config, **kwargs)
        else:
            found = self._atransform_stream_with_config(_alone(input), cast("Any", self._apieces), config, **kwargs)
        async for one in found:
            yield one

    def _pieces(self, inputs: Iterator[BestOfNInput], config: RunnableConfig, **kwargs: Any) -> Iterator[AIMessage]:
        for value in inputs:
            for found in pieces(self, self._searched(value, config, kwargs)):
                if isinstance(found, Choice):
                    announce([found], [config])
                else:
                    yield found

    async def _apieces(
        self, inputs: AsyncIterator[BestOfNInput], config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        async for value in inputs:
            async with aclosing(apieces(self, self._searched(value, config, kwargs, awaited=True))) as events:
                async for found in events:
                    if isinstance(found, Choice):
                        await aannounce([found], [config])
                    else:
                        yield found

    def _searched(
        self, value: BestOfNInput, config: RunnableConfig, kwargs: dict[str, Any], *, awaited: bool = False
    ) -> Searched[AIMessage]:
        job, given = self._read(value)
        given = given if self.prompt is not None else asked_about(value["question"]).text
        return searched(self, job, given, self.prompt, config, kwargs, awaited=awaited)

    def _job(self, value: BestOfNInput, config: RunnableConfig, kwargs: dict[str, Any]) -> Job[AIMessage]:
        job, messages = self._read(value)
        if self.prompt is not None:
            messages = self.prompt.invoke(messages, config)

        def ask(llm: Runnable[Any, Any]) -> AIMessage:
            return as_message(llm.invoke(messages, sampling_config(config), **kwargs))

        job.ask = partial(ask, self._sampler)
        job.ask_several = in_one_call(self, self._sampler, ask, awaited=False)
        return job

    async def _ajob(self, value: BestOfNInput, config: RunnableConfig, kwargs: dict[str, Any]) -> Job[AIMessage]:
        job, messages = self._read(value)
        if self.prompt is not None:
            messages = await self.prompt.ainvoke(messages, config)

        async def ask(llm: Runnable[Any, Any]) -> AIMessage:
            return as_message(await llm.ainvoke(messages, sampling_config(config), **kwargs))

        job.ask = partial(ask, self._sampler)
        job.ask_several = in_one_call(self, self._sampler, ask, awaited=True)
        return job

    def _read(self, value: BestOfNInput) -> tuple[Job[AIMessage], Any]:
        """The question, and the messages or the prompt's input."""
        given = checked_keys(value, ("question",))
        asked, documents = asked_about(given["question"]), document_texts(given.get("documents"))
        judged = self.asked(given, lambda: asked)
        job = Job[AIMessage](
            question=judged.text,
            cautions=judged.cautions,
            drawing=new_drawing(self, answer_of),
            source=self.llm,
            usage=total_usage,
            documents=documents,
            scores=document_scores(given.get("documents")),
        )
        if self.prompt is None:
            return job, convert_to_messages(policy_messages(asked.text, documents))
        return job, {**given, "question": asked.text, "documents": document_block(documents).rstrip("\n")}


async def _alone(value: BestOfNInput) -> AsyncIterator[BestOfNInput]:
    yield value


def _messages(choices: Sequence[Choice[AIMessage] | Exception]) -> list[Exception | AIMessage]:
    return [choice if isinstance(choice, Exception) else _message(choice) for choice in choices]


def _message(choice: Choice[AIMessage]) -> AIMessage:
    return choice.value if choice.ranking is None else with_ranking(choice.value, choice)
