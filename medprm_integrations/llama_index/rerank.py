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
from pydantic import Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Self, override

from medprm_integrations.llama_index.events import announce
from medprm_integrations.llama_index.mistakes import check_can_be_made
from medprm_integrations.llama_index.nodes import (
    IsEvidence,
    chain_text,
    draft_node,
    evidence_among,
    evidence_texts,
    is_chain,
    marked_as_read,
    noted,
    texts,
    with_scores,
)
from medprm_integrations.llama_index.prompts import (
    TEMPLATES,
    checked_template,
    policy_template,
    refining_template,
    replaced,
)
from medprm_integrations.llama_index.responses import sharing
from medprm_integrations.llama_index.sampler import Response, sample_of
from medprm_integrations.llama_index.stepwise import check_search, found_nodes, searched
from medprm_integrations.llama_index.unstreamed_llm import language_model
from medprm_integrations.llama_index.window import PartsBefore, asking_within_window
from medprm_integrations.shared.best_of_n import Choice, achoose, choose, only
from medprm_integrations.shared.doubt import settle
from medprm_integrations.shared.evidence import Evidence, within_budget
from medprm_integrations.shared.explaining import aexplain_winner, explain_winner
from medprm_integrations.shared.jobs import Job, new_drawing, request_of
from medprm_integrations.shared.questions import Asked, without_feedback
from medprm_integrations.shared.ranking import arank_all, rank_all
from medprm_integrations.shared.ranking_metadata import KEY, RankingMetadata, ranking_metadata
from medprm_integrations.shared.search_settings import SearchingSettings
from medprm_integrations.shared.stepwise import Searched, asearch_all, search_all
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking, RankRequest, ScoredChain
from medprm_scorer.sampling.rules import Sample

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # imported there, and public


