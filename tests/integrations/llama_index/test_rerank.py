"""`MedPRMRerank`: what a LlamaIndex postprocessor must do, chains given and chains sampled."""

import asyncio
import copy
import itertools
import json
import pickle
import warnings

import pytest
from llama_index.core import MockEmbedding, QueryBundle, Settings, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from pydantic import ValidationError

from medprm_integrations.llama_index import MedPRMLLM, MedPRMRerank, chain_node, ranking_of
from medprm_integrations.llama_index.nodes import DRAFT, is_chain
from medprm_integrations.shared.user_warnings import IdenticalSamplesWarning
from medprm_scorer import InputError, ModelError, ScoringError, policy_messages
from tests.support.llama_index_scripts import (
    BAD,
    GOOD,
    QUESTION,
    SECRET,
    WORSE,
    Events,
    Fixed,
    ScriptedLLM,
    document,
    documents_in,
    reading_prm,
)

LABEL = "Label: give 5 mg."


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def make(prm):
    def build(*answers, **options):
        llm = ScriptedLLM(answers=answers) if answers else None
        return MedPRMRerank(prm=prm, llm=llm, **options)

    return build


def chain(reward, letter="A", score=None):
    text = f"Step 1: Reason [{reward}].\nStep 2: The answer is ({letter}) [0.95]"
    return NodeWithScore(node=chain_node(text), score=score)


def run(rerank, nodes, how="sync", query=QUESTION):
    if how == "sync":
        return rerank.postprocess_nodes(nodes, query_str=query)
    return asyncio.run(rerank.apostprocess_nodes(nodes, query_str=query))


ways = pytest.mark.parametrize("how", ["sync", "async"])


def test_it_is_a_postprocessor_by_name_and_by_its_bases(make):
    assert BaseNodePostprocessor.__name__ in [base.__name__ for base in MedPRMRerank.__mro__]
    assert MedPRMRerank.class_name() == "MedPRMRerank"
    assert make().to_dict()["class_name"] == "MedPRMRerank"


@ways
def test_the_best_of_eight_come_back_in_order(make, how):
    rewards = [0.3, 0.8, 0.1, 0.9, 0.2, 0.7, 0.5, 0.6]
    nodes = [chain(reward) for reward in rewards]
    for top_n in (1, 3, 8, 20):
        found = run(make(top_n=top_n, strategy="best_of_n"), [document(LABEL), *nodes], how)
        assert [node.score for node in found] == pytest.approx(sorted(rewards, reverse=True)[:top_n])
        assert all(is_chain(node) for node in found)
    assert [node.node_id for node in found] == [nodes[place].node_id for place in (3, 1, 5, 7, 6, 0, 4, 2)]


@ways
def test_a_vote_puts_its_winner_first(make, how):
    nodes = [chain(0.6, "B"), chain(0.7, "B"), chain(0.9, "A")]
    found = run(make(top_n=3), nodes, how)
    assert [round(node.score, 2) for node in found] == [0.7, 0.9, 0.6]
    assert ranking_of(found[0]).answer == "B"
    assert run(make(strategy="majority_vote"), nodes, how)[0].node_id == nodes[1].node_id


def test_async_is_the_same_as_sync(make):
    nodes = [document(LABEL), *(chain(reward, letter) for reward in (0.2, 0.9, 0.4) for letter in "AB")]
    sync, later = (run(make(top_n=6), nodes, how) for how in ("sync", "async"))
    assert [(node.node_id, node.score) for node in sync] == [(node.node_id, node.score) for node in later]
    script = (BAD, GOOD, WORSE)
    sync, later = (
        run(make(*script, n=3, top_n=2, max_concurrency=1), [document(LABEL)], how) for how in ("sync", "async")
    )
    assert [(node.text, node.score) for node in sync] == [(node.text, node.score) for node in later]


