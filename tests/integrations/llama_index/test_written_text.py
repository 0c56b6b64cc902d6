"""What a language model wrote, and what is no finding, is no evidence; which nodes were read is marked on them."""

import asyncio
from inspect import signature

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import Response
from llama_index.core.evaluation import BaseEvaluator
from llama_index.core.indices.query.query_transform.base import StepDecomposeQueryTransform
from llama_index.core.node_parser import SentenceSplitter, TokenTextSplitter
from llama_index.core.query_engine import (
    CitationQueryEngine,
    MultiStepQueryEngine,
    RetrieverQueryEngine,
    SubQuestionQueryEngine,
)
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import ImageNode, MetadataMode, NodeWithScore
from llama_index.core.settings import Settings
from llama_index.core.tools import FunctionTool, QueryEngineTool

from medprm_integrations.llama_index import (
    MedPRMEvaluator,
    MedPRMLLM,
    MedPRMRerank,
    MedPRMSynthesizer,
    chain_node,
    ranking_of,
)
from medprm_integrations.llama_index.nodes import DRAFT, draft_node
from tests.support.llama_index_scripts import (
    BAD,
    GOOD,
    QUESTION,
    Fixed,
    ScriptedLLM,
    call,
    document,
    documents_in,
    reading_prm,
)

LABEL = "Label: give 5 mg."
SUB_QUESTION = '```json\n[{"sub_question": "Which dose is on the label?", "tool_name": "labels"}]\n```'


@pytest.fixture
def prm():
    return reading_prm()


def run(sync, awaited, how):
    return sync() if how == "sync" else asyncio.run(awaited())


ways = pytest.mark.parametrize("how", ["sync", "async"])


def synthesizer(prm, *answers, **options):
    llm = ScriptedLLM(answers=answers or (BAD, GOOD))
    return MedPRMSynthesizer(prm=prm, llm=llm, n=2, max_concurrency=1, **options)


def plain(nodes, answer="The label was not found."):
    return RetrieverQueryEngine(Fixed(nodes), get_response_synthesizer(llm=ScriptedLLM(answers=[answer])))


def sub_questions(nodes, made):
    return SubQuestionQueryEngine.from_defaults(
        query_engine_tools=[QueryEngineTool.from_defaults(plain(nodes), name="labels", description="labels")],
        question_gen=LLMQuestionGenerator.from_defaults(llm=ScriptedLLM(answers=[SUB_QUESTION])),
        response_synthesizer=made,
        use_async=False,
    )


@ways
def test_the_documents_behind_sub_answers_are_read_and_the_sub_answers_not(prm, how, monkeypatch):
    monkeypatch.setattr(Settings, "_llm", ScriptedLLM(answers=[GOOD]))
    nodes = [document(LABEL, 0.9), document("More.", 0.2)]
    engine = sub_questions(nodes, synthesizer(prm))
    response = run(lambda: engine.query(QUESTION), lambda: engine.aquery(QUESTION), how)
    assert documents_in(prm) == [f"1: {LABEL}", "2: More."]
    assert ranking_of(response).documents_read == [0, 1]
    assert [node.metadata.get("medprm_read") for node in response.source_nodes] == [False, True, True]
    asked = synthesizer(prm, is_evidence=lambda node: True)
    engine = sub_questions(nodes, asked)
    run(lambda: engine.query(QUESTION), lambda: engine.aquery(QUESTION), how)
    assert documents_in(prm)[0].startswith("1: Sub question: Which dose")


@ways
def test_of_several_steps_too(prm, how):
    nodes = [document(LABEL)]
    engine = MultiStepQueryEngine(
        plain(nodes),
        StepDecomposeQueryTransform(llm=ScriptedLLM(answers=["Which dose is on the label?"])),
        response_synthesizer=synthesizer(prm),
        num_steps=2,
        early_stopping=False,
    )
    response = run(lambda: engine.query(QUESTION), lambda: engine.aquery(QUESTION), how)
    assert str(response) == GOOD
    assert documents_in(prm) == [f"1: {LABEL}"]


