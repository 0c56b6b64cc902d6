"""Calls of a chat model that are no answers to the user go through once; which they are, and a rule of one's own."""

import asyncio
import warnings
from typing import Literal

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    LLMToolEmulator,
    LLMToolSelectorMiddleware,
    ModelFallbackMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel

from medprm_integrations.langchain import ChatMedPRM, MedPRMMiddleware, MiddlewareOrderWarning, ranking_of
from medprm_integrations.langchain.helper_calls import BEGINNINGS, fields_in, is_helper_call, schema_fields
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, ScriptedChat, call, reading_prm, summarizing


@tool
def search(query: str) -> str:
    """Search."""
    return f"Label: {query}."


@tool
def weigh(patient: str) -> str:
    """Weigh."""
    return patient


class Route(BaseModel):
    """Where to go."""

    destination: Literal["cardiology", "surgery"]


class Named(BaseModel):
    """An answer in an unusual field."""

    verdict: str


class Nested(BaseModel):
    """An answer below."""

    class Out(BaseModel):
        """Steps."""

        steps: list[str]

    output: Out


@pytest.fixture
def prm():
    return reading_prm()


def run(runnable, given, how):
    return runnable.invoke(given) if how == "invoke" else asyncio.run(runnable.ainvoke(given))


ways = pytest.mark.parametrize("how", ["invoke", "ainvoke"])

HELPERS = {
    "title": [HumanMessage("Write a short title for this conversation:\n\nuser: hello")],
    "summary": [HumanMessage("Summarize the conversation above in two sentences.")],
    "condense": [HumanMessage(f"{BEGINNINGS[0]} the follow up question to be a standalone question.\nChat: x")],
    "history": [SystemMessage(f"{BEGINNINGS[1]} formulate a standalone question."), HumanMessage("And why not B?")],
    "rephrase": [HumanMessage("Rephrase the user's question so that it can be searched for: which dose?")],
}


@ways
@pytest.mark.parametrize("helper", HELPERS)
def test_a_helper_call_goes_through_once(prm, helper, how):
    llm, seen, usage = ScriptedChat(answers=["Dosing", "Other"]), [], UsageMetadataCallbackHandler()
    chat = ChatMedPRM(llm=llm, prm=prm, n=4, on_ranking=seen.append).with_config(callbacks=[usage])
    message = run(chat, HELPERS[helper], how)
    assert (message.text, len(llm.asked), seen, prm.engine.calls) == ("Dosing", 1, [], [])
    assert "medprm" not in message.response_metadata
    assert message.usage_metadata["total_tokens"] == usage.usage_metadata["scripted"]["total_tokens"] == 5
    assert [chunk.text for chunk in chat.stream(HELPERS[helper])] == ["Other"]


@ways
def test_the_two_turns_of_a_chain_that_condenses(prm, how):
    """The LangChain form of a chat over documents: condense the follow-up, then answer."""
    llm = ScriptedChat(answers=["Is 9 mg right?", BAD, GOOD])
    chat = ChatMedPRM(llm=llm, prm=prm, n=2, max_concurrency=1)
    condense = ChatPromptTemplate.from_messages([("system", f"{BEGINNINGS[1]} …"), ("placeholder", "{history}")]) | chat
    history = [HumanMessage(QUESTION), AIMessage(GOOD), HumanMessage("And 9?")]
    assert run(condense, {"history": history}, how).text == "Is 9 mg right?"
    answer = run(chat, history, how)
    assert (len(llm.asked), answer.text) == (3, GOOD)
    assert ranking_of(answer).question == f"{QUESTION}\n\nAnd 9?"


@ways
def test_structured_output_without_an_answer_goes_through_once(prm, how):
    llm = ScriptedChat(answers=[call("Route", destination="surgery")])
    chat = ChatMedPRM(llm=llm, prm=prm, n=4)
    assert run(chat.with_structured_output(Route), QUESTION, how) == Route(destination="surgery")
    assert (len(llm.asked), prm.engine.calls) == (1, [])
    llm = ScriptedChat(answers=[call("Nested", output={"steps": [f"Step 1: x [0.{n}]."]}) for n in (1, 9)])
    found = run(ChatMedPRM(llm=llm, prm=prm, n=2, max_concurrency=1).with_structured_output(Nested), QUESTION, how)
    assert (len(llm.asked), found.output.steps) == (2, ["Step 1: x [0.9]."])


@ways
def test_a_named_field_or_a_rule_of_ones_own_makes_it_an_answer(prm, how):
    for options in ({"answer_field": "verdict"}, {"is_answer": lambda messages: True}):
        llm = ScriptedChat(answers=[call("Named", verdict="A"), call("Named", verdict="B")])
        chat = ChatMedPRM(llm=llm, prm=prm, n=2, max_concurrency=1, **options)
        run(chat.with_structured_output(Named), QUESTION, how)
        assert len(llm.asked) == 2
    seen, llm = [], ScriptedChat(answers=[GOOD])
    chat = ChatMedPRM(llm=llm, prm=prm, n=4, is_answer=lambda messages: seen.append(messages) or False)
    assert run(chat, QUESTION, how).text == GOOD
    assert (len(llm.asked), seen) == (1, [[HumanMessage(QUESTION)]])


