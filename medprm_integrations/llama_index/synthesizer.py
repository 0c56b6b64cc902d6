"""`MedPRMSynthesizer`: answers a query from its nodes with the best of n sampled chains."""

from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import llama_index.core.instrumentation as instrument
from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation.events.synthesis import SynthesizeEndEvent, SynthesizeStartEvent
from llama_index.core.llms import LLM
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.settings import Settings
from llama_index.core.types import RESPONSE_TEXT_TYPE
from pydantic import BaseModel, ConfigDict
from typing_extensions import Unpack, override

from medprm_integrations.llama_index.events import announce
from medprm_integrations.llama_index.mistakes import check_function, refuse_settings_of_others
from medprm_integrations.llama_index.nodes import (
    IsEvidence,
    evidence_among,
    evidence_texts,
    is_chain,
    marked_as_read,
    texts,
    with_scores,
)
from medprm_integrations.llama_index.prompts import (
    REFINE,
    TEMPLATE,
    checked_template,
    policy_template,
    refining_template,
    replaced,
)
from medprm_integrations.llama_index.responses import sharing
from medprm_integrations.llama_index.sampler import Response as Drawn
from medprm_integrations.llama_index.sampler import sample_of
from medprm_integrations.llama_index.stepwise import apieces, check_search, found_nodes, pieces, searched
from medprm_integrations.llama_index.unstreamed_llm import language_model, response_text
from medprm_integrations.llama_index.window import PartsBefore, asking_within_window
from medprm_integrations.shared.best_of_n import Choice, achoose, choose, only
from medprm_integrations.shared.jobs import Job, new_drawing
from medprm_integrations.shared.questions import Asked, without_feedback
from medprm_integrations.shared.ranking_metadata import KEY
from medprm_integrations.shared.search_settings import GivenSearch, SearchingSettings
from medprm_integrations.shared.settings import SamplingOptions
from medprm_integrations.shared.stepwise import Searched, asearch_all, search_all
from medprm_scorer.errors import DoubtfulAnswerError, InputError
from medprm_scorer.scorer import MedPRM

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # imported there, and public

EMPTY = "Empty Response"
"""The answer of LlamaIndex's synthesizers when nothing was retrieved."""

NO_EVIDENCE = (
    "The prompt has retrieved nodes, but none were given to the reward model as evidence: they have no text, or a "
    "language model wrote them."
)
"""The caution if the reward model reads none of the nodes."""


class _Settings(SearchingSettings):
    model_config = ConfigDict(title="MedPRMSynthesizer")  # the name in its errors


