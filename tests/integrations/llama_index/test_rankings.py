"""Where a ranking can be had: `on_ranking`, an event of instrumentation, and what engines keep of it."""

import asyncio
import json

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import Response
from llama_index.core.indices.query.query_transform.base import StepDecomposeQueryTransform
from llama_index.core.query_engine import MultiStepQueryEngine, RetrieverQueryEngine, RouterQueryEngine
from llama_index.core.response_synthesizers import TreeSummarize
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector
from llama_index.core.tools import QueryEngineTool

from medprm_integrations.llama_index import (
    MedPRMEvaluator,
    MedPRMLLM,
    MedPRMRankingEvent,
    MedPRMRerank,
    MedPRMSynthesizer,
    chain_node,
    ranking_of,
)
from medprm_scorer import InputError
from tests.support.llama_index_scripts import (
    BAD,
    GOOD,
    QUESTION,
    SECRET,
    Events,
    Fixed,
    ScriptedLLM,
    document,
    reading_prm,
)

SECRET_ANSWER = f"Step 1: {SECRET} [0.9].\nStep 2: The answer is (A) [0.9]"
ASKED = f"{SECRET}: {QUESTION}"
NODES = [document(f"Label: {SECRET}.")]


@pytest.fixture
def prm():
    return reading_prm()


def ways(prm, on_ranking):
    """Each class in each of its ways, sync and async."""
    model = ScriptedLLM(answers=[BAD, SECRET_ANSWER])
    given = {"prm": prm, "llm": model, "n": 2, "max_concurrency": 1, "on_ranking": on_ranking}
    llm, synthesizer, rerank = MedPRMLLM(**given), MedPRMSynthesizer(**given), MedPRMRerank(**given)
    evaluator = MedPRMEvaluator(prm=prm, on_ranking=on_ranking)
    messages, chains = [ChatMessage(ASKED)], [chain_node(BAD), chain_node(SECRET_ANSWER), *NODES]
    response = Response(SECRET_ANSWER, NODES)
    return {
        "llm": (lambda: llm.chat(messages), lambda: llm.achat(messages)),
        "text": (lambda: llm.complete(ASKED), lambda: llm.acomplete(ASKED)),
        "synthesizer": (lambda: synthesizer.synthesize(ASKED, NODES), lambda: synthesizer.asynthesize(ASKED, NODES)),
        "texts": (lambda: synthesizer.get_response(ASKED, ["x"]), lambda: synthesizer.aget_response(ASKED, ["x"])),
        "rerank": (
            lambda: rerank.postprocess_nodes(NODES, query_str=ASKED),
            lambda: rerank.apostprocess_nodes(NODES, query_str=ASKED),
        ),
        "chains": (
            lambda: rerank.postprocess_nodes(chains, query_str=ASKED),
            lambda: rerank.apostprocess_nodes(chains, query_str=ASKED),
        ),
        "evaluator": (lambda: evaluator.evaluate(ASKED, GOOD), lambda: evaluator.aevaluate(ASKED, GOOD)),
        "response": (
            lambda: evaluator.evaluate_response(ASKED, response),
            lambda: evaluator.aevaluate_response(ASKED, response),
        ),
    }


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("way", ["llm", "text", "synthesizer", "texts", "rerank", "chains", "evaluator", "response"])
def test_each_ranking_is_handed_on_whole_and_announced_without_a_text(prm, way, how):
    seen = []
    sync, awaited = ways(prm, seen.append)[way]
    with Events() as events:
        sync() if how == "sync" else asyncio.run(awaited())
    (ranking,), (event,) = seen, events.of("MedPRMRankingEvent")
    assert isinstance(event, MedPRMRankingEvent)
    assert ranking.best.text
    figures = json.loads(event.model_dump_json())["figures"]
    assert SECRET not in json.dumps(figures)
    assert "mg" not in json.dumps(figures)
    assert figures["documents_read"] == ranking.documents_read
    assert figures["chains"][0]["step_rewards"] == pytest.approx(ranking.best.step_rewards)
    assert figures["cautions"] == ranking.cautions
    assert ("samples_failed" in figures) == (way not in ("chains", "evaluator", "response"))