@ways
def test_events_and_callbacks(make, how):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    rerank = make(top_n=2)
    rerank.callback_manager = CallbackManager([debug])
    nodes = [document(LABEL), chain(0.3), chain(0.8), chain(0.1)]
    with Events() as events:
        found = run(rerank, nodes, how)
    start, end = events.of("ReRankStartEvent", "ReRankEndEvent")
    assert (start.class_name(), start.query.query_str, start.top_n, start.model_name) == (
        "ReRankStartEvent",
        QUESTION,
        2,
        "reading",
    )
    assert [node.node_id for node in start.nodes] == [node.node_id for node in nodes]
    assert [node.node_id for node in end.nodes] == [node.node_id for node in found]
    ((begun, ended),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert begun.payload[EventPayload.QUERY_STR] == QUESTION
    assert begun.payload[EventPayload.TOP_K] == 2
    assert begun.payload[EventPayload.MODEL_NAME] == "reading"
    assert len(begun.payload[EventPayload.NODES]) == 4
    assert [node.node_id for node in ended.payload[EventPayload.NODES]] == [node.node_id for node in found]


@ways
def test_an_error_ends_the_callback_event(make, how):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    rerank = make()
    rerank.callback_manager = CallbackManager([debug])
    with Events() as events, pytest.raises(ScoringError):
        run(rerank, [chain_node(" ")], how)
    assert [event.class_name() for event in events.of("ReRankStartEvent", "ReRankEndEvent")] == ["ReRankStartEvent"]
    ((_, ended),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert isinstance(ended.payload[EventPayload.EXCEPTION], ScoringError)


@ways
@pytest.mark.parametrize("sampled", [False, True])
def test_nothing_of_the_callers_is_changed(make, how, sampled):
    nodes = [document(LABEL, source="x")] + ([] if sampled else [chain(0.3, score=0.1), chain(0.8, score=0.2)])
    rerank = make(*((BAD, GOOD) if sampled else ()), n=2, top_n=2, keep_retrieval_score=True)
    before, same = copy.deepcopy(nodes), list(nodes)
    found = run(rerank, nodes, how)
    assert nodes == before
    assert all(one is other for one, other in zip(nodes, same, strict=True))
    for node in found:  # what comes back may be changed without a trace in what was given
        node.score = -1
        node.node.metadata["new"] = 1
        node.node.excluded_llm_metadata_keys.append("new")
        node.node.set_content("other")
    assert nodes == before


@ways
def test_no_nodes_are_no_error(make, how):
    assert run(make(), [], how) == []
    assert run(make(GOOD), [], how) == []


@ways
def test_a_query_is_needed(make, how):
    for rerank in (make(), make(GOOD)):
        for nodes in ([], [chain(0.5)]):
            with pytest.raises(ValueError, match="query is missing"):
                run(rerank, nodes, how, query=None)
    with pytest.raises(InputError, match="blank"):
        run(make(), [chain(0.5)], how, query=" ")
    rerank = make(GOOD)
    with pytest.raises(InputError, match="blank"):
        run(rerank, [document(LABEL)], how, query=" ")
    assert rerank.llm.asked == []


def test_the_query_as_a_bundle(make):
    nodes = [chain(0.3), chain(0.8)]
    (best,) = make().postprocess_nodes(nodes, query_bundle=QueryBundle(QUESTION))
    assert best.score == pytest.approx(0.8)
    with pytest.raises(ValueError, match="both"):
        make().postprocess_nodes(nodes, query_bundle=QueryBundle(QUESTION), query_str=QUESTION)


@ways
def test_with_nothing_to_judge_the_error_says_what_to_do(make, how):
    with pytest.raises(InputError, match=r"chain_node.* llm") as caught:
        run(make(), [document(SECRET)], how)
    assert SECRET not in str(caught.value)
    with pytest.raises(InputError, match="node 0 must be a NodeWithScore, not str"):
        run(make(), [SECRET], how)


@ways
def test_documents_are_read_as_by_a_language_model_and_chains_bare(make, prm, how):
    doc = document(LABEL, drug="Zoravine", page=7)
    doc.node.excluded_embed_metadata_keys = ["page"]
    doc.node.excluded_llm_metadata_keys = ["drug"]
    node = chain_node(GOOD)
    node.metadata["source"] = "policy"
    run(make(), [doc, node], how)
    shown = prm.engine.calls[-1][0]
    assert "page: 7" in shown
    assert "drug" not in shown
    assert "policy" not in shown
    run(make(GOOD, n=1), [doc], how)
    assert "page: 7" in prm.engine.calls[-1][0]


@ways
def test_sampling_reads_documents_as_a_language_model_may(make, how):
    doc = document(LABEL, drug="Zoravine", page=7)
    doc.node.excluded_embed_metadata_keys = ["page"]
    doc.node.excluded_llm_metadata_keys = ["drug"]
    rerank = make(GOOD, n=1)
    run(rerank, [doc], how)
    asked = rerank.llm.asked[0][0][-1].content
    assert "page: 7" in asked
    assert "Zoravine" not in asked


@ways
def test_scores_stay_out_of_prompts(make, how):
    nodes = [document(LABEL, source="x"), chain(0.3, score=0.111), chain(0.8, score=0.222)]
    found = run(make(top_n=2, keep_retrieval_score=True), nodes, how)
    found += run(make(BAD, GOOD, n=2), nodes[:1], how)
    assert found[0].metadata["retrieval_score"] == 0.222
    assert found[0].metadata["medprm"]["answer"] == "A"
    for node, (mode, extra) in itertools.product(found, [(MetadataMode.LLM, "source"), (MetadataMode.EMBED, "source")]):
        shown = node.get_content(metadata_mode=mode)
        assert not any(word in shown for word in ("medprm", "retrieval_score", "0.111", "0.222", "votes"))
        assert (f"{extra}: " in shown) == ("source" in node.metadata)


def test_the_retrieval_score_is_kept_on_demand_only(make):
    (best,) = run(make(), [chain(0.8, score=0.2)])
    assert "retrieval_score" not in best.metadata
    (best,) = run(make(keep_retrieval_score=True), [chain(0.8, score=0.2)])
    assert best.metadata["retrieval_score"] == 0.2


@ways
def test_a_chain_is_sampled_and_put_before_the_documents(make, prm, how):
    nodes = [document(LABEL, 0.7), document("More.", 0.3)]
    rerank = make(BAD, GOOD, WORSE, n=3, max_concurrency=1)
    best, *others = run(rerank, nodes, how)
    assert (best.text, is_chain(best), best.score) == (DRAFT + GOOD, True, pytest.approx(0.9))
    assert [(node.node_id, node.score, node.text) for node in others] == [
        (node.node_id, node.score, node.text) for node in nodes
    ]
    ranking = ranking_of(best)
    assert (ranking.answer, len(ranking.chains), ranking.documents_used) == ("A", 3, 2)
    assert best.metadata["medprm"]["usage"] == {"input_tokens": 6, "output_tokens": 9, "total_tokens": 15}
    assert documents_in(prm) == [f"1: {LABEL}", "2: More."]
    asked = [{"role": m.role.value, "content": m.content} for m in rerank.llm.asked[0][0]]
    assert asked == policy_messages(QUESTION, [LABEL, "More."])
    best, second, *_ = run(make(BAD, GOOD, WORSE, n=3, top_n=2), nodes, how)
    assert (second.text, is_chain(second), "medprm" in second.metadata) == (DRAFT + BAD, True, False)


def test_given_chains_are_judged_and_none_are_sampled(make):
    rerank = make(GOOD)
    assert [node.text for node in run(rerank, [chain_node(BAD), document(LABEL)])] == [BAD]
    assert rerank.llm.asked == []


@ways
def test_chains_that_cannot_be_scored_are_left_out(make, how):
    found = run(make(top_n=3), [chain_node(" "), chain_node(GOOD)], how)
    assert [node.text for node in found] == [GOOD]
    assert [node.text for node in run(make(" ", GOOD, n=2, top_n=2), [document(LABEL)], how)] == [DRAFT + GOOD, LABEL]


@ways
def test_failed_samples(make, how):
    best, _ = run(make(ValueError(SECRET), GOOD, TimeoutError(), n=3, replacements=0), [document(LABEL)], how)
    assert best.metadata["medprm"]["samples_failed"] == 2
    with pytest.raises(TimeoutError, match="all 3 samples failed"):
        run(make(TimeoutError(), ValueError(), ValueError(), n=3, max_concurrency=1), [document(LABEL)], how)


@ways
def test_agreement_stops_early_and_identical_samples_warn(make, how):
    rerank = make(GOOD, BAD, GOOD, n=10, agree=2, max_concurrency=1)
    run(rerank, [document(LABEL)], how)
    assert len(rerank.llm.asked) == 3
    with pytest.warns(IdenticalSamplesWarning):
        run(make(GOOD, n=2), [document(LABEL)], how)


def test_sampling_is_parallel_but_bounded(prm):
    for how in ("sync", "async"):
        llm = ScriptedLLM(answers=[GOOD, BAD], delay=0.02)
        run(MedPRMRerank(prm=prm, llm=llm, n=7, max_concurrency=2), [document(LABEL)], how)
        assert (llm.most_at_once, len(llm.asked)) == (2, 7)


def test_your_own_prompt(make):
    rerank = make(GOOD, n=1)
    assert list(rerank.get_prompts()) == ["text_qa_template", "refine_template"]
    rerank.update_prompts({"text_qa_template": PromptTemplate("<{context_str}> {query_str}")})
    run(rerank, [document("{query_str} and {x}")])
    assert rerank.llm.asked[0][0][-1].content == f"<Document 1: {{query_str}} and {{x}}> {QUESTION}"


def test_a_text_model_is_asked_in_one_text(prm):
    llm = ScriptedLLM(answers=[BAD, GOOD], is_chat=False)
    best, _ = run(MedPRMRerank(prm=prm, llm=llm, n=2), [document(LABEL)])
    assert best.text == DRAFT + GOOD
    prompt, kwargs = llm.asked[0]
    assert prompt.startswith("system: Solve the question step by step")
    assert prompt.endswith("assistant: ")
    assert kwargs["formatted"] is True


@ways
def test_one_line_in_a_query_engine(prm, how):
    """The answering model reads the best chain before the documents."""
    sampler, answerer = ScriptedLLM(answers=[BAD, GOOD, WORSE]), ScriptedLLM(answers=["So (A)."])
    retriever = Fixed([document(LABEL, 0.8), document("Noise", 0.1)])
    synthesizer = get_response_synthesizer(llm=answerer)
    engine = RetrieverQueryEngine(
        retriever,
        response_synthesizer=synthesizer,
        node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=0.5), MedPRMRerank(prm=prm, llm=sampler, n=3)],
    )
    response = engine.query(QUESTION) if how == "sync" else asyncio.run(engine.aquery(QUESTION))
    assert str(response) == "So (A)."
    assert [node.text for node in response.source_nodes] == [DRAFT + GOOD, LABEL]
    prompt = answerer.asked[0][0][-1].content
    assert prompt.index(DRAFT + GOOD) < prompt.index(LABEL)
    assert "medprm" not in prompt
    assert ranking_of(response.source_nodes[0]).answer == "A"
    assert response.metadata[response.source_nodes[0].node_id]["medprm"]["answer"] == "A"


