"""Which language models are taken, in what wrappers, and what is checked before any of them is paid for."""

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.chat_models import base
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tools import tool
from pydantic import ValidationError

from medprm_integrations.langchain import ChatMedPRM, MedPRMBestOfN, MedPRMMiddleware, MedPRMReranker, ranking_of
from medprm_scorer import InputError
from tests.support.langchain_scripts import (
    BAD,
    GOOD,
    QUESTION,
    SECRET,
    WORSE,
    ScriptedChat,
    call,
    obedient,
    reading_prm,
)


@tool
def search(query: str) -> str:
    """Search."""
    return "Label: give 5 mg."


@pytest.fixture
def prm():
    return reading_prm()


def answers(chat):
    return [chat.invoke(QUESTION), asyncio.run(chat.ainvoke(QUESTION))]


class Flaky(ScriptedChat):
    """Fails at every other call."""

    def _generate(self, messages, *args, **kwargs):
        if self._log.setdefault("calls", 0) % 2 == 0:
            self._log["calls"] += 1
            raise TimeoutError(SECRET)
        self._log["calls"] += 1
        return super()._generate(messages, *args, **kwargs)


def test_a_single_sample_is_tried_again(prm):
    llm = Flaky(answers=[BAD, GOOD])
    chat = ChatMedPRM(
        llm=llm.with_retry(wait_exponential_jitter=False, stop_after_attempt=2), prm=prm, n=2, max_concurrency=1
    )
    for message in answers(chat):
        assert (message.text, message.response_metadata["medprm"]["samples_failed"]) == (GOOD, 0)
    assert len(llm.asked) == 4


def test_a_single_sample_falls_back(prm):
    first, second = ScriptedChat(answers=[TimeoutError(SECRET), BAD]), ScriptedChat(answers=[GOOD])
    chat = ChatMedPRM(llm=first.with_fallbacks([second]), prm=prm, n=2, max_concurrency=1)
    for message in answers(chat):
        assert (message.text, message.response_metadata["medprm"]["samples_failed"]) == (GOOD, 0)
    assert (len(first.asked), len(second.asked)) == (4, 2)


def test_a_configurable_model(prm):
    llm = ScriptedChat(answers=[BAD, GOOD]).configurable_fields(model_name=ConfigurableField("name"))
    chat = ChatMedPRM(llm=llm, prm=prm, n=2, max_concurrency=1)
    assert [message.text for message in answers(chat)] == [GOOD, GOOD]
    assert chat.model_name == "scripted"