def test_a_question_and_answer_of_a_user_is_a_document(prm):
    node = document("\nQuestion: Which dose?\nAnswer: 5 mg.", 0.4)
    synthesizer(prm).synthesize(QUESTION, [node])
    assert "Answer: 5 mg." in documents_in(prm)[0]


def test_sub_answers_in_the_prompt_of_a_model(prm, monkeypatch):
    monkeypatch.setattr(Settings, "_llm", ScriptedLLM(answers=[GOOD]))
    seen = []
    llm = MedPRMLLM(llm=ScriptedLLM(answers=[BAD, GOOD]), prm=prm, n=2, max_concurrency=1, on_ranking=seen.append)
    sub_questions([document(LABEL)], get_response_synthesizer(llm=llm)).query(QUESTION)
    assert documents_in(prm) == []
    assert any("none were given to the reward model" in caution for caution in seen[0].cautions)


@ways
@pytest.mark.parametrize("splitter", [None, TokenTextSplitter(), SentenceSplitter(chunk_size=64, chunk_overlap=0)])
def test_a_draft_before_documents_is_never_a_source(prm, how, splitter):
    answerer, seen = ScriptedLLM(answers=["The dose is 5 mg [1]."]), []
    rerank = MedPRMRerank(prm=prm, llm=ScriptedLLM(answers=[GOOD]), n=1, on_ranking=seen.append)
    engine = CitationQueryEngine.from_args(
        None,
        llm=answerer,
        retriever=Fixed([document(LABEL, 0.8), document("More.", 0.2)]),
        node_postprocessors=[rerank],
        text_splitter=splitter,
    )
    response = run(lambda: engine.query(QUESTION), lambda: engine.aquery(QUESTION), how)
    assert [node.text for node in response.source_nodes] == [f"Source 1:\n{LABEL}\n", "Source 2:\nMore.\n"]
    assert [node.metadata for node in response.source_nodes] == [{"medprm_read": True}] * 2
    prompt = answerer.asked[0][0][-1].content
    assert (DRAFT in prompt, prompt.count(GOOD), "Source 3" in prompt) == (False, 0, False)
    assert (len(seen), seen[0].answer) == (1, "A")


@pytest.mark.skipif("multimodal" not in signature(CitationQueryEngine).parameters, reason="newer versions only")
def test_a_draft_is_no_source_where_sources_may_be_images():
    engine = CitationQueryEngine(Fixed([]), llm=ScriptedLLM(answers=["-"]), multimodal=True)
    drafted = [NodeWithScore(node=draft_node(GOOD)), document(LABEL)]
    (source,) = engine._create_citation_nodes(drafted)
    assert source.node.get_content().startswith("Source 1:")
    assert LABEL in source.node.get_content()


@ways
def test_a_draft_is_read_by_other_engines_and_has_nothing_to_cite(prm, how):
    answerer = ScriptedLLM(answers=["The dose is 5 mg."])
    rerank = MedPRMRerank(prm=prm, llm=ScriptedLLM(answers=[GOOD]), n=1)
    synthesizing = get_response_synthesizer(llm=answerer)
    engine = RetrieverQueryEngine(Fixed([document(LABEL)]), synthesizing, node_postprocessors=[rerank])
    response = run(lambda: engine.query(QUESTION), lambda: engine.aquery(QUESTION), how)
    assert DRAFT + GOOD in answerer.asked[0][0][-1].content
    assert GOOD not in response.get_formatted_sources(length=1000)
    assert [node.get_content().strip() for node in response.source_nodes] == ["", LABEL]
    assert ranking_of(response).best.text == GOOD


@ways
def test_an_engine_with_numbered_sources_takes_the_synthesizer(prm, how):
    answerer = ScriptedLLM(answers=["The dose is 5 mg [1]."])
    made = synthesizer(prm)
    engine = CitationQueryEngine.from_args(
        None, llm=answerer, retriever=Fixed([document(LABEL)]), response_synthesizer=made
    )
    response = run(lambda: engine.query(QUESTION), lambda: engine.aquery(QUESTION), how)
    assert [node.text for node in response.source_nodes] == [f"Source 1:\n{LABEL}\n"]
    assert ranking_of(response).documents_read == [0]