class MedPRMSynthesizer(BaseSynthesizer):
    """A response synthesizer that samples n answers from a language model, with the nodes as evidence, and selects one.

    The response is the winning sample as it was written. Its ranking is in `metadata["medprm"]` (`ranking_of` reads it
    back), with what `RankingMetadata` describes; `source_nodes` are copies of the nodes, which say in
    `metadata["medprm_read"]` whether the reward model read them, unseen by language models and embeddings, and with
    `explain=True` in `metadata["medprm_support"]` how they move the answer (`nodes.SUPPORT`). A failed sample does not
    affect the others, and gives a `SamplesFailedWarning`; documents that were not read give a
    `DocumentsLeftOutWarning`. If all fail, the first error is raised, with a note of how many failed. If the `llm` has
    no async methods of its own (a `CustomLLM` without `achat`), async samples run in threads, except with `output_cls`.
    Without nodes the answer is `Empty Response`, as with LlamaIndex's own synthesizers.

    Samples are checked against the nodes that fit in the reward model's budget, by their retrieval scores. Texts that a
    language model wrote are not evidence: chains, drafts, and the sub-answers of `SubQuestionQueryEngine` and
    `MultiStepQueryEngine`, for which the documents behind them are read instead.

    If the nodes do not fit in the `context_window` of the `llm`, they are packed into several prompts, as LlamaIndex's
    own synthesizers do, and each sample is refined from one prompt to the next: n calls for each prompt.

    When streaming, the answer comes in one piece once it is selected. With `output_cls`, each sample is an object of
    that class, judged by the content of its fields; one that violates the schema cannot win, and nothing is streamed.

    Args:
        prm: The reward model.
        llm: The model to sample from, with a temperature above 0; None takes `Settings.llm`.
        text_qa_template: The prompt for the `llm`, with `query_str` and `context_str` (numbered documents); the default
            asks for steps in the form that the reward model reads. It has this name in `get_prompts` and
            `update_prompts`.
        refine_template: The prompt with the next documents if not all fit in its context window, with `query_str`,
            `context_msg` and `existing_answer`.
        is_evidence: Your own function that decides whether samples are checked against a node; None uses
            `nodes.is_evidence`: no language model wrote it.
        streaming: Return streaming responses.
        output_cls: Return answers of this class.
        search: Choose among steps while they are written, instead of whole samples: a `StepSearch`, or only its method.
            The documents must then fit in the context window of the `llm`; not with `output_cls`. When streaming, each
            step comes as soon as it is final, and the response's metadata and source nodes are filled at the end.
        callback_manager: As in LlamaIndex.
        settings: Those of `SamplingSettings`: `n`, `strategy`, `aggregate`, `stop`, `agree`, `rules`, `timeout`,
            `deadline`, `replacements`, `quorum`, `max_tokens_total`, `several_per_call` (not with `output_cls`),
            `on_sample`, `answer`, `options`, `group`, `answer_field`, `max_concurrency`, `on_ranking`, `keep`,
            `explain`, `trust`, `on_doubt`, `doubt_answer`, `question`.

    Raises:
        ValueError: A setting is unknown, out of its range or of the wrong kind, or the `llm` is a `MedPRMLLM`.

    Example:
        >>> from llama_index.core.llms import MockLLM
        >>> from llama_index.core.schema import TextNode
        >>> llm = MockLLM(max_tokens=3)  # says the same each time: medprm warns that there is nothing to choose
        >>> synthesizer = MedPRMSynthesizer(prm=MedPRM.from_pretrained(), llm=llm, n=1)
        >>> response = synthesizer.synthesize("Which dose?", [NodeWithScore(node=TextNode(text="Label: give 5 mg."))])
        >>> str(response), response.metadata["medprm"]["documents_used"]
        ('text text text', 1)
    """

    def __init__(
        self,
        *,
        prm: MedPRM,
        llm: LLM | None = None,
        text_qa_template: BasePromptTemplate | None = None,
        refine_template: BasePromptTemplate | None = None,
        is_evidence: IsEvidence | None = None,
        streaming: bool = False,
        output_cls: type[BaseModel] | None = None,
        search: GivenSearch = None,
        callback_manager: CallbackManager | None = None,
        **settings: Unpack[SamplingOptions],
    ) -> None:
        check_function("is_evidence", is_evidence)
        if output_cls is not None and not (isinstance(output_cls, type) and issubclass(output_cls, BaseModel)):
            raise InputError("output_cls must be a pydantic class")
        llm = Settings.llm if llm is None else llm
        if isinstance(llm, StructuredLLM):
            output_cls = output_cls or llm.output_cls
            llm = llm.llm
        llm = language_model(llm)
        refuse_settings_of_others(settings, llm)
        self.settings = _Settings(prm=prm, search=search, **settings)  # type: ignore[arg-type]
        if search is not None and output_cls is not None:
            raise InputError("search writes steps, but output_cls asks for an object: use only one of them")
        check_search(self.settings, llm)
        self.prm = prm
        super().__init__(llm=llm, callback_manager=callback_manager, streaming=streaming, output_cls=output_cls)
        given = {TEMPLATE: text_qa_template, REFINE: refine_template}
        defaults = {TEMPLATE: policy_template, REFINE: refining_template}
        self._templates = {
            name: checked_template(defaults[name]() if template is None else template, name)
            for name, template in given.items()
        }
        self._is_evidence = is_evidence

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "MedPRMSynthesizer":
        again = copy(self)
        again.__dict__ = deepcopy(self.__dict__, sharing(memo, self._llm, self._callback_manager))
        return again

    @override
    def _get_prompts(self) -> dict[str, BasePromptTemplate]:
        return dict(self._templates)

    @override
    def _update_prompts(self, prompts: dict[str, BasePromptTemplate]) -> None:
        self._templates |= replaced(prompts)

    @override
    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> RESPONSE_TEXT_TYPE:
        """Only the winning answer to a query: a text, a generator when streaming, or an object of `output_cls`.

        Args:
            query_str: The query.
            text_chunks: The documents' texts.
            response_kwargs: Values for the user's own template.
        """
        asked = _Asked(query_str, text_chunks, text_chunks)
        if self._streams_steps:
            return cast("RESPONSE_TEXT_TYPE", self._streamed(asked, response_kwargs, is_async=False).response_gen)
        choice = self._choose(asked, response_kwargs)
        return cast("RESPONSE_TEXT_TYPE", self._answer(choice, _pieces))

    @override
    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """`get_response`, awaited."""
        asked = _Asked(query_str, text_chunks, text_chunks)
        if self._streams_steps:
            return cast("RESPONSE_TEXT_TYPE", self._streamed(asked, response_kwargs, is_async=True).response_gen)
        choice = await self._achoose(asked, response_kwargs)
        return cast("RESPONSE_TEXT_TYPE", self._answer(choice, _apieces))

    @override
    def synthesize(
        self,
        query: str | QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a query from its nodes.

        Args:
            query: The query.
            nodes: The documents.
            additional_source_nodes: More nodes to name as sources.
            response_kwargs: Values for the user's own template.

        Raises:
            InputError: The query is blank.
            ScoringError: No sample could be scored.
            DoubtfulAnswerError: The answer is not trusted, or nothing was retrieved, and `on_doubt` is `raise`.
            Exception: Every sample failed: the first one's error.
        """
        with self._reported(query) as report:
            if not nodes:
                return report(_response(self._empty(_pieces)))
            asked = self._asked(query, nodes, additional_source_nodes)
            if self._streams_steps:
                return report(self._streamed(asked, response_kwargs, is_async=False))
            choice = self._choose(asked, response_kwargs)
            return report(_response(self._answer(choice, _pieces), choice, asked))

    @override
    async def asynthesize(
        self,
        query: str | QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """`synthesize`, with samples as tasks and without blocking the event loop."""
        with self._reported(query) as report:
            if not nodes:
                return report(_response(self._empty(_apieces)))
            asked = self._asked(query, nodes, additional_source_nodes)
            if self._streams_steps:
                return report(self._streamed(asked, response_kwargs, is_async=True))
            choice = await self._achoose(asked, response_kwargs)
            return report(_response(self._answer(choice, _apieces), choice, asked))

    @contextmanager
    def _reported(self, query: str | QueryBundle) -> Iterator[Callable[[RESPONSE_TYPE], RESPONSE_TYPE]]:
        """Report the start and the result of a response to instrumentation and callbacks."""
        dispatcher.event(SynthesizeStartEvent(query=query))
        payload: dict[str, Any] = {EventPayload.QUERY_STR: _question(query)}
        with self.callback_manager.event(CBEventType.SYNTHESIZE, payload=payload) as event:

            def report(response: RESPONSE_TYPE) -> RESPONSE_TYPE:
                event.on_end(payload={EventPayload.RESPONSE: response})
                dispatcher.event(SynthesizeEndEvent(query=query, response=response))
                return response

            yield report

    def _asked(
        self, query: str | QueryBundle, nodes: Sequence[NodeWithScore], behind: Sequence[NodeWithScore] | None
    ) -> "_Asked":
        nodes, behind = with_scores(nodes), with_scores(behind or ())
        evidence = evidence_among(nodes, behind, self._is_evidence)
        to_read = texts([node for node in nodes if not is_chain(node)], MetadataMode.LLM)
        return _Asked(_question(query), to_read, evidence_texts(evidence), evidence, [*nodes, *behind])

    def _choose(self, asked: "_Asked", values: dict[str, Any]) -> Choice[Any]:
        if self.settings.search is not None:
            return _announced(only(search_all(self.settings, [self._searched(asked, values, is_async=False)])))
        choice = choose(self.settings, self._job(asked, values, is_async=False))
        return _announced(choice)

    async def _achoose(self, asked: "_Asked", values: dict[str, Any]) -> Choice[Any]:
        if self.settings.search is not None:
            found = await asearch_all(self.settings, [self._searched(asked, values, is_async=True)])
            return _announced(only(found))
        return _announced(await achoose(self.settings, self._job(asked, values, is_async=True)))

    def _searched(self, asked: "_Asked", values: dict[str, Any], *, is_async: bool) -> Searched[Any]:
        job = self._job(asked, values, is_async=is_async)
        template = self._templates[TEMPLATE]
        return searched(self.settings, job, template, asked.question, asked.to_read, values, is_async=is_async)

    def _streamed(self, asked: "_Asked", values: dict[str, Any], *, is_async: bool) -> Any:
        """A response whose steps arrive while the search runs, and whose metadata arrive at its end."""
        metadata: dict[str, Any] = {}
        sources: list[NodeWithScore] = []

        def ended(choice: Choice[Any]) -> None:
            whole = _response("", _announced(choice), asked)
            metadata.update(whole.metadata or {})
            sources.extend(whole.source_nodes)

        job = self._searched(asked, values, is_async=is_async)
        if is_async:
            return AsyncStreamingResponse(apieces(self.settings, job, ended), sources, metadata)
        return StreamingResponse(pieces(self.settings, job, ended), sources, metadata)

    @property
    def _streams_steps(self) -> bool:
        return self._streaming and self.settings.search is not None

    def _job(self, asked: "_Asked", values: dict[str, Any], *, is_async: bool) -> Job[Drawn]:
        judged = self.settings.asked(asked.question, lambda: Asked(without_feedback(asked.question)))
        before = PartsBefore()
        asking = asking_within_window(
            self._llm,
            self._templates,
            asked.question,
            asked.to_read,
            self._output_cls,
            is_async=is_async,
            more=values,
            helper=self._prompt_helper,
            before=before,
        )
        return Job(
            question=judged.text,
            cautions=(*judged.cautions, *asked.cautions),
            drawing=new_drawing(self.settings, partial(sample_of, answer_field=self.settings.answer_field)),
            ask=asking.one,
            ask_several=asking.several if self.settings.several_per_call else None,
            source=self._llm,
            usage=before.usage,
            documents=asked.documents,
            scores=[node.score for node in asked.evidence],
            structured=self._output_cls is not None,
        )

    def _empty(self, pieces: Callable[[str], Any]) -> Any:
        """The answer if nothing was retrieved, as LlamaIndex gives it; it is in doubt if there is `trust`."""
        action = self.settings.on_doubt
        if action == "raise":
            raise DoubtfulAnswerError("nothing was retrieved, so there is no answer to trust: ask a person")
        answer = self.settings.doubt_answer if action == "abstain" else EMPTY
        return pieces(answer) if self._streaming else answer

    def _answer(self, choice: Choice[Any], pieces: Callable[[str], Any]) -> Any:
        """The winning response's text (in one piece when streaming), or its object."""
        answer = choice.value if choice.said is None else choice.said
        if isinstance(answer, ChatResponse | CompletionResponse):
            answer = response_text(answer)
        return pieces(answer) if self._streaming and isinstance(answer, str) else answer


@dataclass(frozen=True, repr=False)
class _Asked:
    """One query.

    Args:
        question: The query.
        to_read: The texts in the prompt of the language model.
        documents: The texts against which its answers are checked.
        evidence: The nodes of these texts, if there are nodes.
        sources: All nodes.
    """

    question: str
    to_read: Sequence[str]
    documents: Sequence[str]
    evidence: Sequence[NodeWithScore] = ()
    sources: Sequence[NodeWithScore] = ()

    @property
    def cautions(self) -> tuple[str, ...]:
        """The caution that the language model reads documents but the reward model reads none."""
        return (NO_EVIDENCE,) if self.to_read and not any(map(str.strip, self.documents)) else ()


def _announced(choice: Choice[Any]) -> Choice[Any]:
    if choice.ranking is not None:
        announce(choice.ranking, choice.note)
    return choice


def _response(answer: Any, choice: Choice[Any] | None = None, asked: _Asked | None = None) -> RESPONSE_TYPE:
    kinds: dict[type, type] = {str: Response, Generator: StreamingResponse, AsyncGenerator: AsyncStreamingResponse}
    kind = next((kinds[of] for of in kinds if isinstance(answer, of)), PydanticResponse)
    if choice is None or asked is None:
        return cast("RESPONSE_TYPE", kind(answer))
    read = choice.ranking.documents_read if choice.ranking else ()
    metadata = {**{node.node.node_id: node.node.metadata for node in asked.sources}, KEY: choice.note}
    found = found_nodes(choice.ranking)
    sources = marked_as_read([*asked.sources, *found], [*asked.evidence, *found], read, choice.note)
    return cast("RESPONSE_TYPE", kind(answer, source_nodes=sources, metadata=metadata))


def _question(query: str | QueryBundle) -> str:
    return query if isinstance(query, str) else query.query_str


def _pieces(text: str) -> Generator[str, None, None]:
    yield text


async def _apieces(text: str) -> AsyncGenerator[str, None]:
    yield text
