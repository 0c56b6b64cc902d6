"""`MedPRMLLM`: chat, completion, streaming, tools, agents, chat engines, evidence, usage, copies."""

import asyncio
import copy
import json
import pickle
import warnings

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine, SimpleChatEngine
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.memory import Memory
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step
from pydantic import BaseModel, ValidationError

from medprm_integrations.llama_index import MedPRMLLM, ranking_of
from medprm_integrations.shared.user_warnings import IdenticalSamplesWarning
from medprm_scorer import InputError, ModelError, ScoringError
from tests.support.llama_index_scripts import (
    BAD,
    GOOD,
    QUESTION,
    SECRET,
    WORSE,
    Events,
    Fixed,
    ScriptedLLM,
    call,
    document,
    documents_in,
    reading_prm,
)

ASKED = [ChatMessage(QUESTION)]
TOTAL = {"input_tokens": 6, "output_tokens": 9, "total_tokens": 15}


class Answer(BaseModel):
    """An answer."""

    reasoning: str
    answer: str


def search(query: str) -> str:
    """Search the labels."""
    return f"Label: {query} 5 mg."


def weigh(patient: str) -> str:
    """Weigh a patient."""
    return f"{patient} weighs 40 kg."


TOOLS = [FunctionTool.from_defaults(search), FunctionTool.from_defaults(weigh)]


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def make(prm):
    def build(*answers, n=3, llm=None, **options):
        llm = llm or ScriptedLLM(answers=answers or (BAD, GOOD, WORSE))
        return MedPRMLLM(llm=llm, prm=prm, n=n, **{"max_concurrency": 1, **options})

    return build


async def last(stream):
    """The pieces of a stream, which must be one."""
    (piece,) = [piece async for piece in await stream]
    return piece


def ask(llm, how, messages=ASKED, **kwargs):
    if how == "chat":
        return llm.chat(messages, **kwargs)
    if how == "achat":
        return asyncio.run(llm.achat(messages, **kwargs))
    if how == "stream_chat":
        (piece,) = llm.stream_chat(messages, **kwargs)
    else:
        piece = asyncio.run(last(llm.astream_chat(messages, **kwargs)))
    assert piece.delta == (piece.message.content or "")
    return piece


ways = pytest.mark.parametrize("how", ["chat", "achat", "stream_chat", "astream_chat"])


@ways
def test_the_best_sample_is_the_answer(make, how):
    llm = make()
    response = ask(llm, how)
    assert response.message.content == GOOD
    assert response.message.additional_kwargs == {}  # these go into the next prompt
    ranking = ranking_of(response)
    assert (ranking.answer, ranking.best.text, ranking.question) == ("A", GOOD, QUESTION)
    assert response.additional_kwargs["medprm"]["usage"] == TOTAL
    assert response.additional_kwargs["total_tokens"] == 15
    assert response.raw["id"] == "x"
    assert len(llm.llm.asked) == 3
    json.dumps(response.raw)
    assert "5 mg" not in repr(response.additional_kwargs)


@pytest.mark.parametrize("is_chat", [True, False])
def test_completions(make, is_chat):
    llm = make(llm=ScriptedLLM(answers=[BAD, GOOD, WORSE], is_chat=is_chat))
    (piece,) = llm.stream_complete(QUESTION)
    responses = [
        llm.complete(QUESTION),
        asyncio.run(llm.acomplete(QUESTION, formatted=True)),
        piece,
        asyncio.run(last(llm.astream_complete(QUESTION))),
    ]
    for response in responses:
        assert response.text == GOOD
        assert ranking_of(response).question == QUESTION
    assert [response.delta for response in responses] == [None, None, GOOD, GOOD]
    assert sum(kwargs["formatted"] for _, kwargs in llm.llm.asked) == 3


@ways
def test_arguments_reach_the_model(make, how):
    llm = make()
    ask(llm, how, stop=["X"])
    assert {kwargs["stop"][0] for _, kwargs in llm.llm.asked} == {"X"}


@ways
def test_a_turn_that_calls_tools_passes_untouched(make, how):
    turn = call("search", query="dose")
    turn.content = "Let me look."
    llm = make(turn)
    response = ask(llm, how, tools=["search"])
    assert response.message == turn
    assert set(response.raw) == {"id", "usage"}
    assert "medprm" not in response.additional_kwargs
    assert len(llm.llm.asked) == 1
    with pytest.raises(InputError, match="no ranking"):
        ranking_of(response)


