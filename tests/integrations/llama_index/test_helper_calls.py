"""Which calls of a `MedPRMLLM` are answers, and sampled, and which are helpers, and go through once."""

import asyncio

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import CondensePlusContextChatEngine, CondenseQuestionChatEngine, SimpleChatEngine
from llama_index.core.evaluation import FaithfulnessEvaluator, RelevancyEvaluator
from llama_index.core.extractors import KeywordExtractor, SummaryExtractor, TitleExtractor
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.memory import ChatSummaryMemoryBuffer
from llama_index.core.postprocessor import LLMRerank
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import FunctionTool, QueryEngineTool, ToolMetadata
from pydantic import BaseModel

from medprm_integrations.llama_index import MedPRMLLM, is_answer
from tests.support.llama_index_scripts import (
    BAD,
    GOOD,
    QUESTION,
    Fixed,
    ScriptedLLM,
    call,
    document,
    reading_prm,
)

NODES = [document("Label: give 5 mg.")]
TOOLS = [ToolMetadata(name="labels", description="labels")]


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def make(prm):
    """A model of two samples, what it was asked, and its rankings."""

    def build(*answers, **options):
        seen = []
        inner = ScriptedLLM(answers=answers or (BAD, GOOD), tools=options.pop("tools", True))
        llm = MedPRMLLM(llm=inner, prm=prm, n=2, max_concurrency=1, on_ranking=seen.append, **options)
        return llm, inner.asked, seen

    return build


ways = pytest.mark.parametrize("how", ["sync", "async"])


@ways
@pytest.mark.parametrize("kind", ["plus_context", "question"])
def test_a_follow_up_is_condensed_once_and_answered_from_samples(make, how, kind):
    llm, asked, seen = make(BAD, GOOD, "And why not 9 mg?", BAD, GOOD)
    if kind == "plus_context":
        engine = CondensePlusContextChatEngine.from_defaults(Fixed(NODES), llm=llm)
    else:
        query_engine = RetrieverQueryEngine(Fixed(NODES), get_response_synthesizer(llm=llm))
        engine = CondenseQuestionChatEngine.from_defaults(query_engine, llm=llm)

    async def talk():
        for text in (QUESTION, "And why not?"):
            await engine.achat(text)

    if how == "sync":
        engine.chat(QUESTION)
        engine.chat("And why not?")
    else:
        asyncio.run(talk())
    assert len(asked) == 2 + 1 + 2
    assert [ranking.documents_used for ranking in seen] == [1, 1]
    assert not any("standalone question" in ranking.question for ranking in seen)


class Route(BaseModel):
    """Where to look."""

    destination: str


def helpers(llm):
    index = TOOLS, QueryBundle(QUESTION)
    nodes = [node.node for node in NODES]
    return {
        "selector": lambda: LLMSingleSelector.from_defaults(llm=llm).select(*index),
        "sub_questions": lambda: LLMQuestionGenerator.from_defaults(llm=llm).generate(*index),
        "fusion": lambda: QueryFusionRetriever([Fixed(NODES)], llm=llm, num_queries=2, use_async=False).retrieve("Q"),
        "title": lambda: asyncio.run(TitleExtractor(llm=llm).aextract(nodes)),
        "keywords": lambda: asyncio.run(KeywordExtractor(llm=llm).aextract(nodes)),
        "summary": lambda: asyncio.run(SummaryExtractor(llm=llm).aextract(nodes)),
        "hyde": lambda: HyDEQueryTransform(llm=llm).run(QUESTION),
        "rerank": lambda: LLMRerank(llm=llm).postprocess_nodes(NODES, query_str=QUESTION),
        "faithful": lambda: FaithfulnessEvaluator(llm=llm).evaluate(QUESTION, GOOD, ["Label."]),
        "relevant": lambda: RelevancyEvaluator(llm=llm).evaluate(QUESTION, GOOD, ["Label."]),
        "structured": lambda: llm.structured_predict(Route, PromptTemplate("Where? {place}"), place="x"),
        "astructured": lambda: asyncio.run(llm.astructured_predict(Route, PromptTemplate("Where? {place}"), place="x")),
    }


