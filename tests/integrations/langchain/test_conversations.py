"""What is judged as the question of a conversation."""

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from medprm_integrations.langchain import ChatMedPRM, MedPRMBestOfN, MedPRMMiddleware, ranking_of
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, WORSE, ScriptedChat, reading_prm

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
    assert "The question was put together of 2 messages of the user in the conversation." in ranking.cautions
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
    summarizing = SummarizationMiddleware(llm, trigger=("messages", 3), keep=("messages", 1))
    agent = create_agent(llm, [], middleware=[summarizing, MedPRMMiddleware(prm=prm, n=2, max_concurrency=1)])
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