def test_what_is_no_choice_is_not_announced(prm):
    with Events() as events:
        MedPRMLLM(llm=ScriptedLLM(answers=["2"]), prm=prm).complete("Some choices are given below")
        MedPRMEvaluator(prm=prm).evaluate(QUESTION, " ")
    assert events.of("MedPRMRankingEvent") == []


# --- engines ---


def tools(prm, on_ranking=None):
    def engine(*answers):
        made = MedPRMSynthesizer(prm=prm, llm=ScriptedLLM(answers=answers), n=2, on_ranking=on_ranking)
        return RetrieverQueryEngine(Fixed(NODES), made)

    return [
        QueryEngineTool.from_defaults(engine(BAD, GOOD), name=name, description=name) for name in ("labels", "books")
    ]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_router_to_one_engine_keeps_the_ranking(prm, how):
    choosing = ScriptedLLM(answers=['[{"choice": 1, "reason": "x"}]'])
    engine = RouterQueryEngine(LLMSingleSelector.from_defaults(llm=choosing), tools(prm), llm=choosing)
    response = engine.query(QUESTION) if how == "sync" else asyncio.run(engine.aquery(QUESTION))
    assert ranking_of(response).best.text == GOOD


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("kind", ["router", "steps"])
def test_engines_that_drop_rankings_say_where_they_are(prm, kind, how):
    seen = []
    choosing = ScriptedLLM(answers=['[{"choice": 1, "reason": "x"}, {"choice": 2, "reason": "y"}]'])
    if kind == "router":
        engine = RouterQueryEngine(
            LLMMultiSelector.from_defaults(llm=choosing),
            tools(prm, seen.append),
            llm=choosing,
            summarizer=TreeSummarize(llm=ScriptedLLM(answers=["Both say 5 mg."])),
        )
    else:
        engine = MultiStepQueryEngine(
            tools(prm, seen.append)[0].query_engine,
            StepDecomposeQueryTransform(llm=ScriptedLLM(answers=[QUESTION])),
            response_synthesizer=MedPRMSynthesizer(
                prm=prm, llm=ScriptedLLM(answers=[GOOD]), n=1, on_ranking=seen.append
            ),
            num_steps=1,
            early_stopping=False,
        )
    response = engine.query(QUESTION) if how == "sync" else asyncio.run(engine.aquery(QUESTION))
    assert len(seen) == 2
    with pytest.raises(InputError, match="pass on_ranking= to the MedPRMLLM, MedPRMSynthesizer or MedPRMRerank in it"):
        ranking_of(response)


# --- a guardrail that edits the answer ---


@pytest.mark.parametrize("how", ["sync", "async"])
def test_an_answer_that_was_edited_is_nowhere_else(prm, how):
    made = MedPRMSynthesizer(prm=prm, llm=ScriptedLLM(answers=[BAD, SECRET_ANSWER]), n=2)
    nodes = [document("Label.")]
    response = made.synthesize(QUESTION, nodes) if how == "sync" else asyncio.run(made.asynthesize(QUESTION, nodes))
    response.response = response.response.replace(SECRET, "[REDACTED]")
    assert SECRET not in json.dumps(response.metadata)
    assert SECRET not in json.dumps([node.to_dict() for node in response.source_nodes], default=str)
    assert "[REDACTED]" in ranking_of(response).best.text
    drafts = MedPRMRerank(prm=prm, llm=ScriptedLLM(answers=[BAD, SECRET_ANSWER]), n=2)
    (draft, *_) = drafts.postprocess_nodes(nodes, query_str=QUESTION)
    draft.node.set_content(draft.text.replace(SECRET, "[REDACTED]"))
    assert SECRET not in draft.to_json()
    assert "[REDACTED]" in ranking_of(draft).best.text