@ways
def test_a_call_with_broken_arguments_is_a_call(make, how):
    turn = ChatMessage(role="assistant", additional_kwargs={"tool_calls": [{"id": "1", "name": "s", "args": "{no"}]})
    assert ask(make(turn), how, tools=["search"]).message == turn


@ways
def test_a_final_answer_with_tools_is_sampled(make, how):
    llm = make(BAD, call(), GOOD, WORSE, n=4)
    response = ask(llm, how, tools=["search"])
    assert response.message.content == GOOD
    assert response.additional_kwargs["medprm"]["samples_dropped"] == 1
    assert len(llm.llm.asked) == 4


def test_chat_with_tools(make):
    llm = make(call("search", query="Z"))
    for response in (
        llm.chat_with_tools(TOOLS, QUESTION),
        asyncio.run(llm.achat_with_tools(TOOLS, QUESTION, tool_required=True)),
        *llm.stream_chat_with_tools(TOOLS, QUESTION),
        asyncio.run(last(llm.astream_chat_with_tools(TOOLS, QUESTION))),
    ):
        (selected,) = llm.get_tool_calls_from_response(response)
        assert (selected.tool_name, selected.tool_kwargs) == ("search", {"query": "Z"})
    assert [kwargs["tool_required"] for _, kwargs in llm.llm.asked] == [False, True, False, False]
    assert llm.predict_and_call(TOOLS, QUESTION).response == "Label: Z 5 mg."
    assert asyncio.run(llm.apredict_and_call(TOOLS, QUESTION)).response == "Label: Z 5 mg."
    assert make(BAD, GOOD, n=2).chat_with_tools(TOOLS, QUESTION).message.content == GOOD


def test_structured_prediction_is_a_tool_turn(make):
    llm = make(call("Answer", reasoning="Step 1: 5 mg [0.9].", answer="A"))
    prompt = PromptTemplate("{question}")
    assert llm.structured_predict(Answer, prompt, question=QUESTION).answer == "A"
    assert llm.as_structured_llm(Answer).chat(ASKED).raw.answer == "A"
    assert len(llm.llm.asked) == 2


def test_a_model_without_tools_says_so(make):
    llm = make(llm=MockLLM(max_tokens=2))
    assert not llm.metadata.is_function_calling_model
    with pytest.raises(InputError, match="MockLLM cannot call tools"):
        llm.chat_with_tools(TOOLS, QUESTION)


# --- agents ---


def agent_run(agent, question=QUESTION):
    async def main():
        handler = agent.run(question)
        streamed = [event async for event in handler.stream_events()]
        return await handler, [event.delta for event in streamed if hasattr(event, "delta") and event.delta]

    return asyncio.run(main())


modes = [True, *([False] if "streaming" in FunctionAgent.model_fields else [])]
"""The first versions of 0.13 have no agents that do not stream."""


@pytest.mark.parametrize("streaming", modes)
def test_function_agent(make, prm, streaming):
    llm = make(call("search", query="Zoravine", id="1"), call("weigh", patient="P", id="2"), BAD, GOOD, WORSE)
    output, deltas = agent_run(FunctionAgent(tools=TOOLS, llm=llm, streaming=streaming))
    assert output.response.content == GOOD
    assert deltas == ([GOOD] if streaming else [])
    assert (ranking_of(output).answer, ranking_of(output).documents_used) == ("A", 2)
    assert documents_in(prm) == ["1: P weighs 40 kg.", "2: Label: Zoravine 5 mg."]
    assert len(llm.llm.asked) == 5
    assert [tool.tool_name for tool in output.tool_calls] == ["search", "weigh"]
    assert len(prm.engine.calls) == 1
    assert not any("medprm" in str(message) for asked, _ in llm.llm.asked for message in asked)


def test_an_agents_second_question_knows_the_first_ones_evidence(make, prm):
    llm = make(call("search", query="Z"), BAD, GOOD, WORSE, call("weigh", patient="P", id="2"), GOOD, BAD, WORSE)
    agent = FunctionAgent(tools=TOOLS, llm=llm)

    async def main():
        memory = Memory.from_defaults()
        await agent.run(QUESTION, memory=memory)
        return await agent.run("And now?", memory=memory)

    output = asyncio.run(main())
    assert ranking_of(output).question == f"{QUESTION}\n\nAnd now?"
    assert documents_in(prm) == ["1: P weighs 40 kg.", "2: Label: Z 5 mg."]
    assert not any("medprm" in str(message) for asked, _ in llm.llm.asked for message in asked)


