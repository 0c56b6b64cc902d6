"""`ChatMedPRM`: tools, structured output, streaming, usage, traces, caches, evidence, copies."""

import asyncio
import copy
import json
import pickle
import warnings

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.documents import Document
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.constants import TAG_NOSTREAM
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel, ValidationError

from medprm_integrations.langchain import ChatMedPRM, ranking_of, sampler
from medprm_integrations.shared.user_warnings import IdenticalSamplesWarning
from medprm_scorer import InputError, ModelError, ScoringError
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

TOTAL = {"input_tokens": 6, "output_tokens": 9, "total_tokens": 15}


class Answer(BaseModel):
    """An answer."""

    reasoning: str
    answer: str


def search(query: str) -> str:
    """Search the labels."""
    return query


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def make(prm):
    def build(*answers, n=3, **options):
        llm = ScriptedChat(answers=answers or (BAD, GOOD, WORSE))
        return ChatMedPRM(llm=llm, prm=prm, n=n, **options)

    return build


async def gather_stream(stream):
    return [chunk async for chunk in stream]


def ask(chat, how, value=QUESTION, config=None):
    """The answer, by one of the ways to ask."""
    if how == "invoke":
        return chat.invoke(value, config)
    if how == "ainvoke":
        return asyncio.run(chat.ainvoke(value, config))
    if how == "batch":
        return chat.batch([value], config)[0]
    (chunk,) = (
        chat.stream(value, config) if how == "stream" else asyncio.run(gather_stream(chat.astream(value, config)))
    )
    assert isinstance(chunk, AIMessageChunk)
    assert chunk.chunk_position == "last"
    return chunk


ways = pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "stream", "astream"])


@ways
def test_the_best_sample_is_the_answer(make, how):
    chat = make()
    message = ask(chat, how)
    assert message.text == GOOD
    assert ranking_of(message).best.text == GOOD
    assert message.usage_metadata == TOTAL
    assert len(chat.llm.asked) == 3
    json.dumps(message.response_metadata)
    assert "Which dose" not in repr(message)


@ways
def test_traces_show_n_runs_below_and_usage_is_counted_once(make, how):
    recorder, usage, collector = Recorder(), UsageMetadataCallbackHandler(), RunCollectorCallbackHandler()
    message = ask(make(), how, config={"callbacks": [recorder, usage, collector], "tags": ["mine"], "run_name": "me"})
    (own,) = recorder.named("me")
    below = recorder.below(own)
    assert [run["name"] for run in below] == ["ScriptedChat"] * 3
    assert all({"mine", TAG_NOSTREAM} <= set(run["tags"]) for run in below)
    assert TAG_NOSTREAM not in recorder.runs[own]["tags"]
    assert usage.usage_metadata["scripted"] == {**TOTAL, **usage.usage_metadata["scripted"]}
    assert message.usage_metadata == TOTAL
    (root,) = collector.traced_runs
    assert len(root.child_runs) == 3
    streamed = [(run, token) for run, token in recorder.tokens if token]
    assert streamed == ([(own, GOOD)] if "stream" in how else [])


def test_events_show_the_winner_once(make):
    async def main():
        return [event async for event in make().astream_events(QUESTION, version="v2")]

    events = asyncio.run(main())
    streamed = [e["data"]["chunk"].text for e in events if e["event"] == "on_chat_model_stream"]
    assert [text for text in streamed if text] == [GOOD]
    assert len([e for e in events if e["event"] == "on_chat_model_end"]) == 4


@pytest.mark.skipif(not hasattr(BaseChatModel, "_iter_v2_events"), reason="this langchain-core has no such protocol")
def test_the_streaming_protocol_knows_its_run(make):
    recorder = Recorder()
    stream = make().stream_events(QUESTION, config={"callbacks": [recorder]}, version="v3")
    assert stream.output.text == GOOD
    (own,) = recorder.named("ChatMedPRM")
    assert len(recorder.below(own)) == 3


