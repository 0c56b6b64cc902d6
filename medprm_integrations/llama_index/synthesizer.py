"""`MedPRMSynthesizer`: answers a query from its nodes with the best of n sampled chains."""

from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
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
from pydantic import BaseModel
from typing_extensions import Unpack, override

from medprm_integrations.llama_index.nodes import is_chain, texts, with_scores
from medprm_integrations.llama_index.prompts import TEMPLATE, checked_template, policy_template, prompt_values, replaced
from medprm_integrations.llama_index.responses import sharing, total_usage
from medprm_integrations.llama_index.sampler import Response as Drawn
from medprm_integrations.llama_index.sampler import asking, sample_of
from medprm_integrations.llama_index.unstreamed_llm import language_model, response_text
from medprm_integrations.shared.best_of_n import Choice, achoose, choose
from medprm_integrations.shared.jobs import Job, new_drawing
from medprm_integrations.shared.questions import Asked, without_feedback
from medprm_integrations.shared.ranking_metadata import KEY
from medprm_integrations.shared.settings import SamplingOptions, SamplingSettings
from medprm_scorer.scorer import MedPRM

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # imported there, and public

Scores = Sequence[float | None]

EMPTY = "Empty Response"
"""What LlamaIndex's synthesizers answer when nothing was retrieved."""