ANSWERS = {
    "selector": '[{"choice": 1, "reason": "it fits"}]',
    "sub_questions": '[{"sub_question": "Which?", "tool_name": "labels"}]',
    "rerank": "Doc: 1, Relevance: 9",
    "structured": '{"destination": "labels"}',
    "astructured": '{"destination": "labels"}',
}


@pytest.mark.parametrize("name", list(helpers(None)))
def test_a_helper_call_goes_through_once(make, name):
    llm, asked, seen = make(ANSWERS.get(name, "YES"), tools=False)
    helpers(llm)[name]()
    assert seen == []
    assert len(asked) == (2 if name == "title" else 1)  # a title of the parts, and of these


def test_a_routers_choice_and_a_summary_of_a_memory(make):
    llm, asked, seen = make('[{"choice": 1, "reason": "it fits"}]', BAD, GOOD)
    query_engine = RetrieverQueryEngine(Fixed(NODES), get_response_synthesizer(llm=llm))
    tool = QueryEngineTool.from_defaults(query_engine, name="labels", description="labels")
    RouterQueryEngine.from_defaults([tool], llm=llm, selector=LLMSingleSelector.from_defaults(llm=llm)).query(QUESTION)
    assert (len(asked), len(seen)) == (3, 1)
    llm, asked, seen = make("So far: a dose.")
    memory = ChatSummaryMemoryBuffer.from_defaults(
        [ChatMessage("word " * 50), ChatMessage(GOOD, role="assistant")], llm=llm, token_limit=20
    )
    memory.get()
    assert seen == []
    assert len(asked) <= 1


@ways
def test_answers_are_sampled(make, how):
    for mode in (ResponseMode.COMPACT, ResponseMode.TREE_SUMMARIZE, ResponseMode.GENERATION):
        llm, asked, seen = make()
        engine = RetrieverQueryEngine(Fixed(NODES), get_response_synthesizer(llm=llm, response_mode=mode))
        answer = engine.query(QUESTION) if how == "sync" else asyncio.run(engine.aquery(QUESTION))
        assert (str(answer), len(asked), len(seen)) == (GOOD, 2, 1), mode
    llm, asked, seen = make()
    chat = SimpleChatEngine.from_defaults(llm=llm)
    assert str(chat.chat(QUESTION) if how == "sync" else asyncio.run(chat.achat(QUESTION))) == GOOD
    own = PromptTemplate("Answer this: {question}")
    predicted = llm.predict(own, question=QUESTION) if how == "sync" else asyncio.run(llm.apredict(own, question="?"))
    assert predicted == GOOD
    assert len(seen) == 2


def test_an_agents_structured_summary_of_its_answer_goes_through_once(make):
    llm, asked, seen = make(BAD, GOOD, call("Route", "1", destination="labels"))
    agent = FunctionAgent(
        tools=[FunctionTool.from_defaults(lambda query: query, name="find")],
        llm=llm,
        output_cls=Route,
        streaming=False,
    )

    async def ask():
        return await agent.run(QUESTION)

    output = asyncio.run(ask())
    assert output.structured_response == {"destination": "labels"}
    assert (len(asked), len(seen)) == (3, 1)


@ways
def test_a_rule_of_ones_own(make, how):
    def rule(messages):
        return "dose" in messages[-1].content

    llm, asked, seen = make(is_answer=rule)
    messages = [ChatMessage("Who wrote this?")], [ChatMessage(QUESTION)]
    for each in messages:
        llm.chat(each) if how == "sync" else asyncio.run(llm.achat(each))
    assert (len(asked), len(seen)) == (3, 1)


def test_a_helper_call_that_fails_raises_its_own_error(make):
    llm, asked, _ = make(TimeoutError("late"))
    with pytest.raises(TimeoutError, match="late"):
        llm.complete("Some choices are given below: 1, 2")
    assert len(asked) == 1


@pytest.mark.parametrize("text", ["", " ", "Context: a", QUESTION, "x" * 100_000, "Some choices are given"])
def test_what_is_not_known_is_an_answer(text):
    assert is_answer([ChatMessage(text)])
    assert is_answer([])