def test_in_a_graph_only_the_winner_is_streamed(make):
    chat = make()
    graph = StateGraph(MessagesState)
    graph.add_node("answer", lambda state: {"messages": [chat.invoke(state["messages"])]})
    graph.add_edge(START, "answer")
    app = graph.compile()
    streamed = [chunk.text for chunk, _ in app.stream({"messages": [("human", QUESTION)]}, stream_mode="messages")]
    assert [text for text in streamed if text] == [GOOD]
    assert sampler.TAG_NOSTREAM == TAG_NOSTREAM


def test_it_takes_a_chat_models_place_in_a_chain(make):
    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | make() | StrOutputParser()
    assert chain.invoke({"question": QUESTION}) == GOOD
    assert list(chain.stream({"question": QUESTION})) == [GOOD]
    assert chain.batch([{"question": QUESTION}] * 2, {"max_concurrency": 1}) == [GOOD] * 2


@ways
def test_a_turn_that_calls_tools_passes_untouched(make, how):
    chat, usage = make(call("search", query="dose")), UsageMetadataCallbackHandler()
    message = ask(chat.bind_tools([search]), how, config={"callbacks": [usage]})
    assert message.tool_calls == [{"name": "search", "args": {"query": "dose"}, "id": "1", "type": "tool_call"}]
    assert message.usage_metadata["total_tokens"] == usage.usage_metadata["scripted"]["total_tokens"] == 5
    assert "medprm" not in message.response_metadata
    assert len(chat.llm.asked) == 1
    assert chat.llm.asked[0][1]["tools"][0]["function"]["name"] == "search"
    with pytest.raises(InputError, match="no ranking"):
        ranking_of(message)


@ways
def test_a_final_answer_with_tools_bound_is_sampled(make, how):
    chat = make(BAD, call("search"), GOOD, WORSE, n=4, max_concurrency=1)
    message = ask(chat.bind_tools([search]), how)
    assert (message.text, message.tool_calls) == (GOOD, [])
    assert message.response_metadata["medprm"]["samples_dropped"] == 1
    assert len(chat.llm.asked) == 4


def test_tool_choice_and_bound_arguments_reach_the_model(make):
    chat = make()
    chat.bind_tools([search], tool_choice="any").invoke(QUESTION, stop=["X"], temperature=2)
    kwargs = chat.llm.asked[0][1]
    assert (kwargs["tool_choice"], kwargs["stop"], kwargs["temperature"]) == ("any", ["X"], 2)
    bound = ChatMedPRM(llm=chat.llm.bind(temperature=0.7), prm=chat.prm, n=2)
    bound.bind_tools([search]).invoke(QUESTION)
    assert chat.llm.asked[-1][1]["temperature"] == 0.7


def structured(reasoning, answer="A"):
    return call("Answer", reasoning=reasoning, answer=answer)


@ways
def test_structured_answers_are_judged_by_their_fields(make, how):
    broken = call("Answer", reasoning="Step 1: Nothing else [0.99].")
    chat = make(structured("Step 1: Guess [0.1]."), structured("Step 1: 5 mg [0.9].", "B"), broken, GOOD, n=4)
    llm = chat.with_structured_output(Answer)
    recorder, usage = Recorder(), UsageMetadataCallbackHandler()
    config = {"callbacks": [recorder, usage]}
    if how in ("stream", "astream"):
        (answer,) = (
            llm.stream(QUESTION, config)
            if how == "stream"
            else asyncio.run(gather_stream(llm.astream(QUESTION, config)))
        )
    else:
        answer = ask(llm, how, config=config)
    assert answer == Answer(reasoning="Step 1: 5 mg [0.9].", answer="B")
    assert usage.usage_metadata["scripted"]["total_tokens"] == 20
    (own,) = recorder.named("ChatMedPRM")
    assert [run["name"] for run in recorder.below(own)] == ["sample"] * 4
    assert len([run for run in recorder.runs.values() if run["kind"] == "model"]) == 1


def test_structured_output_with_raw(make):
    script = (structured("Step 1: 5 mg [0.9]."), GOOD, structured("Step 1: 9 mg [0.1].", "B"))
    llm = make(*script).with_structured_output(Answer, include_raw=True)
    found = llm.invoke(QUESTION)
    assert (found["parsed"].answer, found["parsing_error"]) == ("A", None)
    assert ranking_of(found["raw"]).answer == "A"
    broken = make(call("Answer", wrong=1)).with_structured_output(Answer, include_raw=True).invoke(QUESTION)
    assert broken["parsed"] is None
    assert broken["parsing_error"] is not None


