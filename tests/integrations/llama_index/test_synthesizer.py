"""`MedPRMSynthesizer`: selection, streaming, structured answers, prompts, and the engines that it works in."""

import asyncio
import copy
import json
import pickle
import warnings

import pytest
from llama_index.core import Settings
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.chat_engine import CondenseQuestionChatEngine
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.span_handlers.simple import SimpleSpanHandler  # type: ignore[attr-defined]
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine, RetryQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel, ValidationError

from medprm_integrations.llama_index import (
    MedPRMEvaluator,
    MedPRMLLM,
    MedPRMSynthesizer,
    chain_node,
    policy_template,
    ranking_of,
)
from medprm_integrations.shared.user_warnings import IdenticalSamplesWarning
from medprm_scorer import InputError, ModelError, ScoringError, policy_messages
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

LABEL = "Label: give 5 mg."


class Answer(BaseModel):
    """An answer."""

    reasoning: str
    answer: str


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def make(prm):
    def build(*answers, n=3, llm=None, **options):
        llm = llm or ScriptedLLM(answers=answers or (BAD, GOOD, WORSE))
        return MedPRMSynthesizer(prm=prm, llm=llm, n=n, **options)

    return build


@pytest.fixture
def nodes():
    return [document(LABEL, 0.7, source="x"), document("More.", 0.3)]


def run(synthesizer, nodes, how, query=QUESTION, **kwargs):
    if how == "sync":
        return synthesizer.synthesize(query, nodes, **kwargs)
    return asyncio.run(synthesizer.asynthesize(query, nodes, **kwargs))


def ask(engine, how, query=QUESTION):
    return engine.query(query) if how == "sync" else asyncio.run(engine.aquery(query))


def messages(llm, place=0):
    return [{"role": m.role.value, "content": m.content} for m in llm.asked[place][0]]


ways = pytest.mark.parametrize("how", ["sync", "async"])


@ways
def test_the_best_sample_is_the_answer(make, prm, nodes, how):
    synthesizer = make()
    response = run(synthesizer, nodes, how)
    ranking = ranking_of(response)
    assert isinstance(response, Response)
    assert str(response) == GOOD
    assert (ranking.answer, ranking.best.text, len(ranking.chains), ranking.documents_used) == ("A", GOOD, 3, 2)
    assert [node.node_id for node in response.source_nodes] == [node.node_id for node in nodes]
    assert response.metadata[nodes[0].node_id] == {"source": "x"}
    note = response.metadata["medprm"]
    assert note["usage"] == {"input_tokens": 6, "output_tokens": 9, "total_tokens": 15}
    assert (note["samples_failed"], note["samples_dropped"], note["documents_left_out"]) == (0, 0, 0)
    json.dumps(response.metadata)
    assert documents_in(prm) == ["1: source: x", "2: More."]


@ways
def test_the_policy_is_asked_its_own_messages(make, prm, how):
    for texts, question in (([LABEL], QUESTION), (["a\n", "Document 2: {b} {query_str}", ""], "{context_str}?")):
        synthesizer = make(GOOD, n=1)
        run(synthesizer, [document(text) for text in texts], how, question)
        assert messages(synthesizer._llm) == policy_messages(question, texts)
    open_ended = make(GOOD, n=1, text_qa_template=policy_template("open"))
    run(open_ended, [document(LABEL)], how)
    assert messages(open_ended._llm) == policy_messages(QUESTION, [LABEL], "open")
    assert make(GOOD, n=1).get_response(QUESTION, []) == GOOD


@ways
@pytest.mark.parametrize("streaming", [False, True])
def test_without_nodes_the_answer_is_empty_as_upstream(make, how, streaming):
    synthesizer = make(streaming=streaming)
    response = run(synthesizer, [], how)
    assert str(response) == "Empty Response"
    kinds = {"sync": StreamingResponse, "async": AsyncStreamingResponse}
    assert isinstance(response, kinds[how] if streaming else Response)
    assert synthesizer._llm.asked == []


def test_streaming(make, nodes):
    response = make(streaming=True).synthesize(QUESTION, nodes)
    assert isinstance(response, StreamingResponse)
    assert ranking_of(response).answer == "A"  # known before the first piece is read
    assert list(response.response_gen) == [GOOD]
    assert str(make(streaming=True).synthesize(QUESTION, nodes)) == GOOD

    async def main():
        response = await make(streaming=True).asynthesize(QUESTION, nodes)
        assert isinstance(response, AsyncStreamingResponse)
        return [piece async for piece in response.async_response_gen()], ranking_of(response).answer

    assert asyncio.run(main()) == ([GOOD], "A")


