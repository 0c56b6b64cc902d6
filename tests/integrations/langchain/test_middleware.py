"""`MedPRMMiddleware` in real agents: tool turns, evidence, streaming, structured output, interrupts, errors."""

import asyncio
import json
import threading
from dataclasses import dataclass

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, wrap_model_call
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputValidationError, ToolStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.documents import Document
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import BaseModel, ValidationError

from medprm_integrations.langchain import MedPRMMiddleware, ranking_of
from medprm_integrations.shared.user_warnings import IdenticalSamplesWarning
from medprm_scorer import Floors, InputError
from tests.support.langchain_scripts import (
    BAD,
    GOOD,
    QUESTION,
    SECRET,
    WORSE,
    Recorder,
    ScriptedChat,
    call,
    reading_prm,
)


class Answer(BaseModel):
    """An answer."""

    reasoning: str
    answer: str


@tool(response_format="content_and_artifact")
def search(query: str) -> tuple[str, list[Document]]:
    """Search the labels."""
    return f"Found for {query}", [Document(f"Label: {query} 5 mg."), Document(f"More on {query}.")]


@tool
def weigh(patient: str) -> str:
    """Weigh a patient."""
    return f"{patient} weighs 40 kg."


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def make(prm):
    """An agent, its model and its middleware."""

    def build(*answers, n=3, agent=None, before=(), model=None, **options):
        llm = model or ScriptedChat(answers=answers)
        middleware = MedPRMMiddleware(prm=prm, n=n, **{"max_concurrency": 1, **options})
        app = create_agent(llm, [search, weigh], middleware=[*before, middleware], **(agent or {}))
        return app, llm, middleware

    return build


def run(app, how, value=QUESTION, config=None):
    given = {"messages": [("human", value)]}
    return app.invoke(given, config) if how == "invoke" else asyncio.run(app.ainvoke(given, config))


ways = pytest.mark.parametrize("how", ["invoke", "ainvoke"])


def documents_in(prm):
    return [part.split("\n\n")[0] for part in prm.engine.calls[-1][0].split("Document ")[1:]]


@ways
def test_final_answers_are_selected_and_tool_turns_pass_untouched(make, prm, how):
    app, llm, _ = make(call("search", query="Zoravine"), call("weigh", patient="P"), BAD, GOOD, WORSE)
    recorder, usage = Recorder(), UsageMetadataCallbackHandler()
    state = run(app, how, config={"callbacks": [recorder, usage]})
    messages = state["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai", "tool", "ai"]
    assert "medprm" not in messages[1].response_metadata
    assert messages[1].usage_metadata["total_tokens"] == 5
    assert messages[-1].text == GOOD
    assert ranking_of(messages[-1]).documents_used == 3
    assert documents_in(prm) == ["1: P weighs 40 kg.", "2: Label: Zoravine 5 mg.", "3: More on Zoravine."]
    assert len(llm.asked) == 5
    assert len(prm.engine.calls) == 1
    assert messages[-1].usage_metadata["total_tokens"] == 15
    assert usage.usage_metadata["scripted"]["total_tokens"] == 25
    models = [run for run in recorder.runs.values() if run["name"] == "ScriptedChat"]
    assert len(models) == 5
    assert all(run["parent"] in recorder.runs for run in models)
    json.dumps(messages[-1].response_metadata)


def test_only_the_winner_is_streamed(make):
    app, _, _ = make(call("search", query="Zoravine"), BAD, GOOD, WORSE)
    given = {"messages": [("human", QUESTION)]}
    texts = [chunk.text for chunk, _ in app.stream(given, stream_mode="messages") if isinstance(chunk, AIMessage)]
    assert [text for text in texts if text] == [GOOD]

    async def main():
        app, _, _ = make(call("search", query="Zoravine"), BAD, GOOD, WORSE)
        return [chunk async for chunk, _ in app.astream(given, stream_mode="messages")]

    chunks = asyncio.run(main())
    assert [chunk.text for chunk in chunks if isinstance(chunk, AIMessage) and chunk.text] == [GOOD]
    assert [chunk.tool_calls[0]["name"] for chunk in chunks if getattr(chunk, "tool_calls", None)] == ["search"]


@ways
def test_later_draws_that_call_tools_are_dropped(make, how):
    app, _, _ = make(BAD, call("search", query="x"), GOOD)
    (_, answer) = run(app, how)["messages"]
    assert (answer.text, answer.tool_calls, answer.response_metadata["medprm"]["samples_dropped"]) == (GOOD, [], 1)


@ways
def test_a_later_failure_ends_nothing_and_a_first_one_passes_through(make, how):
    app, _, _ = make(GOOD, ValueError(SECRET), TimeoutError(), replacements=0)
    assert run(app, how)["messages"][-1].response_metadata["medprm"]["samples_failed"] == 2
    app, llm, _ = make(TimeoutError("first"), GOOD)
    with pytest.raises(TimeoutError, match="first"):
        run(app, how)
    assert len(llm.asked) == 1