def test_a_draft_is_a_candidate_without_its_mark_and_never_evidence(prm):
    drafted = MedPRMRerank(prm=prm, llm=ScriptedLLM(answers=[GOOD]), n=1).postprocess_nodes(
        [document(LABEL)], query_str=QUESTION
    )
    assert [node.metadata.get("medprm_read") for node in drafted] == [None, True]
    (again,) = MedPRMRerank(prm=prm).postprocess_nodes(drafted, query_str=QUESTION)
    assert ranking_of(again).best.text == GOOD
    assert documents_in(prm) == [f"1: {LABEL}"]
    assert MedPRMEvaluator(prm=prm).evaluate_response(QUESTION, Response(GOOD, drafted)).contexts == [LABEL]
    made = synthesizer(prm)
    made.synthesize(QUESTION, drafted)
    assert DRAFT not in str(made._llm.asked[0][0])


@ways
def test_an_image_without_text_is_not_read(prm, how):
    image = NodeWithScore(node=ImageNode(text="", metadata={"file_name": "scan.png"}), score=0.9)
    nodes = [image, document(LABEL, 0.1)]
    made = synthesizer(prm)
    response = run(lambda: made.synthesize(QUESTION, nodes), lambda: made.asynthesize(QUESTION, nodes), how)
    ranking = ranking_of(response)
    assert (ranking.documents_read, ranking.documents_used, ranking.documents_given) == ([1], 1, 2)
    assert "<b>read</b>" in ranking.to_html([node.get_content() for node in response.source_nodes])
    assert not any("budget" in caution for caution in ranking.cautions)
    response = run(lambda: made.synthesize(QUESTION, [image]), lambda: made.asynthesize(QUESTION, [image]), how)
    assert any("none were given to the reward model" in caution for caution in ranking_of(response).cautions)


@ways
def test_the_mark_of_reading_stays_out_of_prompts_and_of_the_callers_nodes(prm, how):
    nodes = [document(LABEL, 0.9), document("word " * 4_000, 0.5), document(LABEL, 0.3)]
    made = synthesizer(prm)
    with pytest.warns(UserWarning, match="2 of 3 documents were read"):
        response = run(lambda: made.synthesize(QUESTION, nodes), lambda: made.asynthesize(QUESTION, nodes), how)
    assert [node.metadata["medprm_read"] for node in response.source_nodes] == [True, False, True]
    ranking = ranking_of(response)
    assert (ranking.documents_read, ranking.documents_used, ranking.documents_given) == ([0, 2], 2, 3)
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert "medprm" not in "".join(node.get_content(metadata_mode=mode) for node in response.source_nodes)
    assert all("medprm_read" not in node.metadata for node in nodes)


@ways
def test_given_chains_and_the_evaluator_read_by_score_and_pass_over(prm, how):
    nodes = [document("word " * 4_000, 0.9), document(LABEL, 0.1)]
    rerank, evaluator = MedPRMRerank(prm=prm), MedPRMEvaluator(prm=prm)
    given = [*nodes, NodeWithScore(node=chain_node(GOOD))]
    with pytest.warns(UserWarning, match="1 of 2 documents were read"):
        (best,) = run(
            lambda: rerank.postprocess_nodes(given, query_str=QUESTION),
            lambda: rerank.apostprocess_nodes(given, query_str=QUESTION),
            how,
        )
    assert ranking_of(best).documents_read == [1]
    response = Response(GOOD, nodes)
    with pytest.warns(UserWarning, match="1 of 2 documents were read"):
        result = run(
            lambda: evaluator.evaluate_response(QUESTION, response),
            lambda: evaluator.aevaluate_response(QUESTION, response),
            how,
        )
    assert documents_in(prm) == [f"1: {LABEL}"]
    assert len(result.contexts) == 2
    assert isinstance(evaluator, BaseEvaluator)


# --- agents ---


def find(query: str) -> str:
    """Find a label."""
    return LABEL