def tool(reasoning, answer="A"):
    return call("Answer", reasoning=reasoning, answer=answer)


@ways
@pytest.mark.parametrize("streaming", [False, True])
def test_structured_answers_are_judged_by_their_fields(make, nodes, how, streaming):
    broken = call("Answer", reasoning="Step 1: Nothing else [0.99].")
    script = (tool("Step 1: Guess [0.1]."), tool("Step 1: 5 mg [0.9].", "B"), broken)
    response = run(make(*script, output_cls=Answer, streaming=streaming, replacements=0), nodes, how)
    assert isinstance(response, PydanticResponse)
    assert response.response == Answer(reasoning="Step 1: 5 mg [0.9].", answer="B")
    note = response.metadata["medprm"]
    assert (note["answer"], len(note["chains"]), note["samples_failed"]) == ("B", 2, 1)
    assert [node.node_id for node in response.source_nodes] == [node.node_id for node in nodes]


@ways
def test_structured_answers_of_a_model_without_tools(make, nodes, how):
    good = json.dumps({"reasoning": "Step 1: 5 mg [0.9].", "answer": "A"})
    llm = ScriptedLLM(answers=["no JSON", good, json.dumps({"answer": 5})], tools=False)
    synthesizer = make(llm=llm, output_cls=Answer)
    for _ in range(2):
        assert run(synthesizer, nodes, how).response == Answer(reasoning="Step 1: 5 mg [0.9].", answer="A")
    assert synthesizer.get_prompts()["text_qa_template"].output_parser is None
    assert all("reasoning" in "".join(m.content for m in asked) for asked, _ in llm.asked)  # each was told the schema


def test_a_structured_llm_gives_its_class(make, nodes):
    llm = ScriptedLLM(answers=[tool("Step 1: 5 mg [0.9].")]).as_structured_llm(Answer)
    response = run(make(llm=llm, n=1), nodes, "sync")
    assert isinstance(response, PydanticResponse)
    assert response.answer == "A"


@ways
def test_failed_samples(make, nodes, how):
    response = run(make(ValueError(SECRET), GOOD, TimeoutError(), replacements=0), nodes, how)
    assert (str(response), response.metadata["medprm"]["samples_failed"]) == (GOOD, 2)
    with pytest.raises(TimeoutError, match="all 3 samples failed"):
        run(make(TimeoutError(), ValueError(), ValueError(), max_concurrency=1), nodes, how)
    with pytest.raises(ScoringError, match=r"candidate 0: .*blank"):
        run(make("", " ", "\n"), nodes, how)
    synthesizer = make()
    with pytest.raises(InputError, match="blank"):
        run(synthesizer, nodes, how, query=" ")
    assert synthesizer._llm.asked == []


@ways
def test_agreement_concurrency_and_identical_samples(make, prm, nodes, how):
    synthesizer = make(GOOD, BAD, GOOD, n=10, agree=2, max_concurrency=1)
    run(synthesizer, nodes, how)
    assert len(synthesizer._llm.asked) == 3
    llm = ScriptedLLM(answers=[GOOD, BAD], delay=0.02)
    run(make(llm=llm, n=7, max_concurrency=2), nodes, how)
    assert (llm.most_at_once, len(llm.asked)) == (2, 7)
    synthesizer = make(GOOD)
    with pytest.warns(IdenticalSamplesWarning):
        run(synthesizer, nodes, how)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(synthesizer, nodes, how)


def test_prompts_can_be_read_and_replaced_through_the_engine(make, nodes):
    engine = RetrieverQueryEngine(Fixed(nodes[1:]), response_synthesizer=make())
    name = "response_synthesizer:text_qa_template"
    assert isinstance(engine.get_prompts()[name], ChatPromptTemplate)
    engine.update_prompts({name: PromptTemplate("{style} <{context_str}> {query_str}", style="Brief.")})
    engine.query(QUESTION)
    llm = engine._response_synthesizer._llm
    assert messages(llm) == [{"role": "user", "content": f"Brief. <Document 1: More.> {QUESTION}"}]
    template = PromptTemplate("{mine}|{theirs}", template_var_mappings={"context_str": "mine", "query_str": "theirs"})
    engine.update_prompts({name: template})
    engine.query(QUESTION)
    assert messages(llm, -1)[0]["content"] == f"Document 1: More.|{QUESTION}"
    synthesizer = make(text_qa_template=PromptTemplate("{tone} {context_str} {query_str}"))
    synthesizer.synthesize(QUESTION, nodes, tone="Kindly.")
    assert messages(synthesizer._llm)[0]["content"].startswith("Kindly. Document 1: ")