def test_other_middleware_sees_one_call(make):
    seen = []

    @wrap_model_call
    def count(request, handler):
        response = handler(request)
        seen.append(response)
        return response

    @wrap_model_call
    def retry(request, handler):
        try:
            return handler(request)
        except TimeoutError:
            return handler(request)

    app, llm, _ = make(TimeoutError(), BAD, GOOD, WORSE, before=[count, retry])
    assert run(app, "invoke")["messages"][-1].text == GOOD
    assert (len(seen), len(llm.asked)) == (1, 4)
    fallback = ModelFallbackMiddleware(ScriptedChat(answers=[GOOD, BAD]))
    app, _, _ = make(TimeoutError(), before=[fallback])
    assert run(app, "invoke")["messages"][-1].text == GOOD


def test_evidence_by_tool_by_function_and_none(make, prm):
    def ask(**options):
        script = (call("search", query="Z"), call("weigh", patient="P"), GOOD, BAD)
        app, _, _ = make(*script, n=2, **options)
        run(app, "invoke")
        return documents_in(prm)

    assert ask(evidence_tools=["weigh"]) == ["1: P weighs 40 kg."]
    assert ask(evidence_tools=[]) == []
    found = ask(evidence_tools=["weigh"], evidence=lambda request: [Document(f"{len(request.messages)} messages")])
    assert found == ["1: 5 messages", "2: P weighs 40 kg."]
    assert "My own?" not in prm.engine.calls[-1][0]
    ask(question=lambda request: "My own?")
    assert "My own?" in prm.engine.calls[-1][0]


def test_a_search_that_found_nothing_is_no_document(prm):
    @tool
    def search(query: str) -> str:
        """Search."""
        return "No documents found."

    llm = ScriptedChat(answers=[call("search", query="Z"), GOOD, BAD])
    floors = Floors(min_documents=1)
    app = create_agent(llm, [search], middleware=[MedPRMMiddleware(prm=prm, n=2, max_concurrency=1, trust=floors)])
    ranking = ranking_of(run(app, "invoke")["messages"][-1])
    assert (ranking.documents_given, ranking.trusted) == (0, False)


def test_an_async_evidence_function(make, prm):
    async def retrieve(request):
        return ["retrieved"]

    app, _, _ = make(GOOD, BAD, n=2, evidence=retrieve)
    run(app, "ainvoke")
    assert documents_in(prm) == ["1: retrieved"]
    app, _, _ = make(GOOD, BAD, n=2, evidence=retrieve)
    with pytest.raises(InputError, match="async"):
        run(app, "invoke")


def test_evidence_is_within_the_budget_newest_first(make, prm):
    @tool
    def dump(what: str) -> str:
        """Give a whole manual."""
        return "dose " * 5000

    llm = ScriptedChat(answers=[call("search", query="Z"), call("dump", what="all"), GOOD, BAD])
    app = create_agent(llm, [search, dump], middleware=[MedPRMMiddleware(prm=prm, n=2, max_concurrency=1)])
    message = run(app, "invoke")["messages"][-1]
    assert documents_in(prm) == ["1: Label: Z 5 mg.", "2: More on Z."]
    assert message.response_metadata["medprm"]["documents_left_out"] == 1


def answer(reasoning, letter="A", id="9"):
    return call("Answer", id=id, reasoning=reasoning, answer=letter)


@ways
def test_structured_answers_through_a_tool(make, prm, how):
    broken = call("Answer", reasoning="Step 1: No answer [0.99].")
    script = (
        call("search", query="Z"),
        broken,
        answer("Step 1: Guess [0.1]."),
        answer("Step 1: 5 mg [0.9].", "B"),
        GOOD,
    )
    app, llm, _ = make(*script, n=4, replacements=0, agent={"response_format": ToolStrategy(Answer)})
    state = run(app, how)
    assert state["structured_response"] == Answer(reasoning="Step 1: 5 mg [0.9].", answer="B")
    ranking = ranking_of(state["messages"][-2])
    assert (ranking.answer, len(ranking.chains)) == ("B", 2)
    assert state["messages"][-2].response_metadata["medprm"]["samples_failed"] == 2
    assert isinstance(state["messages"][-1], ToolMessage)
    assert documents_in(prm) == ["1: Label: Z 5 mg.", "2: More on Z."]
    # a second question: the first answer, which came back as a tool's result, is no evidence for the next
    llm.answers = [answer("Step 1: Again [0.5].")]
    with pytest.warns(IdenticalSamplesWarning):
        app.invoke({"messages": [*state["messages"], ("human", "And now?")]})
    assert documents_in(prm) == ["1: Label: Z 5 mg.", "2: More on Z."]