class MedPRMRerank(PromptMixin, BaseNodePostprocessor, SearchingSettings):
    """Ranks nodes that hold chains of thought; with an `llm`, samples chains first and puts the best before the nodes.

    Nodes made with `chain_node` are the candidates, and the others are the documents against which they are checked. It
    returns `top_n` chains, each with its chain reward as `score`: the winner by the `strategy` first, then the others
    by reward. So scores are in descending order only with `strategy="best_of_n"`: the winner of a vote need not have
    the highest reward. Chains that cannot be scored are left out.

    With an `llm` but without chain nodes, it samples `n` chains from the query and the documents and returns the
    `top_n` best, followed by the documents with their own scores. So `index.as_query_engine(llm=llm,
    node_postprocessors=[MedPRMRerank(prm=prm, llm=llm)])` puts the best chain before the documents; the first `llm` is
    the one that answers (without it, LlamaIndex's default).

    A sampled chain begins with the line `Draft answer of a language model, not a source:`, and has no content that
    could be cited: a `CitationQueryEngine` gives it no number and leaves it out of its prompt and its `source_nodes`
    (keep its `metadata_mode`, and take the ranking with `on_ranking`). To select among answers with citations, give
    that engine a `MedPRMSynthesizer` as `response_synthesizer` instead.

    All returned nodes are copies. The first chain has the whole ranking in `metadata["medprm"]`, with what
    `RankingMetadata` describes; `ranking_of` reads it back from the node, and from a query engine's response. Documents
    have `metadata["medprm_read"]`, which says whether they were read; those that fit are chosen by score. Failed
    samples give a `SamplesFailedWarning`, and documents that were not read give a `DocumentsLeftOutWarning`. The added
    metadata stay out of prompts and embeddings.

    With an `llm`, the engine's own LLM writes the answer, and nothing judges it: the ranking, and what `trust` and
    `on_doubt` do, are about the draft. For an answer that was judged, use `MedPRMSynthesizer`.

    Args:
        top_n: How many chains to return.
        llm: The model to sample from if there are no chain nodes, with a temperature above 0.
        keep_retrieval_score: Keep a chain node's original score in `metadata["retrieval_score"]`.
        text_qa_template: The prompt for the `llm`, with `query_str` and `context_str` (numbered documents); the default
            asks for steps in the form that the reward model reads. It has this name in `get_prompts` and
            `update_prompts`.
        refine_template: The prompt with the next documents if not all fit in its context window, as in
            `MedPRMSynthesizer`.
        is_evidence: Your own function that decides whether chains are checked against a node; None uses
            `nodes.is_evidence`: no language model wrote it.
        settings: Those of `SamplingSettings`: `prm`, `n`, `strategy`, `aggregate`, `stop`, `agree`, `rules`, `timeout`,
            `deadline`, `replacements`, `quorum`, `max_tokens_total`, `several_per_call`, `on_sample`, `answer`,
            `options`, `group`, `max_concurrency`, `on_ranking`, `keep`, `explain`, `trust`, `on_doubt`, `doubt_answer`,
            `question`. `search=` (a `StepSearch`) chooses among steps while they are written, instead of whole samples.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from llama_index.core.schema import TextNode
        >>> from medprm_integrations.llama_index import chain_node
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
    refine_template: BasePromptTemplate = Field(default_factory=refining_template, repr=False, exclude=True)
    is_evidence: IsEvidence | None = Field(default=None, repr=False, exclude=True)

    @property
    @override
    def most_candidates(self) -> int | None:
        return None if self.llm is None else super().most_candidates

    @field_validator("llm", mode="before")
    @classmethod
    def _is_language_model(cls, llm: Any) -> Any:
        return None if llm is None else language_model(llm)

    @field_validator(*TEMPLATES, mode="before")
    @classmethod
    def _is_template(cls, template: Any, info: ValidationInfo) -> Any:
        return checked_template(template, str(info.field_name))

    @model_validator(mode="after")
    def _can_write_steps(self) -> Self:
        check_search(self, self.llm)
        return self

    @override
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "MedPRMRerank":
        return super().__deepcopy__(sharing(memo, self.llm, self.callback_manager))

    @classmethod
    @override
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        check_can_be_made(cls, kwargs)
        return super().from_dict(data, **kwargs)

    @classmethod
    @override
    def class_name(cls) -> str:
        return "MedPRMRerank"

    @override
    def _get_prompts(self) -> dict[str, BasePromptTemplate]:
        return {name: getattr(self, name) for name in TEMPLATES}

    @override
    def _update_prompts(self, prompts: dict[str, BasePromptTemplate]) -> None:
        for name, template in replaced(prompts).items():
            setattr(self, name, template)

    @override
    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    @override
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        asked = _Asked(query_bundle, nodes, self)
        if not asked.nodes:
            return []
        with self._reported(asked) as report:
            if asked.chains:
                to_rank = asked.chains_to_rank()
                ranking = only(rank_all(self, *to_rank))
                note = ranking_metadata(ranking, keep=self.keep)
                best = self._ranked(asked, ranking, note)
                explain_winner(self, ranking, note, only(to_rank[1]))
                return report(best)
            if self.search is not None:
                return report(self._sampled(asked, only(search_all(self, [self._searched(asked, is_async=False)]))))
            return report(self._sampled(asked, choose(self, self._job(asked, is_async=False))))

    @override
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        asked = _Asked(query_bundle, nodes, self)
        if not asked.nodes:
            return []
        with self._reported(asked) as report:
            if asked.chains:
                to_rank = asked.chains_to_rank()
                ranking = only(await arank_all(self, *to_rank))
                note = ranking_metadata(ranking, keep=self.keep)
                best = self._ranked(asked, ranking, note)
                await aexplain_winner(self, ranking, note, only(to_rank[1]))
                return report(best)
            if self.search is not None:
                found = await asearch_all(self, [self._searched(asked, is_async=True)])
                return report(self._sampled(asked, only(found)))
            return report(self._sampled(asked, await achoose(self, self._job(asked, is_async=True))))

    def _searched(self, asked: "_Asked", *, is_async: bool) -> Searched[Any]:
        return searched(
            self,
            self._job(asked, is_async=is_async),
            self.text_qa_template,
            asked.question,
            texts(asked.others, MetadataMode.LLM),
            is_async=is_async,
        )

    def _job(self, asked: "_Asked", *, is_async: bool) -> Job[Response]:
        if self.llm is None:
            raise InputError(
                "there is nothing to judge: none of the nodes was made with chain_node, and there is no llm to sample "
                "chains from; make some, or pass an llm to MedPRMRerank"
            )
        templates = {name: getattr(self, name) for name in TEMPLATES}
        before = PartsBefore()
        asking = asking_within_window(
            self.llm,
            templates,
            asked.question,
            texts(asked.others, MetadataMode.LLM),
            is_async=is_async,
            before=before,
        )
        return Job(
            question=asked.judged.text,
            cautions=asked.judged.cautions,
            drawing=new_drawing(self, sample_of),
            ask=asking.one,
            ask_several=asking.several if self.several_per_call else None,
            source=self.llm,
            usage=before.usage,
            documents=asked.documents,
            scores=asked.scores,
        )

    @contextmanager
    def _reported(self, asked: "_Asked") -> Iterator[Callable[[list[NodeWithScore]], list[NodeWithScore]]]:
        """Report the ranking of nodes and its result to instrumentation and callbacks."""
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

    def _ranked(self, asked: "_Asked", ranking: Ranking, note: RankingMetadata) -> list[NodeWithScore]:
        """The best of the chain nodes, as new nodes; the first has the metadata object itself, not a copy."""
        said = settle(self, ranking, note)
        announce(ranking)
        if said is not None:
            return [_said(said, ranking, note)]
        best: list[NodeWithScore] = []
        for chain in self._best(ranking):
            node = asked.chains[chain.index]
            notes: dict[str, Any] = {} if best else {KEY: note}
            if self.keep_retrieval_score:
                notes["retrieval_score"] = node.score
            best.append(NodeWithScore(node=noted(node.node, notes), score=chain.reward(ranking.aggregate)))
        return best

    def _sampled(self, asked: "_Asked", choice: Choice[Response]) -> list[NodeWithScore]:
        """The best of the sampled chains, and the documents after them."""
        assert choice.ranking is not None  # every response is a candidate
        announce(choice.ranking, choice.note)
        found, read = found_nodes(choice.ranking), choice.ranking.documents_read
        documents = marked_as_read([*asked.others, *found], [*asked.evidence, *found], read, choice.note)
        if choice.said is not None:
            return [_said(choice.said, choice.ranking, choice.note), *documents]
        best = [
            NodeWithScore(
                node=noted(draft_node(chain.text), {} if place else {KEY: choice.note}),
                score=chain.reward(choice.ranking.aggregate),
            )
            for place, chain in enumerate(self._best(choice.ranking))
        ]
        return [*best, *documents]

    def _best(self, ranking: Ranking) -> list[ScoredChain]:
        return [chain for chain in ranking.chains[: self.top_n] if chain.error is None]


def _said(text: str, ranking: Ranking, note: RankingMetadata) -> NodeWithScore:
    """The node that is placed before the documents instead of chains that are not trusted."""
    return NodeWithScore(node=noted(draft_node(text), {KEY: note}), score=ranking.best.reward(ranking.aggregate))


class _Asked:
    """One query, with its chains and documents separated.

    Raises:
        InputError: The query is missing, or something is not a node.
    """

    def __init__(self, query: QueryBundle | None, nodes: list[NodeWithScore], settings: MedPRMRerank) -> None:
        if query is None:
            raise InputError("the query is missing: pass query_str or query_bundle, since chains are judged as answers")
        self.query, self.question, self.nodes = query, query.query_str, with_scores(nodes)
        self._settings = settings
        self.chains = [node for node in self.nodes if is_chain(node)]
        self.others = [node for node in self.nodes if not is_chain(node)]
        self.evidence = evidence_among(self.others, rule=settings.is_evidence)
        self.documents = evidence_texts(self.evidence)  # as the sampler reads them
        self.scores = [node.score for node in self.evidence]
        self.judged = settings.asked(query, lambda: Asked(without_feedback(self.question)))

    def chains_to_rank(self) -> tuple[list[RankRequest], list[Evidence], list[tuple[str, ...]]]:
        """The given chains, with the documents that fit, for `rank_all`."""
        found = within_budget(self.documents, self._settings.prm.count_tokens, scores=self.scores)
        chains = [Sample(chain_text(node)) for node in self.chains]
        request = request_of(self._settings, self.judged.text, chains, found.texts)
        return [request], [found], [self.judged.cautions]