class MedPRMSynthesizer(BaseSynthesizer):
    """A response synthesizer that asks a language model n times, with the nodes as evidence, and selects one answer.

    The response is the winning sample as it was written. Its ranking is in `metadata["medprm"]` (`ranking_of` reads it
    back), with what `RankingMetadata` says; `source_nodes` are the nodes. A sample that fails does not end the others,
    and is warned of (`SamplesFailedWarning`), as documents are of which none could be read (`DocumentsLeftOutWarning`);
    if all fail, the first error is raised, with a note of the count. Where the `llm` has no async of its own (a
    `CustomLLM` without `achat`), async samples are asked for in threads, except with `output_cls`. Without nodes the
    answer is `Empty Response`, as with LlamaIndex's own synthesizers. Nodes made with `chain_node` are no evidence.

    When streaming, the answer comes in one piece once it is selected. With `output_cls` each sample is an object of
    that class, judged by what stands in its fields; one that breaks the schema cannot win, and nothing is streamed.

    Args:
        prm: The reward model.
        llm: The model to sample from, with a temperature above 0; None takes `Settings.llm`.
        text_qa_template: What the `llm` is asked, with `query_str` and `context_str` (numbered documents); the default
            asks for steps as the reward model reads them. `get_prompts` and `update_prompts` know it by this name.
        streaming: Give streaming responses.
        output_cls: Give answers of this class.
        callback_manager: As in LlamaIndex.
        settings: Those of `SamplingSettings`: `n`, `strategy`, `aggregate`, `agree`, `rules`, `answer`, `options`,
            `group`, `answer_field`, `max_concurrency`, `on_ranking`, `keep`, `question`.

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
        streaming: bool = False,
        output_cls: type[BaseModel] | None = None,
        callback_manager: CallbackManager | None = None,
        **settings: Unpack[SamplingOptions],
    ) -> None:
        self.settings = SamplingSettings(prm=prm, **settings)
        self.prm = prm
        llm = Settings.llm if llm is None else llm
        if isinstance(llm, StructuredLLM):
            output_cls = output_cls or llm.output_cls
            llm = llm.llm
        llm = language_model(llm)
        super().__init__(llm=llm, callback_manager=callback_manager, streaming=streaming, output_cls=output_cls)
        self._template: BasePromptTemplate = checked_template(
            policy_template() if text_qa_template is None else text_qa_template
        )

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
        choice = self._choose(query_str, text_chunks, (), response_kwargs)
        return cast("RESPONSE_TEXT_TYPE", self._answer(choice, _pieces))

    @override
    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """`get_response`, awaited."""
        choice = await self._achoose(query_str, text_chunks, (), response_kwargs)
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
            Exception: Every sample failed: the first one's error.
        """
        with self._reported(query) as report:
            choice = self._choose(_question(query), *_documents(nodes), response_kwargs) if nodes else None
            return report(_response(self._answer(choice, _pieces), choice, nodes, additional_source_nodes))

    @override
    async def asynthesize(
        self,
        query: str | QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """`synthesize`, with samples as tasks and the event loop left free."""
        with self._reported(query) as report:
            choice = await self._achoose(_question(query), *_documents(nodes), response_kwargs) if nodes else None
            return report(_response(self._answer(choice, _apieces), choice, nodes, additional_source_nodes))

    @contextmanager
    def _reported(self, query: str | QueryBundle) -> Iterator[Callable[[RESPONSE_TYPE], RESPONSE_TYPE]]:
        """Tell instrumentation and callbacks that a response is made, and which came out."""
        dispatcher.event(SynthesizeStartEvent(query=query))
        payload: dict[str, Any] = {EventPayload.QUERY_STR: _question(query)}
        with self.callback_manager.event(CBEventType.SYNTHESIZE, payload=payload) as event:

            def report(response: RESPONSE_TYPE) -> RESPONSE_TYPE:
                event.on_end(payload={EventPayload.RESPONSE: response})
                dispatcher.event(SynthesizeEndEvent(query=query, response=response))
                return response

            yield report

    def _choose(self, question: str, documents: Sequence[str], scores: Scores, values: dict[str, Any]) -> Choice[Any]:
        return choose(self.settings, self._job(question, documents, scores, values, is_async=False))

    async def _achoose(
        self, question: str, documents: Sequence[str], scores: Scores, values: dict[str, Any]
    ) -> Choice[Any]:
        return await achoose(self.settings, self._job(question, documents, scores, values, is_async=True))

    def _job(
        self, question: str, documents: Sequence[str], scores: Scores, values: dict[str, Any], *, is_async: bool
    ) -> Job[Drawn]:
        values = prompt_values(question, documents, values)
        judged = self.settings.asked(question, lambda: Asked(without_feedback(question))).text
        return Job(
            question=judged,
            drawing=new_drawing(self.settings, partial(sample_of, answer_field=self.settings.answer_field)),
            ask=asking(self._llm, self._template, values, self._output_cls, is_async=is_async),
            source=self._llm,
            usage=total_usage,
            documents=documents,
            scores=scores,
        )

    def _answer(self, choice: Choice[Any] | None, pieces: Callable[[str], Any]) -> Any:
        """The winning response's text, when streaming in one piece, or the object that it is."""
        answer = EMPTY if choice is None else choice.value
        if isinstance(answer, ChatResponse | CompletionResponse):
            answer = response_text(answer)
        return pieces(answer) if self._streaming and isinstance(answer, str) else answer


def _response(
    answer: Any,
    choice: Choice[Any] | None,
    nodes: Sequence[NodeWithScore],
    more_nodes: Sequence[NodeWithScore] | None,
) -> RESPONSE_TYPE:
    kinds: dict[type, type] = {str: Response, Generator: StreamingResponse, AsyncGenerator: AsyncStreamingResponse}
    kind = next((kinds[of] for of in kinds if isinstance(answer, of)), PydanticResponse)
    if choice is None:
        return cast("RESPONSE_TYPE", kind(answer))
    sources = [*nodes, *(more_nodes or ())]
    metadata = {**{node.node.node_id: node.node.metadata for node in sources}, KEY: choice.note}
    return cast("RESPONSE_TYPE", kind(answer, source_nodes=sources, metadata=metadata))


def _question(query: str | QueryBundle) -> str:
    return query if isinstance(query, str) else query.query_str


def _documents(nodes: Sequence[NodeWithScore]) -> tuple[list[str], list[float | None]]:
    """The texts of the nodes that are no chains, and their scores."""
    documents = [node for node in with_scores(nodes) if not is_chain(node)]
    return texts(documents, MetadataMode.LLM), [node.score for node in documents]


def _pieces(text: str) -> Generator[str, None, None]:
    yield text


async def _apieces(text: str) -> AsyncGenerator[str, None]:
    yield text