def test_agent_workflow_takes_it_for_a_function_calling_model(make):
    llm = make(call("search", query="Z"), BAD, GOOD, WORSE)
    workflow = AgentWorkflow.from_tools_or_functions([search], llm=llm)
    assert isinstance(next(iter(workflow.agents.values())), FunctionAgent)
    output, _ = agent_run(workflow)
    assert output.response.content == GOOD


ACTION = 'Thought: Let me look.\nAction: search\nAction Input: {"query": "Zoravine"}'


@pytest.mark.parametrize("streaming", modes)
def test_react_agent(make, prm, streaming):
    answers = [f"Thought: I can answer.\nAnswer: {text}" for text in (BAD, GOOD, WORSE)]
    llm = make(ACTION, answers[0], ACTION, *answers[1:], n=4)
    output, _ = agent_run(ReActAgent(tools=TOOLS, llm=llm, streaming=streaming))
    assert output.response.content == GOOD
    ranking = ranking_of(output)
    assert (ranking.question, ranking.best.text, len(ranking.chains)) == (QUESTION, GOOD, 3)
    assert output.raw["medprm"]["samples_dropped"] == 1
    assert documents_in(prm) == ["1: Label: Zoravine 5 mg."]
    assert len(llm.llm.asked) == 5


def test_react_turns_of_other_forms(make, prm):
    llm = make("Thought: Hm.", n=2)
    system = ChatMessage(role="system", content="Use Action: and Action Input: to call tools.")
    assert llm.chat([system, *ASKED]).message.content == "Thought: Hm."  # for the agent, which asks again
    assert len(llm.llm.asked) == 1
    for text, judged in (
        (GOOD, GOOD),
        ("Thought: It is a virus [0.7].\nAnswer: (B)", "It is a virus [0.7].\nAnswer: (B)"),
    ):
        response = make(text, n=1, keep="all").chat([system, *ASKED])
        assert response.message.content == text
        assert ranking_of(response).best.text == judged
    assert ranking_of(response).answer == "B"
    # in a plain chat, and from a user, the same words are nothing special
    assert ranking_of(make(ACTION, GOOD, n=2, keep="all").chat([ChatMessage(ACTION), *ASKED])).chains[1].text == ACTION


def test_a_workflow_of_your_own(make):
    llm = make(call("search", query="Z"), BAD, GOOD, WORSE)

    class Flow(Workflow):
        @step
        async def answer(self, event: StartEvent) -> StopEvent:
            history = [ChatMessage(event.question)]
            for _ in range(2):
                response = await llm.achat_with_tools(TOOLS, chat_history=history)
                calls = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
                history.append(response.message)
                for one in calls:
                    extra = {"tool_call_id": one.tool_id, "name": one.tool_name}
                    history.append(ChatMessage(role="tool", content=search(**one.tool_kwargs), additional_kwargs=extra))
            return StopEvent(result=response)

    async def main():
        return await Flow().run(question=QUESTION)

    response = asyncio.run(main())
    assert response.message.content == GOOD
    assert ranking_of(response).documents_used == 1


# --- evidence and question ---

TALK = [
    ChatMessage(role="system", content="You are careful."),
    ChatMessage("An old question"),
    call("search", id="1"),
    ChatMessage(role="tool", content="Old label: 9 mg.", additional_kwargs={"tool_call_id": "1"}),
    ChatMessage(role="assistant", content="An old answer"),
    ChatMessage(QUESTION),
    ChatMessage(
        role="assistant",
        additional_kwargs={"tool_calls": [{"id": i, "name": n, "args": {}} for n, i in (("search", "2"), ("o", "3"))]},
    ),
    ChatMessage(role="tool", content="New label: 5 mg.", additional_kwargs={"tool_call_id": "2"}),
    ChatMessage(role="function", content="Other tool's text", additional_kwargs={"name": "other"}),
]


def test_evidence_is_what_tools_found_for_this_question_newest_first(make, prm):
    make().chat(TALK)
    assert documents_in(prm) == ["1: Other tool's text", "2: New label: 5 mg."]
    assert QUESTION in prm.engine.calls[-1][0]
    assert "old question" not in prm.engine.calls[-1][0]
    make(evidence_tools=["search"]).chat(TALK)
    assert documents_in(prm) == ["1: New label: 5 mg."]
    make(evidence_tools=["other"]).chat(TALK)
    assert documents_in(prm) == ["1: Other tool's text"]
    make(evidence_tools=[]).chat(TALK)
    assert documents_in(prm) == []