def test_structured_output_without_tools(make):
    good = json.dumps({"reasoning": "Step 1: 5 mg [0.9].", "answer": "A"})
    llm = make("no JSON", good, json.dumps({"answer": 5})).with_structured_output(Answer, method="json_mode")
    assert llm.invoke(QUESTION).answer == "A"


@ways
def test_failed_samples(make, how):
    assert ask(make(ValueError(SECRET), GOOD, TimeoutError()), how).text == GOOD
    with pytest.raises(TimeoutError, match="all 3 samples failed"):
        ask(make(TimeoutError(), ValueError(), ValueError(), max_concurrency=1), how)
    with pytest.raises(ScoringError):
        ask(make("", " "), how)


def test_a_fallback_takes_over_when_all_fail(make):
    chat = make(TimeoutError()).with_fallbacks([FakeListChatModel(responses=["fallback"])])
    assert chat.invoke(QUESTION).text == "fallback"


TALK = [
    SystemMessage("You are careful."),
    HumanMessage("An old question"),
    call("search", id="1"),
    ToolMessage("Old label: 9 mg.", tool_call_id="1"),
    AIMessage("An old answer"),
    HumanMessage(QUESTION),
    AIMessage("", tool_calls=[{"name": n, "args": {}, "id": i} for n, i in (("search", "2"), ("other", "3"))]),
    ToolMessage("as text", tool_call_id="2", artifact=[Document("New label: 5 mg."), Document("More.")]),
    ToolMessage("Other tool's text", tool_call_id="3"),
    ToolMessage("Broken tool", tool_call_id="4", status="error"),
]


def documents_in(prm):
    prompt = prm.engine.calls[-1][0]
    return [part.split("\n\n")[0] for part in prompt.split("Document ")[1:]]


def test_evidence_is_the_tools_results_newest_first(make, prm):
    make().invoke(TALK)
    assert documents_in(prm) == ["1: Other tool's text", "2: New label: 5 mg.", "3: More."]  # not of the old question
    assert QUESTION in prm.engine.calls[-1][0]
    assert "old question" not in prm.engine.calls[-1][0]
    make(evidence_tools=["search"]).invoke(TALK)
    assert documents_in(prm) == ["1: New label: 5 mg.", "2: More."]
    make(evidence_tools=[]).invoke(TALK)
    assert documents_in(prm) == []


def test_documents_that_a_checkpointer_gives_back_are_still_documents(make, prm):
    """LangGraph's stores a message by its fields, and gives back mappings for what is inside an artifact."""
    stored = [JsonPlusSerializer().loads_typed(JsonPlusSerializer().dumps_typed(message)) for message in TALK]
    assert not isinstance(stored[7].artifact[0], Document), "nothing to test: LangGraph restores documents by itself"
    make().invoke(stored)
    assert documents_in(prm) == ["1: Other tool's text", "2: New label: 5 mg.", "3: More."]
    odd = [{"type": "Document", "page_content": 5}, {"type": "Document"}, {"type": "x", "page_content": "no"}]
    make().invoke([*TALK[:7], ToolMessage("as text", tool_call_id="2", artifact=odd)])
    assert documents_in(prm) == ["1: as text"]


def test_evidence_and_question_from_functions(make, prm):
    chat = make(
        evidence=lambda messages: [Document(f"{len(messages)} messages")],
        evidence_tools=["other"],
        question=lambda messages: "My own question?",
    )
    chat.invoke(TALK)
    assert documents_in(prm) == ["1: 10 messages", "2: Other tool's text"]
    assert "My own question?" in prm.engine.calls[-1][0]

    async def retrieve(messages):
        return ["retrieved"]

    later = make(evidence=retrieve, evidence_tools=())
    asyncio.run(later.ainvoke(TALK))
    assert documents_in(prm) == ["1: retrieved"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="async"):
            later.invoke(TALK)


