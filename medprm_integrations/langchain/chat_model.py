"""`ChatMedPRM`: a chat model that samples n answers from another one and returns the best."""

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

from medprm_integrations.langchain.conversation import asked_in, known_tools, not_given, tool_documents
from medprm_integrations.langchain.convert import answer_of, structured_answer
from medprm_integrations.langchain.doubt import DOUBTS
from medprm_integrations.langchain.events import aannounce, announce
from medprm_integrations.langchain.helper_calls import is_helper_call, schema_fields
from medprm_integrations.langchain.messages import as_message, total_usage, with_ranking
from medprm_integrations.langchain.retrieved import document_texts, evidence_call, evidence_function
from medprm_integrations.langchain.sampler import NO_CALLBACKS, is_interrupt, sampler
from medprm_integrations.langchain.several import in_one_call
from medprm_integrations.langchain.unstreamed_model import UnstreamedChatModel
from medprm_integrations.langchain.wrapped_models import bound_arguments, chat_model_in
from medprm_integrations.shared.best_of_n import Choice, achoose, choose
from medprm_integrations.shared.jobs import Job, new_drawing
from medprm_integrations.shared.ranking_metadata import KEY, RankingMetadata, is_ranked
from medprm_integrations.shared.settings import OF_A_CALL, OF_THE_MODEL, ConversationSettings
from medprm_integrations.shared.user_warnings import warn_of_unknown_tools
from medprm_scorer.sampling.rules import Sample


