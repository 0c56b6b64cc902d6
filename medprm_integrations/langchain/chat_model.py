"""`ChatMedPRM`: a chat model that samples n answers from another one and gives the best."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from operator import itemgetter
from typing import Any, ClassVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableConfig,
    RunnableLambda,
    RunnableMap,
    RunnablePassthrough,
    RunnableSequence,
)
from pydantic import Field, PrivateAttr, field_validator, model_validator
from typing_extensions import override

from medprm_integrations.langchain.convert import (
    answer_of,
    asked_in,
    document_texts,
    known_tools,
    structured_answer,
    tool_documents,
)
from medprm_integrations.langchain.messages import as_message, total_usage, with_ranking
from medprm_integrations.langchain.sampler import NO_CALLBACKS, is_interrupt, sampler
from medprm_integrations.langchain.unstreamed_model import UnstreamedChatModel
from medprm_integrations.langchain.wrapped_models import bound_arguments, chat_model_in
from medprm_integrations.shared.best_of_n import Choice, achoose, choose
from medprm_integrations.shared.jobs import Job, new_drawing
from medprm_integrations.shared.ranking_metadata import KEY, is_ranked
from medprm_integrations.shared.settings import OF_A_CALL, OF_THE_MODEL, ConversationSettings
from medprm_integrations.shared.user_warnings import warn_of_unknown_tools
from medprm_scorer.sampling.rules import Sample


class ChatMedPRM(UnstreamedChatModel, ConversationSettings):
    """A chat model that samples n answers from another chat model and gives the one that the reward model selects.

    It takes the other model's place: `bind_tools`, `with_structured_output`, streaming and async work as there. An
    answer that calls tools is handed on as it is, and only one is drawn when tools are bound; only answers to the user
    are sampled and selected. The stream has one chunk, the winner.

    The winner's ranking is in `response_metadata["medprm"]` (`ranking_of` reads it back), with what `RankingMetadata`
    says; its `usage_metadata` counts the tokens of all samples. Samples that failed are warned of
    (`SamplesFailedWarning`), and so is evidence of which nothing could be read (`DocumentsLeftOutWarning`). Callbacks
    see the usage of the n runs below, and none for the run of this model itself, so that nothing is counted twice.

    The question is what the human messages say, put together with a caution if there are several, from the last that
    brings options of its own; summaries are no questions. The evidence is what tools have brought to the conversation,
    the newest first within the reward model's budget for documents.

    Args:
        llm: The chat model to sample from, with a temperature above 0; also its `with_retry()` (each sample is tried
            again by itself), `with_fallbacks()`, `bind(…)`, configurable fields, or `init_chat_model()`. Its samples
            come from no cache. Settings of sampling (`temperature`, `max_tokens`, `stop` and the like) that are given
            here are bound to it.
        settings: Those of `ConversationSettings`: `prm`, `n`, `strategy`, `aggregate`, `agree`, `rules`, `evidence`,
            `evidence_tools`, `question`, `answer`, `options`, `group`, `answer_field`, `max_concurrency`, `on_ranking`,
            `keep`.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from langchain_core.language_models import FakeListChatModel
        >>> llm = FakeListChatModel(responses=["Step 1: 5 mg. The answer is (A)", "Step 1: 9 mg. The answer is (B)"])
        >>> chat = ChatMedPRM(llm=llm, prm=MedPRM.from_pretrained(), n=2)
        >>> len(chat.invoke("Which dose?").response_metadata["medprm"]["chains"])
        2
    """

    llm: Runnable[Any, Any] = Field(repr=False, exclude=True)

    samples_itself: ClassVar[bool] = True

    _chat: BaseChatModel = PrivateAttr()
    """The model that is sampled from, without what is wrapped around it."""
    _sampler: Runnable[Any, Any] = PrivateAttr()
    _final: Runnable[Any, Any] | None = PrivateAttr(default=None)
    """With structured output: parses an answer, or finds it invalid."""

    @model_validator(mode="before")
    @classmethod
    def _bind_sampling(cls, values: Any) -> Any:
        """Settings of sampling are bound to the llm, as by a chat model; those of its making cannot be."""
        if not isinstance(values, dict) or not isinstance(values.get("llm"), Runnable):
            return values
        kept = {name: value for name, value in values.items() if name not in OF_THE_MODEL}
        late = [name for name in values if name in OF_THE_MODEL and name not in OF_A_CALL]
        if late:
            warnings.warn(f"not passed on: {', '.join(late)}; set on llm when it is made", UserWarning, stacklevel=2)
        sampling = {name: value for name, value in values.items() if name in OF_A_CALL}
        if isinstance(kept.get("stop"), list | tuple):  # LangChain's stop sequences, and no rule for stopping
            sampling["stop"] = list(kept.pop("stop"))
        if sampling:
            kept["llm"] = values["llm"].bind(**sampling)
        return kept

    @field_validator("llm", mode="before")
    @classmethod
    def _is_chat_model(cls, llm: Any) -> Any:
        chat_model_in(llm)
        return llm

    @override
    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._chat, self._sampler = chat_model_in(self.llm), sampler(self.llm)

    # --- sample, score, select ---

    @override
    def _decide(
        self, messages: list[BaseMessage], stop: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AIMessage:
        job = self._job(messages, kwargs, partial(self._sample, messages, config, **_call_kwargs(stop, kwargs)))
        return self._reported(choose(self, job, is_interrupt))

    @override
    async def _adecide(
        self, messages: list[BaseMessage], stop: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AIMessage:
        job = self._job(messages, kwargs, partial(self._asample, messages, config, **_call_kwargs(stop, kwargs)))
        return self._reported(await achoose(self, job, is_interrupt))

    def _job(self, messages: list[BaseMessage], kwargs: dict[str, Any], ask: Callable[[], Any]) -> Job[AIMessage]:
        bound = {**bound_arguments(self.llm), **kwargs}
        probe = self._final is None and bool(bound.get("tools") or bound.get("functions"))
        asked = self.asked(messages, partial(asked_in, messages))
        return Job(
            question=asked.text,
            cautions=asked.cautions,
            drawing=new_drawing(self, self._candidate, probe=probe),
            ask=ask,
            source=self.llm,
            usage=total_usage,
            documents=tool_documents(messages, self.evidence_tools),
            evidence=self.evidence and partial(self.evidence, messages),
            read=document_texts,
        )

    def _sample(self, messages: list[BaseMessage], config: RunnableConfig, **kwargs: Any) -> AIMessage:
        """One sample, as a run below this model's own.

        With structured output, callbacks are promised one model call: a sample is a plain run then, and the usage of
        all samples is reported by the run of this model.
        """
        if self._final is None:
            return as_message(self._sampler.invoke(messages, config, **kwargs))
        silent = RunnableLambda(lambda asked: self._sampler.invoke(asked, NO_CALLBACKS, **kwargs), name="sample")
        return as_message(silent.invoke(messages, config))

    async def _asample(self, messages: list[BaseMessage], config: RunnableConfig, **kwargs: Any) -> AIMessage:
        if self._final is None:
            return as_message(await self._sampler.ainvoke(messages, config, **kwargs))

        async def ask(asked: list[BaseMessage]) -> Any:
            return await self._sampler.ainvoke(asked, NO_CALLBACKS, **kwargs)

        return as_message(await RunnableLambda(ask, name="sample").ainvoke(messages, config))

    def _candidate(self, message: AIMessage) -> Sample | None:
        """A sample as it is judged; None if it is no answer to the user."""
        if self._final is None:
            return answer_of(message)
        try:
            parsed = self._final.invoke(message, NO_CALLBACKS)
        except Exception:  # noqa: BLE001 - a parser says with any exception that the answer is invalid
            return None
        return None if parsed is None else structured_answer(message, parsed, self.answer_field)

    def _reported(self, choice: Choice[AIMessage]) -> AIMessage:
        """The message as callbacks are to see it: they have counted each sample's usage; `_settled` puts it back."""
        usage = None if self._final is None else choice.note["usage"]
        return with_ranking(choice.value, choice).model_copy(update={"usage_metadata": usage})

    @override
    def _settled(self, message: AIMessage) -> AIMessage:
        """The message with its usage, which callbacks were not to see: they have counted each sample's own."""
        note = message.response_metadata.get(KEY)
        if note is None:
            return message
        metadata = dict(message.response_metadata)
        if not is_ranked(note):
            del metadata[KEY]
        return message.model_copy(update={"response_metadata": metadata, "usage_metadata": note["usage"]})

    # --- tools and structured output: the other model's way, with this one in its place ---

    @override
    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Bind tools in the way of the model that is sampled from.

        Args:
            tools: As that model takes them.
            tool_choice: As that model takes it.
            kwargs: As that model takes them.
        """
        warn_of_unknown_tools(self.evidence_tools, known_tools(tools), self)
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        bound = self._chat.bind_tools(tools, **kwargs)
        if not isinstance(bound, RunnableBinding):
            raise TypeError(f"bind_tools of {type(self._chat).__name__} must give a RunnableBinding")
        return self.bind(**bound.kwargs)

    @override
    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **kwargs: Any) -> Runnable[Any, Any]:
        """Answers in a schema, in the way of the model that is sampled from; an invalid one cannot win.

        A candidate's text is what stands in its fields: a field for the reasoning, in steps, is what is judged.

        Args:
            schema: As that model takes it.
            include_raw: Give a dict with `raw`, `parsed` and `parsing_error`.
            kwargs: As that model takes them, such as `method`.
        """
        chain = self._chat.with_structured_output(schema, **kwargs)
        first, *rest = chain.steps if isinstance(chain, RunnableSequence) else [chain]
        if not isinstance(first, RunnableBinding) or not rest:
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        parser: Runnable[Any, Any] = rest[0] if len(rest) == 1 else RunnableSequence(*rest)
        wrapped = self.model_copy()
        wrapped._final = parser
        llm = wrapped.bind(**first.kwargs)
        if not include_raw:
            return llm | parser
        good = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        bad = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=llm) | good.with_fallbacks([bad], exception_key="parsing_error")

    # --- what it says of itself ---

    @property
    def model_name(self) -> str:
        """The name of the model that is sampled from."""
        for attribute in ("model_name", "model"):
            if isinstance(name := getattr(self._chat, attribute, None), str):
                return name
        return type(self._chat).__name__

    @property
    @override
    def _llm_type(self) -> str:
        return "medprm"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        """What tells this model from others: for traces, and for caches of its answers."""
        bound = bound_arguments(self.llm)
        functions = [
            f"{f.__module__}.{f.__qualname__}" if hasattr(f, "__qualname__") else type(f).__name__
            for f in (self.evidence, self.question)
            if f is not None
        ]
        return {
            "llm_type": self._chat._llm_type,
            "llm": dict(self._chat._identifying_params),
            "llm_bound": sha256(repr(sorted(bound.items())).encode(errors="replace")).hexdigest()[:16],
            "model_name": self.model_name,
            "reward_model": self.prm.engine.name,
            "functions": functions,
            **self.model_dump(include={"n", "strategy", "aggregate", "agree", "evidence_tools", "keep"}),
        }

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self._chat._get_ls_params(stop=stop, **kwargs)

    def _resolve_model_profile(self) -> Any:
        return getattr(self._chat, "profile", None)

    @override
    def get_token_ids(self, text: str) -> list[int]:
        """As the model that is sampled from counts tokens."""
        return self._chat.get_token_ids(text)


def _call_kwargs(stop: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a sample; a bound stop must not be overridden by None."""
    return kwargs if stop is None else {**kwargs, "stop": stop}
