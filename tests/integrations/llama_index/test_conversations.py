"""What is judged as the question: in conversations, after retries, and by a function of one's own."""

import asyncio

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.query_engine import RetrieverQueryEngine, RetryQueryEngine
from llama_index.core.settings import Settings

from medprm_integrations.llama_index import (
    MedPRMEvaluator,
    MedPRMLLM,
    MedPRMRerank,
    MedPRMSynthesizer,
    chain_node,
    ranking_of,
)
from tests.support.llama_index_scripts import (
    BAD,
    GOOD,
    QUESTION,
    Fixed,
    ScriptedLLM,
    document,
    documents_in,
    reading_prm,
)

NODES = [document("Label: give 5 mg.")]
TOGETHER = f"{QUESTION}\n\nAnd why not 9?"
RETRY = f"Here is a previous bad answer.\n{BAD}\nHere is some feedback.\nBad.\nNow answer the question.\n{QUESTION}"


@pytest.fixture
def prm():
    return reading_prm()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_follow_up(prm, is_async):
    llm = MedPRMLLM(llm=ScriptedLLM(answers=[BAD, GOOD]), prm=prm, n=2, max_concurrency=1)
    turns = [ChatMessage(QUESTION), ChatMessage(GOOD, role="assistant"), ChatMessage("And why not 9?")]
    ranking = ranking_of(asyncio.run(llm.achat(turns)) if is_async else llm.chat(turns))
    assert ranking.question == TOGETHER
    assert any("put together from 2 messages" in caution for caution in ranking.cautions)


def test_a_chat_engines_second_turn(prm):
    seen = []
    llm = MedPRMLLM(llm=ScriptedLLM(answers=[BAD, GOOD]), prm=prm, n=2, max_concurrency=1, on_ranking=seen.append)
    engine = ContextChatEngine.from_defaults(retriever=Fixed(NODES), llm=llm)
    engine.chat(QUESTION)
    engine.chat("And why not 9?")
    assert [ranking.question for ranking in seen] == [QUESTION, TOGETHER]
    assert [ranking.documents_used for ranking in seen] == [1, 1]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_is_judged_by_the_question_itself(prm, is_async):
    given = {"prm": prm, "llm": ScriptedLLM(answers=[GOOD, BAD]), "n": 2, "max_concurrency": 1}
    synthesizer, rerank = MedPRMSynthesizer(**given), MedPRMRerank(**given)
    evaluator = MedPRMEvaluator(prm=prm)
    if is_async:
        response = asyncio.run(synthesizer.asynthesize(RETRY, NODES))
        (node, _) = asyncio.run(rerank.apostprocess_nodes(NODES, query_str=RETRY))
        result = asyncio.run(evaluator.aevaluate(RETRY, GOOD))
    else:
        response = synthesizer.synthesize(RETRY, NODES)
        (node, _) = rerank.postprocess_nodes(NODES, query_str=RETRY)
        result = evaluator.evaluate(RETRY, GOOD)
    assert (ranking_of(response).question, ranking_of(node).question, result.query) == (QUESTION, QUESTION, QUESTION)
    assert "previous bad answer" in str(given["llm"].asked[0][0])  # the policy reads it, the judge does not


def test_a_retrying_engine_ends_with_the_first_good_answer(prm, monkeypatch):
    monkeypatch.setattr(Settings, "_llm", ScriptedLLM(answers=[BAD]))  # which the engine wants to exist
    llm = ScriptedLLM(answers=[BAD, GOOD])
    engine = RetrieverQueryEngine(Fixed(NODES), response_synthesizer=MedPRMSynthesizer(prm=prm, llm=llm, n=1))
    retrying = RetryQueryEngine(engine, evaluator=MedPRMEvaluator(prm=prm), max_retries=5)
    response = retrying.query(QUESTION)
    assert (str(response), len(llm.asked), ranking_of(response).question) == (GOOD, 2, QUESTION)


def test_a_function_of_ones_own(prm):
    given = {"prm": prm, "llm": ScriptedLLM(answers=[GOOD]), "n": 1, "question": lambda _: "Mine?"}
    chains = [chain_node(GOOD), *NODES]
    for ranking in (
        ranking_of(MedPRMLLM(**given).chat([ChatMessage(QUESTION)])),
        ranking_of(MedPRMSynthesizer(**given).synthesize(QUESTION, NODES)),
        ranking_of(MedPRMRerank(**given).postprocess_nodes(NODES, query_str=QUESTION)[0]),
        ranking_of(MedPRMRerank(**given).postprocess_nodes(chains, query_str=QUESTION)[0]),
    ):
        assert ranking.question == "Mine?"
    assert MedPRMEvaluator(prm=prm, question=lambda _: "Mine?").evaluate(QUESTION, GOOD).query == "Mine?"


def test_the_judge_and_the_sampler_read_the_same_text_of_a_node(prm):
    node = document("Label.", dose_table="5 mg")
    node.node.excluded_embed_metadata_keys = ["dose_table"]
    llm = ScriptedLLM(answers=[GOOD])
    MedPRMRerank(prm=prm, llm=llm, n=1).postprocess_nodes([node], query_str=QUESTION)
    assert documents_in(prm)[0].startswith("1: dose_table: 5 mg")
    assert "dose_table: 5 mg" in str(llm.asked[0][0])