def test_evidence_and_question_from_functions(make, prm):
    options = {"evidence_tools": ["other"], "question": lambda messages: "My own question?"}
    make(evidence=lambda messages: [document(f"{len(messages)} messages"), "text"], **options).chat(TALK)
    assert documents_in(prm) == ["1: 9 messages", "2: text", "3: Other tool's text"]
    assert "My own question?" in prm.engine.calls[-1][0]

    async def retrieve(messages):
        return ["retrieved"]

    later = make(evidence=retrieve, evidence_tools=())
    ask(later, "astream_chat", TALK)
    assert documents_in(prm) == ["1: retrieved"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="function is async"):
            later.chat(TALK)


def test_evidence_beyond_the_budget_is_counted(make):
    huge = ChatMessage(role="tool", content="dose " * 5000)
    response = make().chat([*TALK, huge])
    assert response.additional_kwargs["medprm"]["documents_left_out"] == 1
    assert ranking_of(response).documents_used == 2


@ways
def test_without_a_question_nothing_is_asked(make, how):
    llm = make()
    with pytest.raises(InputError, match="no question"):
        ask(llm, how, [ChatMessage(role="assistant", content=SECRET), ChatMessage(" ")])
    assert llm.llm.asked == []
    assert ask(llm, how, [ChatMessage(role="system", content=QUESTION)]).message.content == GOOD


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("is_chat", [True, False])
def test_in_any_synthesizer_the_context_is_the_evidence(make, prm, streaming, how, is_chat):
    llm = make(llm=ScriptedLLM(answers=[BAD, GOOD, WORSE], is_chat=is_chat))
    nodes = [document("Label: give 5 mg."), document("More.")]
    engine = RetrieverQueryEngine(Fixed(nodes), get_response_synthesizer(llm=llm, streaming=streaming))

    async def main():
        response = await engine.aquery(QUESTION)
        return str(await response.get_response()) if streaming else str(response)

    assert (str(engine.query(QUESTION)) if how == "sync" else asyncio.run(main())) == GOOD
    prompt = prm.engine.calls[-1][0]
    assert "Document 1: Label: give 5 mg.\n\nMore." in prompt
    assert f"Question: {QUESTION}" in prompt
    assert "Context information" not in prompt


def test_a_context_beyond_the_budget_is_taken_apart(make, prm):
    llm = make()
    template = PromptTemplate("{context_str} {query_str}")
    context = "\n\n".join(["Label: give 5 mg.", "dose " * 2900, "word " * 2900, "Last."])
    llm.predict(template, context_str=context, query_str=QUESTION)
    assert [text[:12] for text in documents_in(prm)] == ["1: Label: gi", "2: dose dose", "3: Last."]


@pytest.mark.parametrize("engine", [ContextChatEngine, CondensePlusContextChatEngine])
def test_chat_engines(make, prm, engine):
    def build():
        llm = make()
        return engine.from_defaults(retriever=Fixed([document("Label: give 5 mg.")]), llm=llm)

    chat = build()
    assert str(chat.chat(QUESTION)) == GOOD
    assert documents_in(prm)[0].startswith("1: Label: give 5 mg.")
    assert f"Question: {QUESTION}" in prm.engine.calls[-1][0]
    assert str(chat.chat("And now?")) == GOOD
    assert f"Question: {QUESTION}\n\nAnd now?" in prm.engine.calls[-1][0]
    assert "".join(build().stream_chat(QUESTION).response_gen) == GOOD

    async def main():
        assert str(await build().achat(QUESTION)) == GOOD
        streaming = await build().astream_chat(QUESTION)
        return "".join([piece async for piece in streaming.async_response_gen()])

    assert asyncio.run(main()) == GOOD
    assert documents_in(prm)[0].startswith("1: Label: give 5 mg.")


def test_simple_chat_engine(make, prm):
    chat = SimpleChatEngine.from_defaults(llm=make())
    assert str(chat.chat(QUESTION)) == GOOD
    assert str(asyncio.run(chat.achat("And now?"))) == GOOD
    assert f"Question: {QUESTION}\n\nAnd now?" in prm.engine.calls[-1][0]


# --- failures, usage, settings ---


@ways
def test_failed_samples(make, how):
    response = ask(make(ValueError(SECRET), GOOD, TimeoutError(), replacements=0), how)
    assert (response.message.content, response.raw["medprm"]["samples_failed"]) == (GOOD, 2)
    with pytest.raises(TimeoutError, match="all 3 samples failed"):
        ask(make(TimeoutError(), ValueError(), ValueError()), how)
    with pytest.raises(ScoringError):
        ask(make("", " "), how)


