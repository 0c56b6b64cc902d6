"""`MedPRMSynthesizer`: answers a query from its nodes with the best of n sampled chains."""

from collections.abc import AsyncGenerator, Generator, Sequence
from copy import copy, deepcopy
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
from pydantic import BaseModel
from typing_extensions import override

from medprm_integrations.llama_index.copies import sharing
from medprm_integrations.llama_index.language_models import language_model
from medprm_integrations.llama_index.llm import MedPRMLLM
from medprm_integrations.llama_index.nodes import is_chain, texts
from medprm_integrations.llama_index.prompts import TEMPLATE, policy_template, prompt_values, replaced
from medprm_integrations.llama_index.responses import total_usage
from medprm_integrations.llama_index.sampler import Asking, Sample, asking, said
from medprm_integrations.shared.asking import adraw, draw
from medprm_integrations.shared.drawing import Drawing
from medprm_integrations.shared.evidence import warn_if_unread
from medprm_integrations.shared.ranking_metadata import KEY, RankingMetadata, ranking_metadata
from medprm_integrations.shared.settings import DEFAULT_CONCURRENCY, DEFAULT_N, SamplingSettings, reward_model
from medprm_integrations.shared.sharing import share
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking
from medprm_scorer.scorer import MedPRM

share()
dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # imported there, and public

EMPTY = "Empty Response"
"""What LlamaIndex's synthesizers answer when nothing was retrieved."""


