"""`MedPRMBestOfN`: a question and documents in, the best of n sampled answers out."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AnyMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import Field, PrivateAttr, field_validator
from typing_extensions import NotRequired, TypedDict, override

from medprm_integrations.langchain.convert import answer_of, asked_about
from medprm_integrations.langchain.events import aannounce, announce
from medprm_integrations.langchain.messages import as_message, total_usage, with_ranking
from medprm_integrations.langchain.packed_runnable import PackedRunnable
from medprm_integrations.langchain.retrieved import document_scores, document_texts
from medprm_integrations.langchain.sampler import is_interrupt, sampler, sampling_config
from medprm_integrations.langchain.several import several_samples
from medprm_integrations.langchain.wrapped_models import given_object, refuse_nested
from medprm_integrations.shared.best_of_n import Choice, achoose_all, choose_all
from medprm_integrations.shared.concurrency import arun_each, run_each
from medprm_integrations.shared.jobs import Job, new_drawing
from medprm_integrations.shared.settings import SamplingSettings, checked_keys
from medprm_scorer.text.policy import policy_messages
from medprm_scorer.text.prompts import document_block


class BestOfNInput(TypedDict):
    """What `MedPRMBestOfN` takes."""

    question: str | AnyMessage
    documents: NotRequired[list[str | Document]]


class MedPRMBestOfN(PackedRunnable[BestOfNInput, AIMessage], SamplingSettings):
    """Asks a language model n times, with the documents as evidence, and answers with the best sample.

    The winner is an `AIMessage` as the model wrote it. Its ranking is in `response_metadata["medprm"]` (`ranking_of`
    reads it back), with what `RankingMetadata` says; its `usage_metadata` counts the tokens of all samples. A sample
    that fails does not end the others, and is warned of (`SamplesFailedWarning`); if all fail, the first error is
    raised, with a note of the count. Samples that call tools cannot win; if all do, the first comes back as it is.
    `batch` samples for all questions, at most `max_concurrency` at once, and then calls the reward model once.

    Documents under another name than `documents` (`context`, `docs`) are refused, since nobody would read them; with a
    `prompt` that has such a variable, give `documents` too. Other arguments of a call, such as `stop`, go to the `llm`.

    Args:
        llm: The model to sample from: a chat model, a text model, or a chain that takes messages. Give it a temperature
            above 0.
        prompt: Makes the messages from the input, in which `documents` is one text with numbered documents; None takes
            `medprm_scorer.policy_messages`, which asks for steps as the reward model reads them.
        several_per_call: Ask for samples that are begun together in one call, so that the prompt is billed once, where
            the `llm` is a chat model that takes `n`, such as `ChatOpenAI`. If the server refuses that or gives fewer,
            the missing ones are asked for one by one; other models are asked one by one anyway.
        settings: Those of `SamplingSettings`: `prm`, `n`, `strategy`, `aggregate`, `stop`, `agree`, `rules`, `timeout`,
            `deadline`, `replacements`, `quorum`, `max_tokens_total`, `on_sample`, `answer`, `options`, `group`,
            `max_concurrency`, `on_ranking`, `keep`, `explain`, `question`.

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
    prompt: Runnable[Any, Any] | None = Field(default=None, repr=False, exclude=True)
    several_per_call: bool = False

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

    @override
    def _run(
        self, values: list[BestOfNInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | AIMessage]:
        read = [partial(self._job, value, one, kwargs) for value, one in zip(values, config, strict=True)]
        jobs = run_each(read, is_interrupt)  # a bad question ends only itself
        choices = choose_all(self, jobs, is_interrupt, config[0].get("max_concurrency"))
        announce(choices, config)
        return _messages(choices)

    @override
    async def _arun(
        self, values: list[BestOfNInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | AIMessage]:
        read = [partial(self._ajob, value, one, kwargs) for value, one in zip(values, config, strict=True)]
        jobs = await arun_each(read, is_interrupt)
        choices = await achoose_all(self, jobs, is_interrupt, config[0].get("max_concurrency"))
        await aannounce(choices, config)
        return _messages(choices)

    def _job(self, value: BestOfNInput, config: RunnableConfig, kwargs: dict[str, Any]) -> Job[AIMessage]:
        job, messages = self._read(value)
        if self.prompt is not None:
            messages = self.prompt.invoke(messages, config)
        job.ask = lambda: as_message(self._sampler.invoke(messages, sampling_config(config), **kwargs))
        if self.several_per_call and (several := several_samples(self._sampler)) is not None:
            job.ask_several = lambda count: several.draw(messages, sampling_config(config), count, kwargs)
        return job

    async def _ajob(self, value: BestOfNInput, config: RunnableConfig, kwargs: dict[str, Any]) -> Job[AIMessage]:
        job, messages = self._read(value)
        if self.prompt is not None:
            messages = await self.prompt.ainvoke(messages, config)

        async def ask() -> AIMessage:
            return as_message(await self._sampler.ainvoke(messages, sampling_config(config), **kwargs))

        job.ask = ask
        if self.several_per_call and (several := several_samples(self._sampler)) is not None:
            job.ask_several = lambda count: several.adraw(messages, sampling_config(config), count, kwargs)
        return job

    def _read(self, value: BestOfNInput) -> tuple[Job[AIMessage], Any]:
        """What is asked, and the messages or the prompt's input."""
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


def _messages(choices: Sequence[Choice[AIMessage] | Exception]) -> list[Exception | AIMessage]:
    return [choice if isinstance(choice, Exception) else _message(choice) for choice in choices]


def _message(choice: Choice[AIMessage]) -> AIMessage:
    return choice.value if choice.ranking is None else with_ranking(choice.value, choice)
