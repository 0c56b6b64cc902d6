"""The custom event `medprm_ranking`: each class sends it within a run, with figures and no text."""

import asyncio
import json

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.outputs import Generation
from langchain_core.runnables import RunnableLambda

from medprm_integrations.langchain import (
    ChatMedPRM,
    MedPRMBestOfN,
    MedPRMMiddleware,
    MedPRMOutputParser,
    MedPRMReranker,
)
from medprm_integrations.langchain.events import EVENT
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, SECRET, ScriptedChat, call, reading_prm

CANDIDATES = [f"Step 1: {SECRET} [0.3].\nStep 2: The answer is (B) [0.3]", GOOD]
REQUEST = {"question": f"{SECRET}. {QUESTION}", "candidates": CANDIDATES, "documents": [f"{SECRET}'s label: 5 mg."]}


class Listener(BaseCallbackHandler):
    """Keeps custom events."""

    def __init__(self):
        self.events, self.runs = [], set()

    def on_custom_event(self, name, data, *, run_id, **kwargs):
        self.events.append((name, data, run_id))

    def on_chain_start(self, serialized, inputs, *, run_id, **kwargs):
        self.runs.add(run_id)

    def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):
        self.runs.add(run_id)


class AsyncListener(AsyncCallbackHandler):
    """The same, awaited."""

    def __init__(self):
        self.events = []

    async def on_custom_event(self, name, data, *, run_id, **kwargs):
        self.events.append((name, data, run_id))


@pytest.fixture
def prm():
    return reading_prm()


def classes(prm, **options):
    """Each class, with an input for it."""
    sampling = {"prm": prm, "n": 2, "max_concurrency": 1, **options}

    def llm():
        return ScriptedChat(answers=CANDIDATES)

    parser = MedPRMOutputParser(prm=prm).about(REQUEST["question"], REQUEST["documents"])
    parsing = RunnableLambda(lambda _: parser.parse_result([Generation(text=text) for text in CANDIDATES]))
    agent = create_agent(llm(), [], middleware=[MedPRMMiddleware(**sampling)])
    return {
        "reranker": (MedPRMReranker(prm=prm), REQUEST),
        "best_of_n": (MedPRMBestOfN(llm=llm(), **sampling), REQUEST),
        "chat": (ChatMedPRM(llm=llm(), **sampling), REQUEST["question"]),
        "middleware": (agent, {"messages": [("human", REQUEST["question"])]}),
        "parser": (parsing, ""),
    }


each = pytest.mark.parametrize("name", ["reranker", "best_of_n", "chat", "middleware", "parser"])


def check(events, count=1):
    assert len(events) == count
    for name, data in events:
        assert (name, data["best"], data["chains"][0]["step_rewards"]) == (EVENT, {"index": 1}, [0.9, 0.9])
        assert SECRET not in json.dumps(data)
        assert "samples_failed" not in data


@each
def test_a_handler_hears_of_each_ranking(prm, name):
    listener, awaited = Listener(), AsyncListener()
    runnable, given = classes(prm)[name]
    runnable.invoke(given, {"callbacks": [listener]})
    check([event[:2] for event in listener.events])
    assert listener.events[0][2] in listener.runs
    asyncio.run(runnable.ainvoke(given, {"callbacks": [awaited]}))
    check([event[:2] for event in awaited.events])


@each
def test_astream_events_has_it(prm, name):
    runnable, given = classes(prm, keep="none")[name]

    async def main():
        stream = (RunnableLambda(lambda x: x) | runnable).astream_events(given, version="v2")
        return [(event["name"], event["data"]) async for event in stream if event["event"] == "on_custom_event"]

    check(asyncio.run(main()))


def test_a_batch_sends_each_ranking_to_its_own_run(prm):
    listeners = [Listener(), Listener()]
    configs = [{"callbacks": [listener]} for listener in listeners]
    for name in ("reranker", "best_of_n"):
        runnable, given = classes(prm)[name]
        runnable.batch([given, {**given, "candidates": []}], configs, return_exceptions=True)
    assert [len(listener.events) for listener in listeners] == [2, 1]  # the reranker's second has no candidates
    listener = Listener()
    asyncio.run(classes(prm)["reranker"][0].abatch([REQUEST] * 3, {"callbacks": [listener]}))
    check([event[:2] for event in listener.events], 3)


def test_a_stream_has_it_and_a_turn_that_calls_tools_has_none(prm):
    listener = Listener()
    list(ChatMedPRM(llm=ScriptedChat(answers=CANDIDATES), prm=prm, n=2, max_concurrency=1).stream(
        REQUEST["question"], {"callbacks": [listener]}))  # fmt: skip
    check([event[:2] for event in listener.events])
    tool = {"type": "function", "function": {"name": "search", "description": "", "parameters": {}}}
    turn = ChatMedPRM(llm=ScriptedChat(answers=[call("search")]), prm=prm, n=2).bind_tools([tool])
    turn.invoke(QUESTION, {"callbacks": [listener]})
    assert len(listener.events) == 1


def test_outside_a_run_nothing_is_sent_and_nothing_fails(prm):
    parser = MedPRMOutputParser(prm=prm).about(QUESTION)
    texts = [Generation(text=BAD), Generation(text=GOOD)]
    assert parser.parse_result(texts).text == asyncio.run(parser.aparse_result(texts)).text == GOOD