@ways
def test_middleware_that_asks_the_model_for_help(prm, how):
    """LangChain's own middleware with a `ChatMedPRM` as its model: one call each, and the answer is sampled."""
    asked = {"messages": [HumanMessage("Where can I park?"), AIMessage("There."), HumanMessage(QUESTION)]}

    def ask(script, make):
        llm = ScriptedChat(answers=script)
        chat = ChatMedPRM(llm=llm, prm=prm, n=2, max_concurrency=1)
        message = run(create_agent(chat, [search, weigh], middleware=[make(chat)]), asked, how)["messages"][-1]
        assert (message.text, ranking_of(message).question.endswith(QUESTION)) == (GOOD, True)
        return len(llm.asked)

    assert ask(["A summary.", BAD, GOOD], summarizing) == 3
    emulate = [call("search", query="x"), "made up", BAD, GOOD]
    assert ask(emulate, lambda chat: LLMToolEmulator(model=chat)) == 4
    select = call("ToolSelectionResponse", tools=["search"])
    script = [select, call("search", query="x"), select, BAD, GOOD]
    assert ask(script, lambda chat: LLMToolSelectorMiddleware(model=chat, max_tools=1)) == 5


@ways
def test_an_agent_whose_schema_has_no_answer_is_asked_once(prm, how):
    llm = ScriptedChat(answers=[call("Route", destination="surgery")])
    middleware = MedPRMMiddleware(prm=prm, n=4)
    app = create_agent(llm, [search], middleware=[middleware], response_format=ToolStrategy(Route))
    assert run(app, {"messages": [("human", QUESTION)]}, how)["structured_response"].destination == "surgery"
    assert (len(llm.asked), prm.engine.calls) == (1, [])
    seen, llm = [], ScriptedChat(answers=[GOOD])
    middleware = MedPRMMiddleware(prm=prm, n=4, is_answer=lambda request: seen.append(request.messages) or False)
    run(create_agent(llm, [search], middleware=[middleware]), {"messages": [("human", QUESTION)]}, how)
    assert (len(llm.asked), len(seen), prm.engine.calls) == (1, 1, [])


@pytest.mark.parametrize(
    "text",
    [
        QUESTION,
        "Are you sure?",
        "Thanks!",
        "Which is the most appropriate summary of the findings?",
        "The patient's title is Dr.\nWe had a conversation about statins. Which dose?",
        "A 40-year-old man. Context: chest pain. Which test comes first?",
        "x" * 5_000 + " title for this conversation",
        "Запиши диагноз.",
    ],
)
def test_questions_are_no_helper_calls(text):
    assert not is_helper_call(
        [SystemMessage("You answer questions and rephrase the question first."), HumanMessage(text)], {}
    )


def test_fields_of_schemas():
    assert schema_fields(Route) == ["destination"]
    assert schema_fields(Nested) == ["output", "steps"]
    assert schema_fields(object()) is None
    assert fields_in({"properties": "no", "anyOf": [{"properties": {"x": None}}, 3]}) == ["x"]
    deep: dict = {}
    for _ in range(5_000):
        deep = {"properties": {"a": deep}}
    assert len(fields_in(deep)) < 20


# --- the place of the middleware ---


class Router(AgentMiddleware):
    """Swaps the model."""

    def wrap_model_call(self, request, handler):
        return handler(request.override(model=ScriptedChat(answers=[BAD, GOOD])))

    async def awrap_model_call(self, request, handler):
        return await handler(request.override(model=ScriptedChat(answers=[BAD, GOOD])))


@ways
def test_middleware_in_the_wrong_place_is_noticed(prm, how):
    def ask(*middleware):
        app = create_agent(ScriptedChat(answers=[BAD, GOOD]), [], middleware=middleware)
        for _ in range(2):
            run(app, {"messages": [("human", QUESTION)]}, how)

    def ours():
        return MedPRMMiddleware(prm=prm, n=2, max_concurrency=1)

    with pytest.warns(MiddlewareOrderWarning, match=r"put MedPRMMiddleware last, middleware=\[…, MedPRM") as caught:
        ask(ours(), Router())
    assert len([one for one in caught if one.category is MiddlewareOrderWarning]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", MiddlewareOrderWarning)
        ask(Router(), ours())


@ways
def test_a_fallback_behind_the_middleware_is_noticed_once_it_answers(prm, how):
    ours, fallback = MedPRMMiddleware(prm=prm, n=2), ModelFallbackMiddleware(ScriptedChat(answers=[GOOD, BAD]))
    broken = create_agent(ScriptedChat(answers=[TimeoutError()]), [], middleware=[ours, fallback])
    with pytest.warns(MiddlewareOrderWarning):
        run(broken, {"messages": [("human", QUESTION)]}, how)
    working = create_agent(ScriptedChat(answers=[GOOD, BAD]), [], middleware=[MedPRMMiddleware(prm=prm, n=2), fallback])
    with warnings.catch_warnings():
        warnings.simplefilter("error", MiddlewareOrderWarning)
        run(working, {"messages": [("human", QUESTION)]}, how)