def order(drug: str) -> str:
    """Order a drug."""
    return "Ordered."


def failing(query: str) -> str:
    """Find nothing."""
    return "Error: the database is down"


def agent(prm, llm, *tools, **options):
    made = MedPRMLLM(llm=llm, prm=prm, n=2, max_concurrency=1, **options)
    return FunctionAgent(tools=list(tools), llm=made, streaming=False)


def ask(made, *turns):
    async def main():
        return await made.run(*turns)

    return asyncio.run(main())


def test_receipts_and_errors_are_no_evidence(prm):
    tools = [FunctionTool.from_defaults(one, name=name) for one, name in ((order, "order_drug"), (failing, "find_it"))]
    calls = [call("order_drug", "1", drug="x"), call("find_it", "2", query="x")]
    output = ask(agent(prm, ScriptedLLM(answers=[*calls, BAD, GOOD]), *tools), QUESTION)
    assert documents_in(prm) == []
    assert any("none were given to the reward model" in caution for caution in ranking_of(output).cautions)
    ask(agent(prm, ScriptedLLM(answers=[*calls, BAD, GOOD]), *tools, evidence_tools=["order_drug"]), QUESTION)
    assert documents_in(prm) == ["1: Ordered."]


def test_an_unknown_tool_is_no_evidence(prm):
    llm = ScriptedLLM(answers=[call("nothing", "1"), call("find", "2", query="x"), BAD, GOOD])
    ask(agent(prm, llm, FunctionTool.from_defaults(find)), QUESTION)
    assert documents_in(prm) == [f"1: {LABEL}"]


def test_a_handoff_is_no_evidence(prm):
    first = FunctionAgent(
        name="first",
        description="sends on",
        llm=MedPRMLLM(llm=ScriptedLLM(answers=[call("handoff", "1", to_agent="second", reason="dosing")]), prm=prm),
        can_handoff_to=["second"],
        streaming=False,
    )
    second = FunctionAgent(
        name="second",
        description="doses",
        tools=[FunctionTool.from_defaults(find)],
        llm=MedPRMLLM(llm=ScriptedLLM(answers=[call("find", "2", query="x"), BAD, GOOD]), prm=prm, n=2),
        streaming=False,
    )
    output = ask(AgentWorkflow(agents=[first, second], root_agent="first"), QUESTION)
    assert documents_in(prm) == [f"1: {LABEL}"]
    assert ranking_of(output).documents_given == 1


def test_what_a_query_engine_wrote_is_no_evidence_unless_asked_for(prm):
    engine = plain([document(LABEL)], "The dose is 9 mg.")
    tool = QueryEngineTool.from_defaults(engine, name="labels", description="labels")
    answers = [call("labels", "1", input="dose"), BAD, GOOD]
    output = ask(agent(prm, ScriptedLLM(answers=answers), tool), QUESTION)
    assert documents_in(prm) == []
    assert any("none were given to the reward model" in caution for caution in ranking_of(output).cautions)
    ask(agent(prm, ScriptedLLM(answers=answers), tool, evidence_tools=["labels"]), QUESTION)
    assert documents_in(prm) == ["1: The dose is 9 mg."]


def test_a_context_in_a_prompt_of_ones_own_is_a_caution(prm):
    llm = MedPRMLLM(llm=ScriptedLLM(answers=[BAD, GOOD]), prm=prm, n=2)
    asked = f"Context: {LABEL}\n\nQuestion: {QUESTION}"
    for response in (llm.complete(asked), asyncio.run(llm.acomplete(asked)), llm.chat([ChatMessage(asked)])):
        assert any("none were given to the reward model" in caution for caution in ranking_of(response).cautions)
    assert not any("none were given" in caution for caution in ranking_of(llm.complete(QUESTION)).cautions)
    given = MedPRMLLM(llm=ScriptedLLM(answers=[BAD, GOOD]), prm=prm, n=2, evidence=lambda _: [LABEL])
    assert not any("none were given" in caution for caution in ranking_of(given.complete(asked)).cautions)