def test_one_line_on_an_index(prm):
    nodes = [TextNode(text=LABEL), chain_node(BAD)]
    index = VectorStoreIndex(nodes[:1], embed_model=MockEmbedding(embed_dim=4))
    sampler, answerer = ScriptedLLM(answers=[BAD, GOOD]), ScriptedLLM(answers=["So (A)."])
    engine = index.as_query_engine(llm=answerer, node_postprocessors=[MedPRMRerank(prm=prm, llm=sampler, n=2)])
    assert [node.text for node in engine.query(QUESTION).source_nodes] == [DRAFT + GOOD, LABEL]
    # chains that lie in the index are candidates when they are retrieved
    index = VectorStoreIndex([*nodes, chain_node(GOOD)], embed_model=MockEmbedding(embed_dim=4))
    rerank = MedPRMRerank(prm=prm)
    engine = index.as_query_engine(llm=answerer, similarity_top_k=3, node_postprocessors=[rerank])
    response = engine.query(QUESTION)
    assert [node.text for node in response.source_nodes] == [GOOD]
    assert documents_in(prm) == [f"1: {LABEL}"]


def test_settings_copies_pickles_and_reprs(make, prm):
    rerank = make(GOOD, BAD, n=3, top_n=2, strategy="best_of_n", keep_retrieval_score=True)
    settings = {"n": 3, "top_n": 2, "strategy": "best_of_n", "aggregate": "min", "keep_retrieval_score": True}
    assert settings.items() <= json.loads(rerank.to_json()).items()
    assert not {"prm", "llm", "text_qa_template", "callback_manager"} & set(rerank.to_dict())
    with pytest.raises(ModelError, match="cannot be pickled"):
        pickle.dumps(rerank)
    for again in (copy.copy(rerank), copy.deepcopy(rerank)):
        assert again.prm is prm
        assert again.top_n == 2
        assert run(again, [chain(0.5)])[0].score == pytest.approx(0.5)
    found = run(make(SECRET + " [0.9]", BAD, n=2), [document(SECRET)])
    assert not any(text in repr(rerank) + str(rerank) for text in (GOOD, SECRET))
    assert SECRET not in repr(found[0].metadata["medprm"])
    json.dumps([node.to_dict() for node in found])