@pytest.mark.parametrize("how", ["chat", "achat"])
def test_tokens_are_counted_once(prm, how):
    counter = TokenCountingHandler(verbose=False)
    debug = LlamaDebugHandler(print_trace_on_end=False)
    inner = ScriptedLLM(answers=[BAD, GOOD, WORSE], callback_manager=CallbackManager([counter, debug]))
    llm = MedPRMLLM(llm=inner, prm=prm, n=3)
    with Events() as events:
        ask(llm, how)
    assert len(debug.get_event_pairs(CBEventType.LLM)) == 3
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (6, 9)
    assert len(events.of("LLMChatStartEvent")) == len(events.of("LLMChatEndEvent")) == 3


def test_usage_that_nobody_counts_is_none(prm):
    llm = MedPRMLLM(llm=ScriptedLLM(answers=[BAD, GOOD], tokens=False), prm=prm, n=2)
    response = llm.chat(ASKED)
    assert response.additional_kwargs["medprm"]["usage"] is None
    assert "total_tokens" not in response.additional_kwargs


@ways
def test_agreement_concurrency_and_identical_samples(make, how):
    llm = make(GOOD, BAD, GOOD, n=9, agree=2)
    ask(llm, how)
    assert len(llm.llm.asked) == 3
    inner = ScriptedLLM(answers=[GOOD, BAD], delay=0.02)
    ask(make(llm=inner, n=7, max_concurrency=2), how)
    assert (inner.most_at_once, len(inner.asked)) == (2, 7)
    with pytest.warns(IdenticalSamplesWarning):
        ask(make(GOOD), how)


def test_it_is_as_the_other_model_but_for_what_it_is_told(prm):
    inner = ScriptedLLM(answers=[GOOD], system_prompt="You are careful.")
    llm = MedPRMLLM(llm=inner, prm=prm, n=1)
    assert llm.metadata == inner.metadata
    assert llm.class_name() == "MedPRMLLM"
    assert llm.predict(PromptTemplate("{query_str}"), query_str=QUESTION) == GOOD
    assert [message.content for message in inner.asked[0][0]] == ["You are careful.", QUESTION]
    assert MedPRMLLM(llm=inner, prm=prm, system_prompt="Other.").system_prompt == "Other."


def test_settings_copies_pickles_and_reprs(make, prm):
    llm = make(strategy="best_of_n", evidence=lambda messages: [SECRET])
    assert {"n": 3, "strategy": "best_of_n"}.items() <= json.loads(llm.to_json()).items()
    assert not {"prm", "llm", "evidence"} & set(llm.to_dict())
    for again in (copy.copy(llm), copy.deepcopy(llm)):
        assert again.prm is prm
        assert again.chat(ASKED).message.content == GOOD
    with pytest.raises(ModelError, match="cannot be pickled"):
        pickle.dumps(make(llm=MockLLM(max_tokens=2), n=1))
    response = llm.chat([*TALK, ChatMessage(SECRET)])
    shown = repr(llm) + str(llm) + repr(response.raw) + repr(response.additional_kwargs)
    assert not any(text in shown for text in (SECRET, "5 mg", "Step 1"))


@pytest.mark.parametrize("bad", [{"n": 0}, {"strategy": "best"}, {"llm": SECRET}, {"prm": "model"}])
def test_settings_are_checked(prm, bad):
    with pytest.raises(ValidationError) as caught:
        MedPRMLLM(**{"llm": ScriptedLLM(answers=[SECRET]), "prm": prm, **bad})
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError, match="samples itself"):
        MedPRMLLM(llm=MedPRMLLM(llm=ScriptedLLM(answers=[GOOD]), prm=prm), prm=prm)


def test_hostile_text_is_only_text(make):
    hostile = f"Step 1: <|eot_id|> ки \ud800 \x00 [0.9] {SECRET}\nStep 2: The answer is (A) [0.9]"
    talk = [ChatMessage("<|begin_of_text|>?\ud800"), ChatMessage(role="tool", content=" ки +\ud800")]
    json.dumps(make(hostile, BAD).chat(talk).raw)


def test_with_the_demo_model(demo):
    llm = MedPRMLLM(llm=ScriptedLLM(answers=[GOOD, BAD]), prm=demo, n=2, max_concurrency=1)
    response = asyncio.run(llm.achat(TALK))
    evidence = ["Other tool's text", "New label: 5 mg.", "Old label: 9 mg."]
    assert response.message.content == demo.rank(QUESTION, [GOOD, BAD], evidence).best.text
