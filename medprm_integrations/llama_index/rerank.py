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
from pydantic import Field, field_validator
from typing_extensions import override

from medprm_integrations.llama_index.nodes import chain_node, copied, is_chain, noted, texts, with_scores
from medprm_integrations.llama_index.prompts import TEMPLATE, checked_template, policy_template, prompt_values, replaced
from medprm_integrations.llama_index.responses import sharing, total_usage
from medprm_integrations.llama_index.sampler import Response, asking, sample_of
from medprm_integrations.llama_index.unstreamed_llm import language_model
from medprm_integrations.shared.best_of_n import Choice, achoose, choose, only
from medprm_integrations.shared.jobs import Job, new_drawing, request_of
from medprm_integrations.shared.questions import Asked, without_feedback
from medprm_integrations.shared.ranking import arank_all, rank_all
from medprm_integrations.shared.ranking_metadata import KEY, ranking_metadata
from medprm_integrations.shared.settings import SamplingSettings
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking, RankRequest, ScoredChain
from medprm_scorer.sampling.rules import Sample

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # imported there, and public


class MedPRMRerank(PromptMixin, BaseNodePostprocessor, SamplingSettings):
    """Ranks nodes that hold chains of thought; with an `llm`, samples chains first and puts the best before the nodes.

    Nodes made with `chain_node` are the candidates, the others are the documents that they are checked against. It
    returns `top_n` chains, each with its chain reward as `score`: the winner by the `strategy` first, then the others
    by reward. So scores are in order only with `strategy="best_of_n"`: the winner of a vote need not have the highest
    reward. Chains that cannot be scored are left out.

    Without chain nodes, and with an `llm`, it samples `n` chains from the query and the documents and returns the
    `top_n` best of them, followed by the documents with their own scores. So
    `index.as_query_engine(llm=llm, node_postprocessors=[MedPRMRerank(prm=prm, llm=llm)])` puts the best chain before
    them; the first `llm` is the one that answers, which else is LlamaIndex's default.

    All nodes that come back are copies. The first chain has the whole ranking in `metadata["medprm"]`, with what
    `RankingMetadata` says; `ranking_of` reads it back from the node, and from a query engine's response. Samples that
    failed are warned of (`SamplesFailedWarning`), and so are documents of which none could be read
    (`DocumentsLeftOutWarning`). What is added to the metadata stays out of prompts and embeddings.

    Args:
        top_n: How many chains to return.
        llm: The model to sample from where there are no chain nodes, with a temperature above 0.
        keep_retrieval_score: Keep the score that a chain node came with in `metadata["retrieval_score"]`.
        text_qa_template: What the `llm` is asked, with `query_str` and `context_str` (numbered documents); the default
            asks for steps as the reward model reads them. `get_prompts` and `update_prompts` know it by this name.
        settings: Those of `SamplingSettings`: `prm`, `n`, `strategy`, `aggregate`, `agree`, `rules`, `answer`,
            `options`, `group`, `max_concurrency`, `on_ranking`, `keep`, `question`.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from llama_index.core.schema import TextNode
        >>> rerank = MedPRMRerank(prm=MedPRM.from_pretrained())
        >>> nodes = [TextNode(text="Label: give 5 mg."), chain_node("Step 1: Give 5 mg. The answer is (A)")]
        >>> (best,) = rerank.postprocess_nodes(nodes, query_str="Which dose?")
        >>> 0 <= best.score <= 1, best.metadata["medprm"]["documents_used"]
        (True, 1)
    """

    top_n: int = Field(default=1, ge=1, strict=True)
    llm: LLM | None = Field(default=None, repr=False, exclude=True)
    keep_retrieval_score: bool = False
    text_qa_template: BasePromptTemplate = Field(default_factory=policy_template, repr=False, exclude=True)

    @field_validator("llm", mode="before")
    @classmethod
    def _is_language_model(cls, llm: Any) -> Any:
        return None if llm is None else language_model(llm)

    @field_validator(TEMPLATE, mode="before")
    @classmethod
    def _is_template(cls, template: Any) -> Any:
        return checked_template(template)

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
        asked = _Asked(query_bundle, nodes)
        if not asked.nodes:
            return []
        with self._reported(asked) as report:
            if asked.chains:
                return report(self._ranked(asked, only(rank_all(self, [asked.request(self)]))))
            return report(self._sampled(asked, choose(self, self._job(asked, is_async=False))))

    @override
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        asked = _Asked(query_bundle, nodes)
        if not asked.nodes:
            return []
        with self._reported(asked) as report:
            if asked.chains:
                return report(self._ranked(asked, only(await arank_all(self, [asked.request(self)]))))
            return report(self._sampled(asked, await achoose(self, self._job(asked, is_async=True))))

    def _job(self, asked: "_Asked", *, is_async: bool) -> Job[Response]:
        if self.llm is None:
            raise InputError(
                "there is nothing to judge: none of the nodes was made with chain_node, and there is no llm to sample "
                "chains from; make some, or give MedPRMRerank an llm"
            )
        values = prompt_values(asked.question, texts(asked.others, MetadataMode.LLM))
        return Job(
            question=asked.judged(self),
            drawing=new_drawing(self, sample_of),
            ask=asking(self.llm, self.text_qa_template, values, None, is_async=is_async),
            source=self.llm,
            usage=total_usage,
            documents=asked.documents,
            scores=[node.score for node in asked.others],
        )

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
        """The best of the chain nodes, as new nodes."""
        best: list[NodeWithScore] = []
        for chain in self._best(ranking):
            node = asked.chains[chain.index]
            notes: dict[str, Any] = {} if best else {KEY: ranking_metadata(ranking, keep=self.keep)}
            if self.keep_retrieval_score:
                notes["retrieval_score"] = node.score
            best.append(NodeWithScore(node=noted(node.node, notes), score=chain.reward(ranking.aggregate)))
        return best

    def _sampled(self, asked: "_Asked", choice: Choice[Response]) -> list[NodeWithScore]:
        """The best of the sampled chains, and the documents after them."""
        assert choice.ranking is not None  # every response is a candidate
        chains = self._best(choice.ranking)
        nodes = [
            noted(chain_node(chain.text), {} if place else {KEY: choice.note}) for place, chain in enumerate(chains)
        ]
        best = [
            NodeWithScore(node=node, score=chain.reward(choice.ranking.aggregate))
            for node, chain in zip(nodes, chains, strict=True)
        ]
        return [*best, *map(copied, asked.others)]

    def _best(self, ranking: Ranking) -> list[ScoredChain]:
        return [chain for chain in ranking.chains[: self.top_n] if chain.error is None]


class _Asked:
    """One query: its nodes, chains and documents apart.

    Raises:
        InputError: The query is missing, or something is no node.
    """

    def __init__(self, query: QueryBundle | None, nodes: list[NodeWithScore]) -> None:
        if query is None:
            raise InputError("the query is missing: pass query_str or query_bundle, since chains are judged as answers")
        self.query, self.question, self.nodes = query, query.query_str, with_scores(nodes)
        self.chains = [node for node in self.nodes if is_chain(node)]
        self.others = [node for node in self.nodes if not is_chain(node)]
        self.documents = texts(self.others, MetadataMode.LLM)  # as the sampler reads them

    def judged(self, settings: SamplingSettings) -> str:
        return settings.asked(self.query, lambda: Asked(without_feedback(self.question))).text

    def request(self, settings: SamplingSettings) -> RankRequest:
        chains = [Sample(text) for text in texts(self.chains, MetadataMode.NONE)]
        return request_of(settings, self.judged(settings), chains, self.documents)