def test_a_models_own_system_prompt_comes_first(make, nodes):
    llm = ScriptedLLM(answers=[GOOD], system_prompt="You are careful.")
    run(make(llm=llm, n=1), nodes[1:], "sync")
    first, *others = messages(llm)
    assert first == {"role": "system", "content": "You are careful."}
    assert others == policy_messages(QUESTION, ["More."])


def test_a_text_model(make, nodes):
    llm = ScriptedLLM(answers=[BAD, GOOD], is_chat=False)
    assert str(run(make(llm=llm, n=2), nodes, "sync")) == GOOD
    assert str(run(make(llm=llm, n=2), nodes, "async")) == GOOD


@ways
def test_events_and_callbacks_see_the_ranking(make, nodes, how):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    synthesizer = make(callback_manager=CallbackManager([debug]))
    with Events() as events:
        run(synthesizer, nodes, how, QueryBundle(QUESTION))
    start, end = events.of("SynthesizeStartEvent", "SynthesizeEndEvent")
    assert start.query.query_str == QUESTION
    assert ranking_of(end.response).answer == "A"
    assert len(events.of("LLMChatEndEvent")) == 3
    ((begun, ended),) = debug.get_event_pairs(CBEventType.SYNTHESIZE)
    assert begun.payload[EventPayload.QUERY_STR] == QUESTION
    assert ranking_of(ended.payload[EventPayload.RESPONSE]).answer == "A"
    assert len(debug.get_event_pairs(CBEventType.LLM)) == 3


@ways
def test_the_samples_spans_stand_below_the_synthesizers(make, nodes, how):
    spans = SimpleSpanHandler()
    get_dispatcher().add_span_handler(spans)
    try:
        run(make(max_concurrency=3), nodes, how)
    finally:
        get_dispatcher().span_handlers.remove(spans)
    by_id = {span.id_: span for span in spans.completed_spans}
    (own,) = [name for name in by_id if name.startswith("MedPRMSynthesizer.")]
    parents = [span.parent_id for name, span in by_id.items() if name.startswith("ScriptedLLM.")]
    assert parents == [own] * 3


@ways
def test_chains_among_the_nodes_are_sources_but_no_evidence(make, prm, nodes, how):
    response = run(make(), [NodeWithScore(node=chain_node(WORSE)), *nodes[1:]], how)
    assert documents_in(prm) == ["1: More."]
    assert [node.text for node in response.source_nodes] == [WORSE, "More."]
    response = run(make(), nodes, how, additional_source_nodes=[document("Elsewhere")])
    assert [node.text for node in response.source_nodes] == [LABEL, "More.", "Elsewhere"]


# --- engines ---


@ways
def test_retriever_query_engine(make, nodes, how):
    response = ask(RetrieverQueryEngine(Fixed(nodes), response_synthesizer=make()), how)
    assert str(response) == GOOD
    assert ranking_of(response).documents_used == 2


@ways
def test_sub_question_query_engine(make, prm, nodes, how):
    inner = RetrieverQueryEngine(Fixed(nodes), response_synthesizer=make())
    questions = [{"sub_question": f"{QUESTION} {place}", "tool_name": "labels"} for place in range(2)]
    generator = LLMQuestionGenerator.from_defaults(llm=ScriptedLLM(answers=[json.dumps({"items": questions})]))
    engine = SubQuestionQueryEngine.from_defaults(
        query_engine_tools=[QueryEngineTool.from_defaults(inner, name="labels", description="Labels")],
        llm=generator._llm,
        question_gen=generator,
        response_synthesizer=make(),
        verbose=False,
        use_async=how == "async",
    )
    response = ask(engine, how)
    assert str(response) == GOOD
    assert ranking_of(response).documents_used == 2  # the two answered sub-questions
    assert [node.text for node in response.source_nodes[2:]] == [LABEL, "More."] * 2
    assert len(inner._response_synthesizer._llm.asked) == 6  # type: ignore[attr-defined]