def test_a_model_of_init_chat_model(prm, monkeypatch):
    llm = ScriptedChat(answers=[BAD, GOOD])
    monkeypatch.setattr(base, "_init_chat_model_helper", lambda *_, **__: llm)
    made = base.init_chat_model("gpt-5", model_provider="openai", configurable_fields="any")
    chat = ChatMedPRM(llm=made, prm=prm, n=2, max_concurrency=1)
    assert [message.text for message in answers(chat)] == [GOOD, GOOD]
    monkeypatch.setattr(base, "_init_chat_model_helper", lambda **_: 1 // 0)
    with pytest.raises(ValidationError, match="must have a default model"):
        ChatMedPRM(llm=made, prm=prm)


def wrapped(llm):
    return {
        "retry": llm.with_retry(),
        "fallbacks": llm.with_fallbacks([ScriptedChat(answers=[BAD])]),
        "both": llm.with_retry().with_fallbacks([ScriptedChat(answers=[BAD])]).bind(stop=["X"]),
    }


@pytest.mark.parametrize("wrapper", ["retry", "fallbacks", "both"])
def test_wrapped_models_take_tools_schemas_and_settings(prm, wrapper):
    llm = ScriptedChat(answers=[obedient])
    chat = ChatMedPRM(llm=wrapped(llm)[wrapper], prm=prm, n=3, max_concurrency=1, temperature=0.5)  # type: ignore[call-arg]
    state = create_agent(chat, [search]).invoke({"messages": [("human", QUESTION)]})
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert ranking_of(state["messages"][-1]).documents_used == 1
    assert len(llm.asked) == 1 + 3
    assert all(kwargs["temperature"] == 0.5 for _, kwargs in llm.asked)
    assert (wrapper == "both") == all(kwargs["stop"] == ["X"] for _, kwargs in llm.asked)
    schema = {"title": "Out", "description": "x", "type": "object", "properties": {"answer": {"type": "string"}}}
    assert set(chat.with_structured_output(schema).invoke(QUESTION)) == {"answer"}


def test_what_is_no_chat_model_is_refused(prm):
    for llm in (RunnableLambda(str), ScriptedChat(answers=[GOOD]) | RunnableLambda(str), "gpt-5", None):
        with pytest.raises(ValidationError, match="llm must be a chat model"):
            ChatMedPRM(llm=llm, prm=prm)


def test_sampling_samples_is_refused_before_anything_is_paid_for(prm):
    llm = ScriptedChat(answers=[GOOD])
    chat = ChatMedPRM(llm=llm, prm=prm, n=16)
    for nested in (chat, chat.bind(stop=["X"]), chat.with_retry()):
        for make in (ChatMedPRM, MedPRMBestOfN):
            with pytest.raises(ValidationError, match="not a ChatMedPRM, which samples itself"):
                make(llm=nested, prm=prm)
    agent = create_agent(chat, [search], middleware=[MedPRMMiddleware(prm=prm, n=16)])
    asked = {"messages": [("human", QUESTION)]}
    for run in (lambda: agent.invoke(asked), lambda: asyncio.run(agent.ainvoke(asked))):
        with pytest.raises(ValueError, match="not a ChatMedPRM, which samples itself"):
            run()
    assert llm.asked == []


# --- before anything is paid for ---


def failing(messages):
    raise LookupError(SECRET)


def test_evidence_that_fails_costs_no_samples(prm):
    llm = ScriptedChat(answers=[GOOD])
    chat = ChatMedPRM(llm=llm, prm=prm, n=8, evidence=failing)
    for run in (lambda: chat.invoke(QUESTION), lambda: asyncio.run(chat.ainvoke(QUESTION))):
        with pytest.raises(LookupError):
            run()
    assert llm.asked == []


def test_in_an_agent_evidence_is_asked_for_after_the_turn_that_might_call_tools(prm):
    llm, seen = ScriptedChat(answers=[call(query="x"), GOOD, BAD, WORSE]), []

    def evidence(request):
        seen.append(len(llm.asked))
        return ["Label: 5 mg."]

    middleware = MedPRMMiddleware(prm=prm, n=3, evidence=evidence, max_concurrency=1)
    state = create_agent(llm, [search], middleware=[middleware]).invoke({"messages": [("human", QUESTION)]})
    assert (seen, ranking_of(state["messages"][-1]).documents_used) == ([2], 2)
    costly = ScriptedChat(answers=[GOOD])
    with pytest.raises(LookupError):
        create_agent(costly, [], middleware=[MedPRMMiddleware(prm=prm, n=8, evidence=failing)]).invoke(
            {"messages": [("human", QUESTION)]}
        )
    assert len(costly.asked) == 1
    alone = MedPRMMiddleware(prm=prm, n=1, evidence=evidence)
    state = create_agent(ScriptedChat(answers=[GOOD]), [], middleware=[alone]).invoke(
        {"messages": [("human", QUESTION)]}
    )
    assert ranking_of(state["messages"][-1]).documents_used == 1


@pytest.mark.parametrize("value", [0, -1, 10**9, True, "8", 2.5])
def test_a_wrong_n_is_refused_however_it_comes(prm, value):
    llm = ScriptedChat(answers=[GOOD])
    with pytest.raises(ValidationError):
        ChatMedPRM(llm=llm, prm=prm, n=value)
    chat = ChatMedPRM(llm=llm, prm=prm, n=2)
    chat.n = value
    with pytest.raises(InputError, match=r"^n: "):
        chat.invoke(QUESTION)
    flexible = ChatMedPRM(llm=llm, prm=prm, n=2).configurable_fields(n=ConfigurableField("n"))
    with pytest.raises(ValidationError):
        flexible.invoke(QUESTION, {"configurable": {"n": value}})
    assert llm.asked == []


def test_more_than_n_cannot_agree(prm):
    llm = ScriptedChat(answers=[GOOD])
    for make in (
        lambda: ChatMedPRM(llm=llm, prm=prm, n=4, agree=9),
        lambda: MedPRMMiddleware(prm=prm, n=4, agree=5),
        lambda: MedPRMBestOfN(llm=llm, prm=prm, agree=9),
    ):
        with pytest.raises(ValidationError, match="agree must be at most n"):
            make()
    best = MedPRMBestOfN(llm=llm, prm=prm, n=4, agree=4)
    best.n = 3
    with pytest.raises(InputError, match="agree must be at most n: 4 of 3"):
        best.invoke({"question": QUESTION})
    assert llm.asked == []


@pytest.mark.parametrize(
    "key", ["source_documents", "retrieved_documents", "sources", "chunks", "evidence", "knowledge"]
)
def test_documents_under_a_name_where_nobody_looks(prm, key):
    llm = ScriptedChat(answers=[GOOD])
    for run in (
        lambda: MedPRMBestOfN(llm=llm, prm=prm).invoke({"question": QUESTION, key: [Document(SECRET)]}),
        lambda: MedPRMReranker(prm=prm).invoke({"question": QUESTION, "candidates": [GOOD], key: [SECRET]}),
    ):
        with pytest.raises(InputError, match=f"unknown key '{key}': documents go under the key documents"):
            run()
    assert llm.asked == []


def test_a_document_in_place_of_a_list(prm):
    with pytest.raises(InputError, match="documents must be a list of texts or Documents"):
        MedPRMReranker(prm=prm).invoke({"question": QUESTION, "candidates": [GOOD], "documents": Document(SECRET)})


def test_the_middlewares_refusal_is_for_models_that_sample(prm):
    agent = create_agent(ScriptedChat(answers=[AIMessage(GOOD)]), [], middleware=[MedPRMMiddleware(prm=prm, n=1)])
    assert agent.invoke({"messages": [("human", QUESTION)]})["messages"][-1].text == GOOD
