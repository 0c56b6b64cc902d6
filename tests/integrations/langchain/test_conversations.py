"""What is judged as the question of a conversation."""

import asyncio

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import Generation
from langchain_core.prompts import ChatPromptTemplate

from medprm_integrations.langchain import (
    ChatMedPRM,
    MedPRMBestOfN,
    MedPRMMiddleware,
    MedPRMOutputParser,
    MedPRMReranker,
    ranking_of,
)
from medprm_scorer import InputError
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, SECRET, WORSE, ScriptedChat, reading_prm, summarizing

TURNS = [HumanMessage(QUESTION), AIMessage(GOOD), HumanMessage("Are you sure?")]
TOGETHER = f"{QUESTION}\n\nAre you sure?"


@pytest.fixture
def prm():
    return reading_prm()


def ways(prm, messages, **options):
    given = {"prm": prm, "n": 2, "max_concurrency": 1, **options}

    def llm():
        return ScriptedChat(answers=[BAD, GOOD])

    def agent():
        return create_agent(llm(), [], middleware=[MedPRMMiddleware(**given)])

    return {
        "chat": lambda: ChatMedPRM(llm=llm(), **given).invoke(messages),
        "achat": lambda: asyncio.run(ChatMedPRM(llm=llm(), **given).ainvoke(messages)),
        "middleware": lambda: agent().invoke({"messages": messages})["messages"][-1],
        "amiddleware": lambda: asyncio.run(agent().ainvoke({"messages": messages}))["messages"][-1],
    }


each = pytest.mark.parametrize("way", ["chat", "achat", "middleware", "amiddleware"])


@each
def test_a_follow_up(prm, way):
    ranking = ranking_of(ways(prm, TURNS)[way]())
    assert (ranking.question, ranking.answer) == (TOGETHER, "A")
    assert TOGETHER in prm.engine.calls[-1][0]
    assert "The question was put together from 2 messages of the user in the conversation." in ranking.cautions
    alone = ranking_of(ways(prm, TURNS[:1])[way]())
    assert (alone.question, alone.cautions) == (QUESTION, [])


@each
def test_a_summary_is_no_question(prm, way):
    summary = HumanMessage("Here is a summary: parking", additional_kwargs={"lc_source": "summarization"})
    assert ranking_of(ways(prm, [summary, HumanMessage(QUESTION)])[way]()).question == QUESTION
    ranking = ranking_of(ways(prm, [summary, AIMessage("", tool_calls=[])])[way]())
    assert ranking.question == "Here is a summary: parking"
    assert any("summary" in caution for caution in ranking.cautions)


def test_after_the_summarization_middleware(prm):
    llm = ScriptedChat(answers=["Earlier the user asked about parking.", BAD, GOOD])
    agent = create_agent(llm, [], middleware=[summarizing(llm), MedPRMMiddleware(prm=prm, n=2, max_concurrency=1)])
    messages = [HumanMessage("Where can I park?"), AIMessage("There."), HumanMessage(QUESTION)]
    message = agent.invoke({"messages": messages})["messages"][-1]
    assert (message.text, ranking_of(message).question) == (GOOD, QUESTION)


@each
def test_a_function_of_ones_own(prm, way):
    ranking = ranking_of(ways(prm, TURNS, question=lambda _: "Mine?")[way]())
    assert (ranking.question, ranking.cautions) == ("Mine?", [])


def test_best_of_n_takes_a_function_and_a_conversation(prm):
    llm = ScriptedChat(answers=[BAD, GOOD, WORSE])
    given = {"question": [SystemMessage("Be brief."), *TURNS]}
    assert ranking_of(MedPRMBestOfN(llm=llm, prm=prm, n=3).invoke(given)).question == TOGETHER
    best = MedPRMBestOfN(llm=llm, prm=prm, n=3, question=lambda value: value["question"][1].text)
    for message in (best.invoke(given), asyncio.run(best.ainvoke(given))):
        assert ranking_of(message).question == QUESTION


# --- the classes that are given a question ---

PLAIN = [("human", QUESTION), ("ai", GOOD), ("user", "Are you sure?")]
DICTS = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": GOOD}, *TURNS[2:]]


def judged(prm, asked, **options):
    """The ranking of each class that is given a question, sync and async."""
    request, texts = {"question": asked, "candidates": [BAD, GOOD]}, [Generation(text=BAD), Generation(text=GOOD)]
    reranker = MedPRMReranker(prm=prm, **options)
    best = MedPRMBestOfN(llm=ScriptedChat(answers=[BAD, GOOD]), prm=prm, n=2, **options)
    yield reranker.invoke(request)
    yield asyncio.run(reranker.ainvoke(request))
    yield ranking_of(best.invoke(request))
    yield ranking_of(asyncio.run(best.ainvoke(request)))
    if not options:
        parser = MedPRMOutputParser(prm=prm).about(asked)
        yield ranking_of(parser.parse_result(texts))
        yield ranking_of(asyncio.run(parser.aparse_result(texts)))


@pytest.mark.parametrize("question", [TURNS, PLAIN, DICTS, ChatPromptTemplate.from_messages(TURNS).invoke({})])
def test_a_conversation_as_the_question(prm, question):
    rankings = list(judged(prm, question))
    assert [ranking.question for ranking in rankings] == [TOGETHER] * 6
    for ranking in rankings:
        assert "The question was put together from 2 messages of the user in the conversation." in ranking.cautions


def test_a_question_by_itself_has_no_caution(prm):
    for question in (QUESTION, HumanMessage(QUESTION), [("human", QUESTION)]):
        assert [(r.question, r.cautions) for r in judged(prm, question)] == [(QUESTION, [])] * 6


def test_a_function_of_ones_own_for_each_class(prm):
    found = judged(prm, TURNS, question=lambda value: value["question"][0].text)
    assert [(ranking.question, ranking.cautions) for ranking in found] == [(QUESTION, [])] * 4


@pytest.mark.parametrize(
    "question", [[SECRET], [("nobody", SECRET)], [("user",)], [{"text": SECRET}], (SECRET, QUESTION), 3]
)
def test_what_is_no_conversation_is_refused_without_its_text(prm, question):
    with pytest.raises(InputError, match=r"^(the question must be|a conversation must be)") as caught:
        next(judged(prm, question))
    assert SECRET not in str(caught.value)


def test_a_summary_that_is_not_marked_is_no_question(prm):
    """As langchain 1.0 writes it."""
    summary = HumanMessage("Here is a summary of the conversation to date:\n\nparking")
    assert ranking_of(ways(prm, [summary, HumanMessage(QUESTION)])["chat"]()).question == QUESTION


def test_what_another_feature_added_is_no_question(prm):
    note = HumanMessage("Task 42 finished.", additional_kwargs={"lc_source": "async_subagent"})
    assert ranking_of(ways(prm, [HumanMessage(QUESTION), note])["chat"]()).question == QUESTION