class MedPRMSynthesizer(BaseSynthesizer):
    """A response synthesizer that asks a language model n times, with the nodes as evidence, and selects one answer.

    The response is the winning sample as it was written. Its ranking is in `metadata["medprm"]` (`ranking_of` reads it
    back), with `usage`, `samples_failed`, `samples_dropped` and `documents_left_out`; `source_nodes` are the nodes. A
    sample that fails does not end the others, and is warned of (`SamplesFailedWarning`), as documents are of which none
    could be read (`DocumentsLeftOutWarning`); if all fail, the first error is raised, with a note of the count. Where
    the `llm` has no async of its own (a `CustomLLM` without `achat`), async samples are asked for in threads, except
    with `output_cls`. Without nodes the answer is `Empty Response`, as with LlamaIndex's own
    synthesizers. Nodes made with `chain_node` are no evidence.

    When streaming, the answer comes in one piece once it is selected. With `output_cls` each sample is an object of
    that class, judged by what stands in its fields; one that breaks the schema cannot win, and nothing is streamed.

    Args:
        prm: The reward model.
        llm: The model to sample from, with a temperature above 0; None takes `Settings.llm`.
        n: How many samples.
        strategy: `weighted_vote`, `best_of_n` or `majority_vote`.
        aggregate: How step rewards become a chain reward.
        max_concurrency: Most calls of the `llm` at once.
        agree: Draw no more once so many samples give the same answer; None draws all n.
        text_qa_template: What the `llm` is asked, with `query_str` and `context_str` (numbered documents); the default
            asks for steps as the reward model reads them. `get_prompts` and `update_prompts` know it by this name.
        streaming: Give streaming responses.
        output_cls: Give answers of this class.
        callback_manager: As in LlamaIndex.

    Raises:
        ValueError: A setting is out of its range or of the wrong kind, or the `llm` is a `MedPRMLLM`, which selects
            itself.

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
        n: int = DEFAULT_N,
        strategy: str = "weighted_vote",
        aggregate: str = "min",
        max_concurrency: int = DEFAULT_CONCURRENCY,
        agree: int | None = None,
        text_qa_template: BasePromptTemplate | None = None,
        streaming: bool = False,
        output_cls: type[BaseModel] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self.settings = SamplingSettings(
            n=n, strategy=strategy, aggregate=aggregate, max_concurrency=max_concurrency, agree=agree
        )
        prm = reward_model(prm)
        llm = language_model(Settings.llm if llm is None else llm)
        if isinstance(llm, StructuredLLM):
            output_cls = output_cls or llm.output_cls
            llm = llm.llm
        if isinstance(llm, MedPRMLLM):
            raise InputError("the llm selects among samples itself: give MedPRMSynthesizer the model inside it")
        super().__init__(llm=llm, callback_manager=callback_manager, streaming=streaming, output_cls=output_cls)
        self.prm = prm
        self._template: BasePromptTemplate = text_qa_template or policy_template()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "MedPRMSynthesizer":
        again = copy(self)
        again.__dict__ = deepcopy(self.__dict__, sharing(memo, self._llm, self._callback_manager))
        return again

    @override
    def _get_prompts(self) -> dict[str, BasePromptTemplate]:
        return {TEMPLATE: self._template}

    @override
    def _update_prompts(self, prompts: dict[str, BasePromptTemplate]) -> None:
        self._template = replaced(prompts, self._template)

    @override
    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> RESPONSE_TEXT_TYPE:
        """The winning answer to a query alone: a text, when streaming a generator, or an object of `output_cls`.

        Args:
            query_str: The query.
            text_chunks: The documents' texts.
            response_kwargs: Values for the user's own template.
        """
        return cast("RESPONSE_TEXT_TYPE", self._streamed(self._choose(query_str, text_chunks, response_kwargs)[0]))

    @override
    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """`get_response`, awaited."""
        answer, _ = await self._achoose(query_str, text_chunks, response_kwargs)
        return cast("RESPONSE_TEXT_TYPE", self._astreamed(answer))

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
            Exception: Every sample failed: the first one's error.
        """
        dispatcher.event(SynthesizeStartEvent(query=query))
        response: RESPONSE_TYPE
        if not nodes:
            response = StreamingResponse(_pieces(EMPTY)) if self._streaming else Response(EMPTY)
        else:
            question, documents = _question(query), _documents(nodes)
            with self.callback_manager.event(
                CBEventType.SYNTHESIZE, payload={EventPayload.QUERY_STR: question}
            ) as event:
                answer, note = self._choose(question, documents, response_kwargs)
                sources = [*nodes, *(additional_source_nodes or ())]
                response = _response(self._streamed(answer), sources, note)
                event.on_end(payload={EventPayload.RESPONSE: response})
        dispatcher.event(SynthesizeEndEvent(query=query, response=response))
        return response

    @override
    async def asynthesize(
        self,
        query: str | QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """`synthesize`, with samples as tasks and the event loop left free."""
        dispatcher.event(SynthesizeStartEvent(query=query))
        response: RESPONSE_TYPE
        if not nodes:
            response = AsyncStreamingResponse(_apieces(EMPTY)) if self._streaming else Response(EMPTY)
        else:
            question, documents = _question(query), _documents(nodes)
            with self.callback_manager.event(
                CBEventType.SYNTHESIZE, payload={EventPayload.QUERY_STR: question}
            ) as event:
                answer, note = await self._achoose(question, documents, response_kwargs)
                sources = [*nodes, *(additional_source_nodes or ())]
                response = _response(self._astreamed(answer), sources, note)
                event.on_end(payload={EventPayload.RESPONSE: response})
        dispatcher.event(SynthesizeEndEvent(query=query, response=response))
        return response

    def _choose(self, question: str, documents: Sequence[str], values: dict[str, Any]) -> tuple[Any, RankingMetadata]:
        ask, drawing = self._asking(question, documents, values), self._drawing()
        draw(drawing, ask.once, self.settings.max_concurrency)
        self._check(drawing)
        ranking = self.prm.rank(question, drawing.texts, documents, **self._choice)
        return self._chosen(drawing, ranking, documents)

    async def _achoose(
        self, question: str, documents: Sequence[str], values: dict[str, Any]
    ) -> tuple[Any, RankingMetadata]:
        ask, drawing = self._asking(question, documents, values), self._drawing()
        await adraw(drawing, ask.aonce, self.settings.max_concurrency)
        self._check(drawing)
        ranking = await self.prm.arank(question, drawing.texts, documents, **self._choice)
        return self._chosen(drawing, ranking, documents)

    def _chosen(
        self, drawing: Drawing[Sample], ranking: Ranking, documents: Sequence[str]
    ) -> tuple[Any, RankingMetadata]:
        """The winning answer, and its ranking."""
        warn_if_unread(ranking, documents, self.prm.count_tokens)
        sample = drawing.values[ranking.best.index]
        plain = isinstance(sample, ChatResponse | CompletionResponse)
        answer = drawing.texts[ranking.best.index] if plain else sample
        return answer, ranking_metadata(ranking, drawing, total_usage(drawing.values))

    @property
    def _choice(self) -> dict[str, Any]:
        return {"strategy": self.settings.strategy, "aggregate": self.settings.aggregate}

    def _drawing(self) -> Drawing[Sample]:
        return Drawing[Sample](self.settings.n, said, agree=self.settings.agree, answer=self.prm.read_answer)

    def _asking(self, question: str, documents: Sequence[str], values: dict[str, Any]) -> Asking:
        if not question.strip():  # refused before anything is paid for
            raise InputError("the query must be a text that is not blank")
        return asking(self._llm, self._template, prompt_values(question, documents, values), self._output_cls)

    def _check(self, drawing: Drawing[Sample]) -> None:
        drawing.check()
        drawing.warn(self._llm)

    def _streamed(self, answer: Any) -> Any:
        return _pieces(answer) if self._streaming and isinstance(answer, str) else answer

    def _astreamed(self, answer: Any) -> Any:
        return _apieces(answer) if self._streaming and isinstance(answer, str) else answer


def _response(answer: Any, sources: list[NodeWithScore], note: RankingMetadata) -> RESPONSE_TYPE:
    metadata = {**{node.node.node_id: node.node.metadata for node in sources}, KEY: note}
    kinds: dict[type, type] = {str: Response, Generator: StreamingResponse, AsyncGenerator: AsyncStreamingResponse}
    kind = next((kinds[of] for of in kinds if isinstance(answer, of)), PydanticResponse)
    return cast("RESPONSE_TYPE", kind(answer, source_nodes=sources, metadata=metadata))


def _question(query: str | QueryBundle) -> str:
    return query if isinstance(query, str) else query.query_str


def _documents(nodes: Sequence[NodeWithScore]) -> list[str]:
    return texts([node for node in nodes if not is_chain(node)], MetadataMode.LLM)


def _pieces(text: str) -> Generator[str, None, None]:
    yield text


async def _apieces(text: str) -> AsyncGenerator[str, None]:
    yield text