class ChatMedPRM(UnstreamedChatModel, ConversationSettings):
    """A chat model that samples n answers from another chat model and returns the one that the reward model selects.

    It replaces the other model: `bind_tools`, `with_structured_output`, streaming and async work in the same way. An
    answer that calls tools is returned unchanged, and if tools are bound only one answer is drawn at first; only
    answers to the user are sampled and selected. The stream has one chunk, the winner.

    The winner's ranking is in `response_metadata["medprm"]` (`ranking_of` reads it back), with what `RankingMetadata`
    describes; its `usage_metadata` counts the tokens of all samples. Samples that failed give a `SamplesFailedWarning`,
    and evidence of which nothing could be read gives a `DocumentsLeftOutWarning`. Callbacks see the usage of the n runs
    below, and none for the run of this model itself, so that nothing is counted twice.

    The question is the text of the human messages. If there are several, they are joined, with a caution, starting at
    the last one that has its own options; summaries do not count as questions. The evidence is the tool results since
    the first of these messages, the newest first, within the reward model's budget for documents. Errors do not count,
    nor do results of tools that act, plan or hand over (`brings_evidence`), unless `evidence_tools` names them.

    Calls that are not answers to the user (titles, summaries, condensed questions, choices of tools, structured output
    without a field for reasoning or answer) are passed through once, unchanged: `helper_calls` has the rule, and
    `is_answer=` takes your own. The ranking's figures are also sent as a custom event of the run, `medprm_ranking`.

    Args:
        llm: The chat model to sample from, with a temperature above 0; also its `with_retry()` (each sample is retried
            separately), `with_fallbacks()`, `bind(…)`, configurable fields, or `init_chat_model()`. Samples never come
            from a cache. Sampling settings (`temperature`, `max_tokens`, `stop` and so on) that are passed here are
            bound to it.
        settings: Those of `ConversationSettings`: `prm`, `n`, `strategy`, `aggregate`, `stop`, `agree`, `rules`,
            `timeout`, `deadline`, `replacements`, `quorum`, `max_tokens_total`, `several_per_call`, `on_sample`,
            `evidence`, `evidence_tools`, `is_answer`, `question`, `answer`, `options`, `group`, `answer_field`,
            `max_concurrency`, `on_ranking`, `keep`, `explain`, `trust`, `on_doubt`, `doubt_answer`. `evidence` may also
            be a retriever, which gets the judged question as its query.

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
    doubts: ClassVar[tuple[str, ...]] = DOUBTS

    _chat: BaseChatModel = PrivateAttr()
    """The model that is sampled from, without its wrappers."""
    _sampler: Runnable[Any, Any] = PrivateAttr()
    _final: Runnable[Any, Any] | None = PrivateAttr(default=None)
    """With structured output: parses an answer, or rejects it as invalid."""
    _fields: list[str] | None = PrivateAttr(default=None)
    """With structured output: names of the fields, as far as known."""

    @model_validator(mode="before")
    @classmethod
    def _bind_sampling(cls, values: Any) -> Any:
        """Bind sampling settings to the llm, as a chat model does; settings of its constructor cannot be bound."""
        if not isinstance(values, dict) or not isinstance(values.get("llm"), Runnable):
            return values
        if values.get("rate_limiter") is not None:
            raise ValueError("rate_limiter has no effect on samples here: set it on llm")
        kept = {name: value for name, value in values.items() if name not in OF_THE_MODEL}
        late = [name for name in values if name in OF_THE_MODEL and name not in OF_A_CALL]
        if late:
            warnings.warn(f"not passed on: {', '.join(late)}; set on llm when it is made", UserWarning, stacklevel=2)
        sampling = {name: value for name, value in values.items() if name in OF_A_CALL}
        if isinstance(kept.get("stop"), list | tuple):  # LangChain's stop sequences, not a stopping rule
            sampling["stop"] = list(kept.pop("stop"))
        if sampling:
            kept["llm"] = values["llm"].bind(**sampling)
        return kept

    @field_validator("evidence", mode="before")
    @classmethod
    def _may_retrieve(cls, evidence: Any) -> Any:
        return evidence_function(evidence)

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
        ask = partial(self._sample, messages, config, **_call_kwargs(stop, kwargs))
        if not self._is_answer(messages, config):
            return self._reported(_untouched(ask(self._sampler)))
        choice = choose(self, self._job(messages, kwargs, ask, awaited=False), is_interrupt)
        announce([choice], [config])
        return self._reported(choice)

    @override
    async def _adecide(
        self, messages: list[BaseMessage], stop: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> AIMessage:
        ask = partial(self._asample, messages, config, **_call_kwargs(stop, kwargs))
        if not self._is_answer(messages, config):
            return self._reported(_untouched(await ask(self._sampler)))
        choice = await achoose(self, self._job(messages, kwargs, ask, awaited=True), is_interrupt)
        await aannounce([choice], [config])
        return self._reported(choice)

    def _is_answer(self, messages: list[BaseMessage], config: RunnableConfig) -> bool:
        """Whether the call asks for an answer to the user."""
        if self.is_answer is not None:
            return self.is_answer(messages)
        metadata = {**(getattr(config.get("callbacks"), "metadata", None) or {}), **(config.get("metadata") or {})}
        return not is_helper_call(messages, metadata, None if self.answer_field else self._fields)

    def _job(
        self, messages: list[BaseMessage], kwargs: dict[str, Any], ask: Callable[..., Any], *, awaited: bool
    ) -> Job[AIMessage]:
        bound = {**bound_arguments(self.llm), **kwargs}
        probe = self._final is None and bool(bound.get("tools") or bound.get("functions"))
        asked = self.asked(messages, partial(asked_in, messages))
        documents = tool_documents(messages, self.evidence_tools, start=asked.start)
        return Job(
            question=asked.text,
            cautions=(*asked.cautions, *not_given(messages, documents, self.evidence)),
            drawing=new_drawing(self, self._candidate, probe=probe),
            ask=partial(ask, self._sampler),
            ask_several=in_one_call(self, self._sampler, ask, awaited=awaited),
            source=self.llm,
            usage=total_usage,
            documents=documents,
            evidence=evidence_call(self.evidence, messages, asked.text, awaited=awaited),
            read=document_texts,
            structured=self._final is not None,
        )

    def _sample(self, messages: list[BaseMessage], config: RunnableConfig, llm: Any, /, **kwargs: Any) -> AIMessage:
        """One sample, as a run below this model's run.

        With structured output, callbacks expect one model call: a sample is then a plain run, and the run of this model
        reports the usage of all samples.
        """
        if self._final is None:
            return as_message(llm.invoke(messages, config, **kwargs))
        silent = RunnableLambda(lambda asked: llm.invoke(asked, NO_CALLBACKS, **kwargs), name="sample")
        return as_message(silent.invoke(messages, config))

    async def _asample(
        self, messages: list[BaseMessage], config: RunnableConfig, llm: Any, /, **kwargs: Any
    ) -> AIMessage:
        if self._final is None:
            return as_message(await llm.ainvoke(messages, config, **kwargs))

        async def ask(asked: list[BaseMessage]) -> Any:
            return await llm.ainvoke(asked, NO_CALLBACKS, **kwargs)

        return as_message(await RunnableLambda(ask, name="sample").ainvoke(messages, config))

    def _candidate(self, message: AIMessage) -> Sample | None:
        """A sample in the form in which it is judged; None if it is not an answer to the user."""
        if self._final is None:
            return answer_of(message)
        try:
            parsed = self._final.invoke(message, NO_CALLBACKS)
        except Exception:  # noqa: BLE001 - any exception of a parser means that the answer is invalid
            return None
        return None if parsed is None else structured_answer(message, parsed, self.answer_field)

    def _reported(self, choice: Choice[AIMessage]) -> AIMessage:
        """The message for callbacks, without usage: they have counted each sample's; `_settled` puts it back."""
        usage = None if self._final is None else choice.note["usage"]
        return with_ranking(choice.value, choice).model_copy(update={"usage_metadata": usage})

    @override
    def _settled(self, message: AIMessage) -> AIMessage:
        """The message with its usage, which was hidden from callbacks: they have counted each sample's."""
        note = message.response_metadata.get(KEY)
        if note is None:
            return message
        metadata = dict(message.response_metadata)
        if not is_ranked(note):
            del metadata[KEY]
        return message.model_copy(update={"response_metadata": metadata, "usage_metadata": note["usage"]})

    # --- tools and structured output: as the other model does it, with this model in its place ---

    @override
    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Bind tools as the model that is sampled from does.

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
        """Answers in a schema, as the model that is sampled from gives them; an invalid one cannot win.

        A candidate's text is the content of its fields: a field for the reasoning, in steps, is judged.

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
        wrapped._final, wrapped._fields = parser, schema_fields(schema)
        llm = wrapped.bind(**first.kwargs)
        if not include_raw:
            return llm | parser
        good = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        bad = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=llm) | good.with_fallbacks([bad], exception_key="parsing_error")

    # --- properties of the model ---

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
        """What identifies this model, for traces and for caches of its answers."""
        bound = bound_arguments(self.llm)
        functions = [
            f"{f.__module__}.{f.__qualname__}" if hasattr(f, "__qualname__") else type(f).__name__
            for f in (self.evidence, self.question, self.is_answer)
            if f is not None
        ]
        return {
            "llm_type": self._chat._llm_type,
            "llm": dict(self._chat._identifying_params),
            "llm_bound": sha256(repr(sorted(bound.items())).encode(errors="replace")).hexdigest()[:16],
            "model_name": self.model_name,
            "reward_model": self.prm.engine.name,
            "functions": functions,
            **self.model_dump(include={"n", "strategy", "aggregate", "agree", "evidence_tools", "keep", "explain"}),
            "trust": repr(self.judge),
            "on_doubt": self.on_doubt if isinstance(self.on_doubt, str) else "a function",
            "doubt_answer": self.doubt_answer,
            "stop": None if self.rule is None else repr(self.rule),
        }

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self._chat._get_ls_params(stop=stop, **kwargs)

    def _resolve_model_profile(self) -> Any:
        return getattr(self._chat, "profile", None)

    @override
    def get_token_ids(self, text: str) -> list[int]:
        """Count tokens as the model that is sampled from does."""
        return self._chat.get_token_ids(text)


def _untouched(message: AIMessage) -> Choice[AIMessage]:
    """A message that was not chosen, with its tokens, for `_settled` to put back."""
    return Choice(message, RankingMetadata(usage=total_usage([message])))


def _call_kwargs(stop: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a sample; a bound stop must not be overridden by None."""
    return kwargs if stop is None else {**kwargs, "stop": stop}