def test_evidence_beyond_the_budget_is_counted(make):
    huge = ToolMessage("dose " * 5000, tool_call_id="9")
    message = make().invoke([*TALK, huge])
    assert message.response_metadata["medprm"]["documents_left_out"] == 1
    assert ranking_of(message).documents_used == 3


def test_without_a_question_nothing_is_asked(make):
    chat = make()
    with pytest.raises(InputError, match="no question"):
        chat.invoke([AIMessage(SECRET), HumanMessage(" ")])
    assert chat.llm.asked == []
    assert chat.invoke([SystemMessage(QUESTION)]).text == GOOD


def test_caches(make):
    cache = InMemoryCache()
    set_llm_cache(cache)
    try:
        chat = make(keep="all")
        assert len({chain.text for chain in ranking_of(chat.invoke(QUESTION)).chains}) == 3
        again = chat.invoke(QUESTION)  # the winner itself may be kept: it is one answer to one question
        assert (again.text, len(chat.llm.asked)) == (GOOD, 3)
        other = ChatMedPRM(llm=chat.llm, prm=chat.prm, n=2)
        assert len(ranking_of(other.invoke(QUESTION)).chains) == 2
        assert len(cache._cache) == 2
    finally:
        set_llm_cache(None)


def test_identical_samples_warn_once(make):
    chat = make(GOOD)
    with pytest.warns(IdenticalSamplesWarning):
        chat.invoke(QUESTION)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chat.invoke(QUESTION)


def test_agreement_stops_early(make):
    chat = make(GOOD, n=9, agree=2)
    with pytest.warns(IdenticalSamplesWarning):
        chat.invoke(QUESTION)
    assert len(chat.llm.asked) == 2


def test_settings_copies_and_reprs(make, prm):
    chat = make(strategy="best_of_n", evidence=lambda messages: [SECRET])
    assert {"n": 3, "strategy": "best_of_n"}.items() <= json.loads(chat.model_dump_json()).items()
    for again in (copy.copy(chat), copy.deepcopy(chat)):
        assert again.prm is prm
        assert again.invoke(QUESTION).text == GOOD
    with pytest.raises(ModelError, match="cannot be pickled"):
        pickle.dumps(ChatMedPRM(llm=FakeListChatModel(responses=[GOOD]), prm=prm, n=1))
    recorder = Recorder()
    chat.invoke(TALK, {"callbacks": [recorder]})
    own = recorder.runs[recorder.named("ChatMedPRM")[0]]
    shown = repr(chat) + str(chat) + json.dumps(own["serialized"], default=repr) + repr(chat._identifying_params)
    assert not any(text in shown for text in (SECRET, "5 mg", "Step 1"))
    assert chat._get_ls_params()["ls_model_name"] == chat.model_name == "scripted"
    flexible = chat.configurable_fields(n=ConfigurableField(id="n"))
    assert len(ranking_of(flexible.invoke(QUESTION, {"configurable": {"n": 2}})).chains) == 2


@pytest.mark.parametrize("bad", [{"n": 0}, {"strategy": "best"}, {"llm": RunnableLambda(str)}, {"prm": "model"}])
def test_settings_are_checked(prm, bad):
    with pytest.raises(ValidationError) as caught:
        ChatMedPRM(**{"llm": ScriptedChat(answers=[SECRET]), "prm": prm, **bad})
    assert SECRET not in str(caught.value)


def test_many_tasks_at_once(make):
    chat = make(GOOD, max_concurrency=2)

    async def main():
        return await asyncio.gather(*(chat.ainvoke(QUESTION) for _ in range(12)))

    with pytest.warns(IdenticalSamplesWarning):
        assert {message.text for message in asyncio.run(main())} == {GOOD}
    assert len(chat.llm.asked) == 36


def test_cancelling_cancels_the_samples(prm):
    started, ended = [], []

    class Slow(ScriptedChat):
        async def _agenerate(self, *args, **kwargs):
            started.append(1)
            try:
                await asyncio.sleep(30)
            finally:
                ended.append(1)

    async def main():
        task = asyncio.create_task(ChatMedPRM(llm=Slow(answers=[]), prm=prm, n=3).ainvoke(QUESTION))
        while len(started) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert len(ended) == 3
