"""`MedPRMRerank`: a node postprocessor that judges chains of thought against documents."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llama_index.core.instrumentation as instrument
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.prompts.mixin import PromptMixin
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import ConfigDict, Field, field_validator
from typing_extensions import override

from medprm_integrations.llama_index.copies import sharing
from medprm_integrations.llama_index.language_models import language_model
from medprm_integrations.llama_index.llm import MedPRMLLM
from medprm_integrations.llama_index.nodes import chain_node, copied, is_chain, noted, texts, with_scores
from medprm_integrations.llama_index.prompts import TEMPLATE, policy_template, prompt_values, replaced
from medprm_integrations.llama_index.responses import total_usage
from medprm_integrations.llama_index.sampler import Asking, Sample, asking, said
from medprm_integrations.shared.asking import adraw, draw
from medprm_integrations.shared.drawing import Drawing
from medprm_integrations.shared.evidence import warn_if_unread
from medprm_integrations.shared.known_settings import KnownSettings
from medprm_integrations.shared.ranking_metadata import KEY, ranking_metadata
from medprm_integrations.shared.settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_N,
    Aggregate,
    Agreement,
    Concurrency,
    RewardModel,
    SampleCount,
    Strategy,
    TopN,
)
from medprm_integrations.shared.sharing import share
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking

share()
dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # imported there, and public


class MedPRMRerank(KnownSettings, PromptMixin, BaseNodePostprocessor):
    """Ranks nodes that hold chains of thought; with an `llm`, samples chains first and puts the best before the nodes.

    Nodes made with `chain_node` are the candidates, the others are the documents that they are checked against. It
    returns `top_n` chains, each with its chain reward as `score`: the winner by the `strategy` first, then the others
    by reward. So scores are in order only with `strategy="best_of_n"`: the winner of a vote need not have the highest
    reward. Chains that cannot be scored are left out.

    Without chain nodes, and with an `llm`, it samples `n` chains from the query and the documents and returns the
    `top_n` best of them, followed by the documents with their own scores. So
    `index.as_query_engine(llm=llm, node_postprocessors=[MedPRMRerank(prm=prm, llm=llm)])` puts the best chain before
    them; the first `llm` is the one that answers, which else is LlamaIndex's default.

    All nodes that come back are copies. The first chain has the whole ranking in `metadata["medprm"]`, with `usage`,
    `samples_failed`, `samples_dropped` and `documents_left_out`; `ranking_of` reads it back from the node, and from a
    query engine's response. Samples that failed are warned of (`SamplesFailedWarning`), and so are documents of which
    none could be read (`DocumentsLeftOutWarning`). What is added to the metadata stays out of prompts and embeddings.

    Args:
        prm: The reward model.
        top_n: How many chains to return.
        llm: The model to sample from where there are no chain nodes, with a temperature above 0.
        n: How many samples.
        strategy: `weighted_vote`, `best_of_n` or `majority_vote`.
        aggregate: How step rewards become a chain reward.
        keep_retrieval_score: Keep the score that a chain node came with in `metadata["retrieval_score"]`.
        max_concurrency: Most calls of the `llm` at once.
        agree: Draw no more once so many samples give the same answer; None draws all n.
        text_qa_template: What the `llm` is asked, with `query_str` and `context_str` (numbered documents); the default
            asks for steps as the reward model reads them. `get_prompts` and `update_prompts` know it by this name.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from llama_index.core.schema import TextNode
        >>> rerank = MedPRMRerank(prm=MedPRM.from_pretrained())
        >>> nodes = [TextNode(text="Label: give 5 mg."), chain_node("Step 1: Give 5 mg. The answer is (A)")]
        >>> (best,) = rerank.postprocess_nodes(nodes, query_str="Which dose?")
        >>> 0 <= best.score <= 1, best.metadata["medprm"]["documents_used"]
        (True, 1)
    """

    prm: RewardModel = Field(repr=False, exclude=True)
    top_n: TopN = 1
    llm: LLM | None = Field(default=None, repr=False, exclude=True)
    n: SampleCount = DEFAULT_N
    strategy: Strategy = "weighted_vote"
    aggregate: Aggregate = "min"
    keep_retrieval_score: bool = False
    max_concurrency: Concurrency = DEFAULT_CONCURRENCY
    agree: Agreement | None = None
    text_qa_template: BasePromptTemplate = Field(default_factory=policy_template, repr=False, exclude=True)

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, validate_default=True)

    @field_validator("llm", mode="before")
    @classmethod
    def _samples_once(cls, llm: Any) -> Any:
        if llm is not None:
            language_model(llm)
        if isinstance(llm, MedPRMLLM):
            raise ValueError("llm must be a model to sample from, and not a MedPRMLLM, which samples itself")
        return llm

    @override
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "MedPRMRerank":
        return super().__deepcopy__(sharing(memo, self.llm, self.callback_manager))

    @classmethod
    @override
    def class_name(cls) -> str:
        return "MedPRMRerank"

    @override
    def _get_prompts(self) -> dict[str, BasePromptTemplate]:
        return {TEMPLATE: self.text_qa_template}

    @override
    def _update_prompts(self, prompts: dict[str, BasePromptTemplate]) -> None:
        self.text_qa_template = replaced(prompts, self.text_qa_template)

    @override
    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    @override
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        asked = self._read(nodes, query_bundle)
        if not asked.nodes:
            return []
        with self._reported(asked) as report:
            if asked.asking is not None:
                draw(asked.drawing, asked.asking.once, self.max_concurrency)
                self._check(asked)
            ranking = self.prm.rank(asked.question, asked.candidates, asked.documents, **self._choice)
            return report(self._ranked(asked, ranking))

    @override
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        asked = self._read(nodes, query_bundle)
        if not asked.nodes:
            return []
        with self._reported(asked) as report:
            if asked.asking is not None:
                await adraw(asked.drawing, asked.asking.aonce, self.max_concurrency)
                self._check(asked)
            ranking = await self.prm.arank(asked.question, asked.candidates, asked.documents, **self._choice)
            return report(self._ranked(asked, ranking))

    @property
    def _choice(self) -> dict[str, Any]:
        return {"strategy": self.strategy, "aggregate": self.aggregate}

    def _read(self, nodes: list[NodeWithScore], query: QueryBundle | None) -> "_Asked":
        """What is asked, refused before anything is paid for."""
        if query is None:
            raise InputError("the query is missing: pass query_str or query_bundle, since chains are judged as answers")
        asked = _Asked(query, with_scores(nodes), Drawing(self.n, said, agree=self.agree, answer=self.prm.read_answer))
        if not asked.nodes or asked.chains:
            return asked
        if self.llm is None:
            raise InputError(
                "there is nothing to judge: none of the nodes was made with chain_node, and there is no llm to sample "
                "chains from; make some, or give MedPRMRerank an llm"
            )
        if not asked.question.strip():
            raise InputError("the query must be a text that is not blank")
        shown = texts(asked.others, MetadataMode.LLM)
        asked.asking = asking(self.llm, self.text_qa_template, prompt_values(asked.question, shown))
        return asked

    def _check(self, asked: "_Asked") -> None:
        asked.drawing.check()
        asked.drawing.warn(self.llm)

    @contextmanager
    def _reported(self, asked: "_Asked") -> Iterator[Callable[[list[NodeWithScore]], list[NodeWithScore]]]:
        """Tell instrumentation and callbacks that nodes are ranked, and which came out."""
        name = self.prm.engine.name
        dispatcher.event(ReRankStartEvent(query=asked.query, nodes=asked.nodes, top_n=self.top_n, model_name=name))
        payload: dict[str, Any] = {
            EventPayload.NODES: asked.nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: asked.question,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:

            def report(nodes: list[NodeWithScore]) -> list[NodeWithScore]:
                event.on_end(payload={EventPayload.NODES: nodes})
                dispatcher.event(ReRankEndEvent(nodes=nodes))
                return nodes

            yield report

    def _ranked(self, asked: "_Asked", ranking: Ranking) -> list[NodeWithScore]:
        """The best chains as new nodes, the ranking with the first; after sampled ones, the documents."""
        warn_if_unread(ranking, asked.documents, self.prm.count_tokens)
        sampled = asked.asking is not None
        drawing = asked.drawing if sampled else None
        note = ranking_metadata(ranking, drawing, total_usage(asked.drawing.values))
        best = []
        for place, chain in enumerate(chain for chain in ranking.chains[: self.top_n] if chain.error is None):
            given = NodeWithScore(node=chain_node(chain.text)) if sampled else asked.chains[chain.index]
            notes: dict[str, Any] = {KEY: note} if place == 0 else {}
            if self.keep_retrieval_score and not sampled:
                notes["retrieval_score"] = given.score
            best.append(NodeWithScore(node=noted(given.node, notes), score=chain.reward(ranking.aggregate)))
        return [*best, *map(copied, asked.others)] if sampled else best


class _Asked:
    """One query on its way: its nodes, chains and documents apart, and the samples where chains are sampled."""

    def __init__(self, query: QueryBundle, nodes: list[NodeWithScore], drawing: Drawing[Sample]) -> None:
        self.query, self.nodes, self.drawing = query, nodes, drawing
        self.question = query.query_str
        self.chains = [node for node in nodes if is_chain(node)]
        self.others = [node for node in nodes if not is_chain(node)]
        self.documents = texts(self.others, MetadataMode.EMBED)
        self.asking: Asking | None = None

    @property
    def candidates(self) -> list[str]:
        return self.drawing.texts if self.asking is not None else texts(self.chains, MetadataMode.NONE)