@pytest.mark.parametrize("bad", [{"top_n": 0}, {"n": 0}, {"strategy": "best"}, {"prm": "model"}, {"llm": SECRET}])
def test_settings_are_checked(prm, bad):
    with pytest.raises(ValidationError) as caught:
        MedPRMRerank(**{"prm": prm, **bad})
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError, match="samples itself"):
        MedPRMRerank(prm=prm, llm=MedPRMLLM(llm=ScriptedLLM(answers=[GOOD]), prm=prm))


def test_chain_nodes_keep_their_kind(prm):
    node = chain_node(GOOD)
    assert is_chain(TextNode.from_dict(json.loads(json.dumps(node.to_dict()))))
    assert not is_chain(TextNode(text=GOOD))
    with pytest.raises(InputError, match="must be a text"):
        chain_node(None)


@ways
def test_hostile_text_is_only_text(make, how):
    hostile = f"Step 1: <|eot_id|> ки \ud800 {{query_str}} [0.9] {SECRET}\nStep 2: The answer is (A) [0.9]"
    best, _ = run(make(hostile, BAD, n=2), [document(" ки + {context_str}")], how, query="<|begin_of_text|>? {x}")
    assert best.metadata["medprm"]["best"]["index"] in (0, 1)


def test_with_the_demo_model(demo):
    nodes = [document(LABEL), chain_node(GOOD), chain_node(BAD)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (sync,), (later,) = (run(MedPRMRerank(prm=demo), nodes, how) for how in ("sync", "async"))
    ranking = demo.rank(QUESTION, [GOOD, BAD], [LABEL])
    assert (sync.text, sync.score) == (ranking.best.text, pytest.approx(ranking.best.reward(), abs=1e-6))
    assert (later.text, later.score) == (sync.text, pytest.approx(sync.score, abs=1e-6))


def test_settings_llm_is_never_taken_by_itself(prm):
    """Sampling is asked for with `llm=`; a model that is set for everything must not be paid for by surprise."""
    Settings.llm = ScriptedLLM(answers=[GOOD])
    try:
        with pytest.raises(InputError, match="nothing to judge"):
            run(MedPRMRerank(prm=prm), [document(LABEL)])
    finally:
        Settings._llm = None
