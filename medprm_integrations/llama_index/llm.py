"""`MedPRMLLM`: a language model that samples n answers from another one and returns the best."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import QueryEngineTool
from pydantic import PrivateAttr, model_validator
from typing_extensions import Self, override

from medprm_integrations.llama_index.conversation import (
    asked_in,
    is_react,
    react_answer,
    text_of,
    tool_documents,
    tool_results,
)
from medprm_integrations.llama_index.events import announce
from medprm_integrations.llama_index.helper_calls import is_answer
from medprm_integrations.llama_index.mistakes import check_can_be_made
from medprm_integrations.llama_index.nodes import document_texts, is_sub_answer
from medprm_integrations.llama_index.prompts import Filled, PromptMessages, PromptText, context_documents
from medprm_integrations.llama_index.responses import said_instead, sharing, total_usage, with_ranking
from medprm_integrations.llama_index.sampler import sample_of
from medprm_integrations.llama_index.several import in_one_call
from medprm_integrations.llama_index.unstreamed_llm import UnstreamedLLM, language_model
from medprm_integrations.shared.best_of_n import Choice, achoose, choose
from medprm_integrations.shared.jobs import Job, new_drawing
from medprm_integrations.shared.prompt_context import NOT_GIVEN, holds_documents
from medprm_integrations.shared.settings import ConversationSettings
from medprm_integrations.shared.user_warnings import warn_of_unknown_tools
from medprm_scorer.sampling.drawing import Drawing
from medprm_scorer.sampling.rules import Sample

_INHERITED = (
    "callback_manager",
    "system_prompt",
    "messages_to_prompt",
    "completion_to_prompt",
    "output_parser",
    "pydantic_program_mode",
    "query_wrapper_prompt",
)
"""Fields that this model takes from the one that it samples from, unless they are set."""


class MedPRMLLM(UnstreamedLLM, ConversationSettings):
    """A language model that samples n answers from another one and returns the one that the reward model selects.

    It replaces the other model in agents, chat engines, query engines and workflows. A turn that calls tools is
    returned unchanged, and if tools may be called only one answer is drawn at first; only answers to the user are
    sampled and selected. Among a `ReActAgent`'s turns, these are the ones that answer. The stream has one piece, the
    winner.

    Calls that are not answers to the user, such as those that condense a follow-up or choose an engine, run once:
    `helper_calls` has the rule, and `is_answer=` takes your own.

    The question is the text of the user's messages (for the last one, the `query_str` of the prompt template). If there
    are several, they are joined, with a caution, starting at the last one that has its own options. The evidence is the
    template's context, then the tool results since the first of these messages, the newest first, within the reward
    model's budget for documents. Errors do not count, nor do results of tools that act, plan or hand over
    (`brings_evidence`), nor texts of a language model (the results of a `QueryEngineTool`, sub-answers), unless
    `evidence_tools` names the tools. A caution is added if a prompt seems to contain documents but there is no
    evidence.

    The winner's ranking, with what `RankingMetadata` describes, is in the response's `additional_kwargs["medprm"]`, and
    in `raw["medprm"]`, since agents pass on only that; `ranking_of` reads it back from either. Chat engines and query
    engines keep only the answer's text: use `on_ranking` there. The response counts the tokens of all samples.
    Callbacks see the n calls of the other model, and no call of this one, so that no tokens are counted twice.

    Samples that failed give a `SamplesFailedWarning`, and evidence of which nothing could be read gives a
    `DocumentsLeftOutWarning`. If the `llm` has no async methods of its own (a `CustomLLM` without `achat`), async
    samples run in threads, which continue to their end if the caller is cancelled.

    Args:
        llm: The model to sample from, with a temperature above 0.
        settings: Those of `ConversationSettings`: `prm`, `n`, `strategy`, `aggregate`, `stop`, `agree`, `rules`,
            `timeout`, `deadline`, `replacements`, `quorum`, `max_tokens_total`, `several_per_call`, `on_sample`,
            `evidence`, `evidence_tools`, `is_answer`, `question`, `answer`, `options`, `group`, `max_concurrency`,
            `on_ranking`, `keep`, `explain`, `trust`, `on_doubt`, `doubt_answer`.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from llama_index.core.llms import MockLLM
        >>> llm = MedPRMLLM(llm=MockLLM(max_tokens=3), prm=MedPRM.from_pretrained(), n=1)
        >>> response = llm.chat([ChatMessage("Which dose?")])
        >>> response.message.content, len(response.additional_kwargs["medprm"]["chains"])
        ('text text text', 1)
    """

    _writing: set[str] = PrivateAttr(default_factory=set)
    """Names of the offered tools in which a language model writes."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_other(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "llm" not in values:
            return values
        llm = language_model(values["llm"])
        return {**{name: getattr(llm, name) for name in _INHERITED}, **values}

    @override
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "MedPRMLLM":
        return super().__deepcopy__(sharing(memo, self.llm, self.callback_manager))

    @classmethod
    @override
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        check_can_be_made(cls, kwargs)
        return super().from_dict(data, **kwargs)

    @classmethod
    @override
    def class_name(cls) -> str:
        return "MedPRMLLM"

    @override
    def _decide(self, job: Job[Any]) -> Any:
        return _answer(choose(self, job))

    @override
    async def _adecide(self, job: Job[Any]) -> Any:
        return _answer(await achoose(self, job))

    @override
    def _offered(self, tools: Sequence[Any]) -> None:
        self._writing.update(str(tool.metadata.name) for tool in tools if isinstance(tool, QueryEngineTool))
        warn_of_unknown_tools(self.evidence_tools, [str(tool.metadata.name) for tool in tools], self)

    @override
    def _chat_job(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any], ask: Callable[[], Any]) -> Job[Any]:
        react = is_react(messages)
        read = partial(self._candidate, react=react)
        filled = messages.filled if isinstance(messages, PromptMessages) else Filled()
        return self._job(messages, filled, read, ask, probe=react or bool(kwargs.get("tools")))

    @override
    def _text_job(self, prompt: str, ask: Callable[[], Any]) -> Job[Any]:
        filled = prompt.filled if isinstance(prompt, PromptText) else Filled()
        return self._job([ChatMessage(content=str(prompt))], filled, sample_of, ask)

    def _job(
        self,
        messages: Sequence[ChatMessage],
        filled: Filled,
        read: Callable[[Any], Sample | None],
        ask: Callable[[], Any],
        *,
        probe: bool = False,
    ) -> Job[Any]:
        if not (self.is_answer or is_answer)(messages):
            return self._untouched(messages, ask)
        asked = self.asked(messages, partial(asked_in, messages, filled.question))
        tools = tool_documents(messages, self._calls_in, self.evidence_tools, start=asked.start, writing=self._writing)
        context = [text for text in filled.context if not is_sub_answer(text)]
        documents = [*context_documents(context, self.prm.count_tokens), *tools]
        return Job(
            question=asked.text,
            cautions=(*asked.cautions, *self._not_given(messages, filled, documents)),
            drawing=new_drawing(self, read, probe=probe),
            ask=ask,
            ask_several=in_one_call(ask) if self.several_per_call else None,
            source=self.llm,
            usage=total_usage,
            documents=documents,
            evidence=self.evidence and partial(self.evidence, messages),
            read=document_texts,
        )

    def _untouched(self, messages: Sequence[ChatMessage], ask: Callable[[], Any]) -> Job[Any]:
        """A call that runs once: its response is not a candidate, like one that calls tools."""
        question = next((text for text in map(text_of, messages) if text.strip()), "-")
        drawing: Drawing[Any] = Drawing(1, lambda _: None, probe=True)
        return Job(question=question, drawing=drawing, ask=ask, source=self.llm, usage=total_usage)

    def _not_given(self, messages: Sequence[ChatMessage], filled: Filled, documents: Sequence[str]) -> tuple[str, ...]:
        """The caution that the language model reads documents but the reward model reads none."""
        if self.evidence is not None or any(map(str.strip, documents)):
            return ()
        results = tool_results(messages, self._calls_in)
        given = filled.context or results or holds_documents(map(text_of, messages))
        return (NOT_GIVEN,) if given else ()

    def _candidate(self, response: ChatResponse, *, react: bool) -> Sample | None:
        """A response in the form in which it is judged; None if it calls tools."""
        if self._calls(response) is not None:
            return None
        sample = sample_of(response)
        if not react:
            return sample
        answer = react_answer(sample.text)
        return None if answer is None else Sample(answer, truncated=sample.truncated)

    def _calls(self, response: ChatResponse) -> dict[str, str] | None:
        """The names of the tools that a response calls, by the ids of the calls; None if it calls none."""
        message = response.message
        marked = bool(message.additional_kwargs.get("tool_calls")) or any(
            getattr(block, "block_type", None) == "tool_call" for block in message.blocks
        )
        selected: Sequence[ToolSelection] = ()
        if isinstance(self.llm, FunctionCallingLLM):
            try:
                selected = self.llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
            except Exception:  # noqa: BLE001 - such as arguments that are not JSON: the marks show that it is a call
                selected = ()
        return {call.tool_id: call.tool_name for call in selected} if selected or marked else None

    def _calls_in(self, message: ChatMessage) -> dict[str, str]:
        return self._calls(ChatResponse(message=message)) or {}


def _answer(choice: Choice[Any]) -> Any:
    """The winning response with its ranking; a tool call is returned unchanged."""
    if choice.ranking is None:
        return choice.value
    announce(choice.ranking, choice.note)
    if choice.said is not None:
        return said_instead(choice.value, choice.said, choice.note)
    return with_ranking(choice.value, choice.note)