def test_condense_question_chat_engine(make, nodes):
    engine = RetrieverQueryEngine(Fixed(nodes), response_synthesizer=make())
    condenser = ScriptedLLM(answers=[QUESTION], is_chat=False)
    chat = CondenseQuestionChatEngine.from_defaults(query_engine=engine, llm=condenser)
    history = [ChatMessage("Hello"), ChatMessage(role="assistant", content="Hello!")]
    assert str(chat.chat("And now?", chat_history=history)) == GOOD
    assert str(asyncio.run(chat.achat("And now?", chat_history=history))) == GOOD
    streaming = chat.stream_chat("And now?", chat_history=history)
    assert "".join(streaming.response_gen) == GOOD

    async def main():
        streaming = await chat.astream_chat("And now?", chat_history=history)
        return "".join([piece async for piece in streaming.async_response_gen()])

    assert asyncio.run(main()) == GOOD


def test_retry_query_engine(prm, nodes):
    Settings.llm = MockLLM()  # the engine's own query transformation wants one, and does not call it
    try:
        llm = ScriptedLLM(answers=[WORSE, WORSE, GOOD, BAD])
        synthesizer = MedPRMSynthesizer(prm=prm, llm=llm, n=2, max_concurrency=1)
        inner = RetrieverQueryEngine(Fixed(nodes), response_synthesizer=synthesizer)
        engine = RetryQueryEngine(inner, MedPRMEvaluator(prm=prm), max_retries=1)
        with pytest.warns(IdenticalSamplesWarning):
            response = engine.query(QUESTION)
        assert str(response) == GOOD
        assert "Step 1 of 2 is the weakest" in messages(llm, 2)[-1]["content"]
        assert len(llm.asked) == 4
        llm.answers = [BAD, GOOD]
        assert str(engine.query(QUESTION)) == GOOD
        assert len(llm.asked) == 6
    finally:
        Settings._llm = None


# --- what it is ---


def test_the_llm_of_the_settings(prm, nodes):
    Settings.llm = ScriptedLLM(answers=[BAD, GOOD])
    try:
        assert str(MedPRMSynthesizer(prm=prm, n=2).synthesize(QUESTION, nodes)) == GOOD
    finally:
        Settings._llm = None


def test_a_model_that_selects_itself_is_refused(make, prm):
    llm = MedPRMLLM(llm=ScriptedLLM(answers=[GOOD]), prm=prm)
    with pytest.raises(InputError, match="not a MedPRMLLM, which samples itself"):
        make(llm=llm)


def test_copies_pickles_and_reprs(make, prm, nodes):
    synthesizer = make(n=3, strategy="best_of_n")
    for again in (copy.copy(synthesizer), copy.deepcopy(synthesizer)):
        assert again.prm is prm
        assert str(again.synthesize(QUESTION, nodes)) == GOOD
    with pytest.raises(ModelError, match="cannot be pickled"):
        pickle.dumps(make(llm=MockLLM(max_tokens=2), n=1))
    response = synthesizer.synthesize(SECRET, nodes)
    assert not any(text in repr(synthesizer) + repr(response.metadata["medprm"]) for text in (SECRET, "5 mg"))
    assert "n=3" in repr(synthesizer)


@pytest.mark.parametrize("bad", [{"n": 0}, {"strategy": "best"}, {"max_concurrency": 0}, {"agree": 1}])
def test_settings_are_checked(make, bad):
    with pytest.raises(ValidationError):
        make(**bad)


@ways
def test_hostile_text_is_only_text(make, how):
    hostile = f"Step 1: <|eot_id|> ки \ud800 \x00 [0.9] {SECRET}\nStep 2: The answer is (A) [0.9]"
    response = run(make(hostile, BAD), [document(" ки +\ud800")], how, query="<|begin_of_text|>?\ud800")
    json.dumps(response.metadata["medprm"])


@ways
def test_with_the_demo_model(demo, nodes, how):
    llm = ScriptedLLM(answers=[GOOD, BAD])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        response = run(MedPRMSynthesizer(prm=demo, llm=llm, n=2, max_concurrency=1), nodes[1:], how)
    assert str(response) == demo.rank(QUESTION, [GOOD, BAD], ["More."]).best.text