def test_when_every_structured_answer_is_invalid_the_agent_asks_again(make):
    broken = call("Answer", wrong=1)
    app, llm, _ = make(broken, n=2, agent={"response_format": ToolStrategy(Answer)})
    llm.answers = [broken, broken, answer("Step 1: 5 mg [0.9]."), answer("Step 1: 9 mg [0.1].", "B")]
    assert run(app, "invoke")["structured_response"].answer == "A"
    app, _, _ = make(broken, n=2, agent={"response_format": ToolStrategy(Answer, handle_errors=False)})
    with pytest.raises(StructuredOutputValidationError, match="all 2 samples failed"):
        run(app, "invoke")


@ways
def test_structured_answers_of_the_provider(make, how):
    script = ("no JSON", json.dumps({"reasoning": "Step 1: Guess [0.1].", "answer": "B"}))
    good = json.dumps({"reasoning": "Step 1: 5 mg [0.9].", "answer": "A"})
    app, _, _ = make(*script, good, agent={"response_format": ProviderStrategy(Answer)})
    state = run(app, how)
    assert state["structured_response"].answer == "A"
    assert state["messages"][-1].text == good


def test_interrupts_pass_through(make):
    pause = {"now": True}

    def asking(messages, kwargs):
        if pause["now"]:
            interrupt("May I?")
        return AIMessage(GOOD)

    for script in ([asking, BAD, BAD], [BAD, asking, asking]):
        pause["now"] = True
        app, _, _ = make(*script, agent={"checkpointer": InMemorySaver()}, max_concurrency=2)
        config = {"configurable": {"thread_id": "1"}}
        state = app.invoke({"messages": [("human", QUESTION)]}, config)
        assert state["__interrupt__"][0].value == "May I?"
        pause["now"] = False
        state = app.invoke(Command(resume="yes"), config)
        assert state["messages"][-1].text == GOOD


def test_a_checkpoint_keeps_the_ranking(make):
    app, _, _ = make(BAD, GOOD, WORSE, agent={"checkpointer": InMemorySaver()})
    config = {"configurable": {"thread_id": "1"}}
    run(app, "invoke", config=config)
    assert ranking_of(app.get_state(config).values["messages"][-1]).answer == "A"


@pytest.mark.parametrize("limit", [1, 2])
def test_sampling_is_parallel_but_bounded(make, limit):
    model = ScriptedChat(answers=[GOOD, BAD], delay=0.02)
    app, _, _ = make(model=model, n=7, max_concurrency=limit)
    run(app, "invoke")
    run(app, "ainvoke")
    assert model.most_at_once == limit
    assert len(model.asked) == 14


def test_threads_keep_the_agents_context(make):
    seen = []

    @dataclass
    class Who:
        name: str

    def evidence(request):
        seen.append((request.runtime.context.name, threading.current_thread().name))
        return []

    app, _, _ = make(GOOD, BAD, n=2, evidence=evidence, agent={"context_schema": Who}, max_concurrency=4)
    app.invoke({"messages": [("human", QUESTION)]}, context=Who("me"))
    assert [name for name, _ in seen] == ["me"]


def test_a_cache_does_not_make_copies(make):
    set_llm_cache(InMemoryCache())
    try:
        app, llm, _ = make(BAD, GOOD, WORSE, keep="all")
        assert len({chain.text for chain in ranking_of(run(app, "invoke")["messages"][-1]).chains}) == 3
        assert llm.cache is None
        assert llm.tags is None
    finally:
        set_llm_cache(None)


def test_identical_samples_warn(make):
    app, _, _ = make(GOOD)
    with pytest.warns(IdenticalSamplesWarning):
        run(app, "invoke")


def test_agreement_stops_early(make):
    app, llm, _ = make(GOOD, BAD, GOOD, n=9, agree=2)
    run(app, "invoke")
    assert len(llm.asked) == 3


def test_cancelling_cancels_the_samples(prm):
    started, ended = [], []

    class Slow(ScriptedChat):
        async def _agenerate(self, *args, **kwargs):
            if not self.asked:
                return self._generate(*args, **kwargs)
            started.append(1)
            try:
                await asyncio.sleep(30)
            finally:
                ended.append(1)

    async def main():
        app = create_agent(Slow(answers=[GOOD]), [], middleware=[MedPRMMiddleware(prm=prm, n=4)])
        task = asyncio.create_task(app.ainvoke({"messages": [("human", QUESTION)]}))
        while len(started) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert len(ended) == 3


def test_settings_are_checked_and_the_repr_has_no_text(prm):
    middleware = MedPRMMiddleware(prm=prm, evidence=lambda request: [SECRET])
    assert SECRET not in repr(middleware)
    assert not getattr(middleware, "tools", None)  # they would become the agent's
    for bad in ({"n": 0}, {"strategy": "best"}, {"max_concurrency": 0}):
        with pytest.raises(ValidationError):
            MedPRMMiddleware(prm=prm, **bad)
