"""`MedPRMBestOfN`: sampling, failures, agreement, bounds, batches, traces, usage, caches."""

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
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough
from pydantic import ValidationError

from medprm_integrations.langchain import MedPRMBestOfN, ranking_of
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

REQUEST = {"question": QUESTION, "documents": [Document("Label: give 5 mg.")]}


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def make(prm):
    def build(*answers, n=3, **options):
        llm = ScriptedChat(answers=answers or (BAD, GOOD, WORSE), delay=options.pop("delay", 0))
        return MedPRMBestOfN(llm=llm, prm=prm, n=n, **options)

    return build


def ask(best, how, request=REQUEST, config=None):
    """The answer, by one of the four ways to ask."""
    if how == "invoke":
        return best.invoke(request, config)
    if how == "ainvoke":
        return asyncio.run(best.ainvoke(request, config))
    if how == "batch":
        return best.batch([request], config)[0]
    return asyncio.run(best.abatch([request], config))[0]


ways = pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "abatch"])


@ways
def test_the_best_sample_wins_with_its_ranking_and_the_tokens_of_all(make, how):
    best = make()
    message = ask(best, how)
    ranking = ranking_of(message)
    assert message.text == GOOD
    assert (ranking.answer, ranking.best.text, len(ranking.chains), ranking.documents_used) == ("A", GOOD, 3, 1)
    assert message.usage_metadata == {"input_tokens": 6, "output_tokens": 9, "total_tokens": 15}
    assert message.response_metadata["medprm"]["usage"] == message.usage_metadata
    assert message.response_metadata["model_name"] == "scripted"
    assert len(best.llm.asked) == 3
    system, human = best.llm.asked[0][0]
    assert "Step" in system.text
    assert "Document 1: Label: give 5 mg." in human.text
    assert QUESTION in human.text
    assert "Label" not in repr(message.response_metadata["medprm"])
    json.dumps(message.response_metadata)


@ways
def test_failed_samples_end_nothing(make, how):
    message = ask(make(ValueError(SECRET), GOOD, TimeoutError(), replacements=0), how)
    assert (message.text, message.response_metadata["medprm"]["samples_failed"]) == (GOOD, 2)


@ways
def test_if_all_fail_the_first_error_is_raised_with_the_count(make, how):
    with pytest.raises(TimeoutError, match="all 3 samples failed"):
        ask(make(TimeoutError("first"), ValueError("second"), ValueError("third"), max_concurrency=1), how)


@ways
def test_blank_samples_cannot_win(make, how):
    assert ask(make("", GOOD, "  \n"), how).text == GOOD
    with pytest.raises(ScoringError, match=r"candidate 0: .*blank"):
        ask(make("", " ", "\n"), how)


def test_samples_that_call_tools_cannot_win(make):
    message = make(call(), GOOD, call()).invoke(REQUEST)
    assert (message.text, message.response_metadata["medprm"]["samples_dropped"]) == (GOOD, 2)
    assert make(call("first"), call("second"), max_concurrency=1, n=2).invoke(REQUEST).tool_calls[0]["name"] == "first"


@ways
def test_agreement_stops_early(make, how):
    best = make(GOOD, BAD, GOOD, GOOD, n=10, agree=2, max_concurrency=1)
    assert ask(best, how).text == GOOD
    assert len(best.llm.asked) == 3
    assert len(make(GOOD, BAD, n=4).invoke(REQUEST).response_metadata["medprm"]["chains"]) == 4


@pytest.mark.parametrize("bound", [{"max_concurrency": 2}, {}])
def test_samples_are_drawn_together_but_bounded(make, bound):
    best = make(n=9, delay=0.02, **bound)
    config = {} if bound else {"max_concurrency": 2}
    best.invoke(REQUEST, config)
    assert best.llm.most_at_once == 2
    asyncio.run(best.abatch([REQUEST] * 4, config))
    assert len(best.llm.asked) == 9 * 5
    assert best.llm.most_at_once == 2


def test_a_batch_is_one_call_of_the_reward_model(make, prm):
    best = make(max_concurrency=1)
    messages = best.batch([REQUEST] * 32)
    assert [message.text for message in messages] == [GOOD] * 32
    assert [len(call) for call in prm.engine.calls] == [32]
    results = best.batch([REQUEST, {"question": " "}, {}, REQUEST], return_exceptions=True)
    assert [type(result) for result in results] == [AIMessage, InputError, InputError, AIMessage]
    assert [len(call) for call in prm.engine.calls] == [32, 2]
    assert best.batch([]) == []


@pytest.mark.parametrize("bad", [{"question": " "}, {"documents": []}, "text", {"question": QUESTION, "documents": 5}])
def test_bad_input_is_refused_before_anything_is_paid_for(make, bad):
    best = make()
    with pytest.raises(InputError):
        best.invoke(bad)
    assert best.llm.asked == []


def test_documents_from_a_retriever_in_the_same_chain(make):
    retriever = RunnableLambda(lambda question: [Document("Label: give 5 mg."), Document("Other.")])
    chain = {"question": RunnablePassthrough(), "documents": retriever} | make() | (lambda message: message.text)
    assert chain.invoke(QUESTION) == GOOD
    assert asyncio.run(chain.ainvoke(QUESTION)) == GOOD
    assert "".join(chain.stream(QUESTION)) == GOOD


def test_your_own_prompt(make):
    prompt = ChatPromptTemplate.from_messages([("system", "{style}"), ("human", "{documents}\n\n{question}")])
    best = make(prompt=prompt)
    assert best.invoke({**REQUEST, "style": "Be brief."}).text == GOOD
    (system, human), _ = best.llm.asked[0]
    assert (system.text, human.text) == ("Be brief.", f"Document 1: Label: give 5 mg.\n\n{QUESTION}")
    with pytest.raises(KeyError):
        best.invoke(REQUEST)
    assert isinstance(best.batch([REQUEST], return_exceptions=True)[0], KeyError)


def test_any_runnable_can_be_sampled(prm):
    texts = iter([BAD, GOOD] * 9)
    assert MedPRMBestOfN(llm=FakeListLLM(responses=[BAD, GOOD]), prm=prm, n=2).invoke(REQUEST).text == GOOD
    assert MedPRMBestOfN(llm=GenericFakeChatModel(messages=texts), prm=prm, n=2).invoke(REQUEST).text == GOOD
    chunks = RunnableLambda(lambda _: AIMessageChunk(next(texts)))  # type: ignore[call-arg]
    assert type(MedPRMBestOfN(llm=chunks, prm=prm, n=2).invoke(REQUEST)) is AIMessage
    with pytest.raises(InputError, match="must return messages or texts, not int"):
        MedPRMBestOfN(llm=RunnableLambda(lambda _: 5), prm=prm, n=2).invoke(REQUEST)


def test_arguments_reach_the_model(make):
    best = make()
    best.invoke(REQUEST, stop=["X"])
    assert {kwargs["stop"][0] for _, kwargs in best.llm.asked} == {"X"}
    best.bind(stop=["Y"]).batch([REQUEST])
    assert best.llm.asked[-1][1]["stop"] == ["Y"]


@ways
def test_n_child_runs_are_seen_and_usage_is_counted_once(make, how):
    recorder, usage = Recorder(), UsageMetadataCallbackHandler()
    message = ask(
        make(BAD, GOOD, ValueError(), replacements=0), how, config={"callbacks": [recorder, usage], "tags": ["mine"]}
    )
    (own,) = recorder.named("MedPRMBestOfN")
    below = recorder.below(own)
    assert [run["name"] for run in below] == ["ScriptedChat"] * 3
    assert sorted(run["end"] for run in below) == ["end", "end", "error"]
    assert all("nostream" in run["tags"] and "mine" in run["tags"] for run in below)
    assert recorder.runs[own]["end"] == "end"
    assert usage.usage_metadata["scripted"]["total_tokens"] == message.usage_metadata["total_tokens"] == 10
    assert recorder.tokens == []


def test_identical_samples_warn_once(make):
    best = make(GOOD, GOOD)
    with pytest.warns(IdenticalSamplesWarning) as caught:
        best.batch([REQUEST] * 2)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        best.invoke(REQUEST)
        make(GOOD, BAD).invoke(REQUEST)


def test_a_cache_does_not_make_copies(make):
    set_llm_cache(InMemoryCache())
    try:
        best = make(keep="all")
        for _ in range(2):
            assert len({chain.text for chain in ranking_of(best.invoke(REQUEST)).chains}) == 3
        bound = MedPRMBestOfN(llm=best.llm.bind(stop=["X"]), prm=best.prm, n=3, keep="all")
        assert len({chain.text for chain in ranking_of(bound.invoke(REQUEST)).chains}) == 3
        assert best.llm.cache is None
    finally:
        set_llm_cache(None)


def test_settings_schemas_and_copies(make, prm):
    best = make(strategy="best_of_n", max_concurrency=4)
    settings = {"n": 3, "strategy": "best_of_n", "aggregate": "min", "max_concurrency": 4, "agree": None}
    assert settings.items() <= json.loads(best.model_dump_json()).items()
    assert "question" in json.dumps(best.get_input_jsonschema())
    assert best.get_output_jsonschema()
    for again in (copy.copy(best), copy.deepcopy(best)):
        assert again.prm is prm
        assert again.invoke(REQUEST).text == GOOD
    flexible = best.configurable_fields(n=ConfigurableField(id="n"))
    message = flexible.invoke(REQUEST, {"configurable": {"n": 5}})
    assert len(message.response_metadata["medprm"]["chains"]) == 5
    pickled = MedPRMBestOfN(llm=FakeListLLM(responses=[GOOD]), prm=prm, n=1)
    with pytest.raises(ModelError, match="cannot be pickled"):
        pickle.dumps(pickled)
    assert "scripted" not in repr(best)
    with pytest.raises(ValidationError):
        make(n=0)


def test_hostile_text_is_only_text(make):
    hostile = f"Step 1: <|eot_id|> ки \ud800 \x00 [0.9] {SECRET}\nStep 2: The answer is (A) [0.9]"
    message = make(hostile, BAD).invoke({"question": "<|begin_of_text|>?\ud800", "documents": [" ки +"]})
    assert ranking_of(message).best.index in (0, 1, 2)
    json.dumps(message.response_metadata["medprm"])


def test_cancelling_cancels_the_samples(make, prm):
    started, ended = [], []

    async def slow(_):
        started.append(1)
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(1)

    async def main():
        best = MedPRMBestOfN(llm=RunnableLambda(slow), prm=prm, n=3)
        task = asyncio.create_task(best.ainvoke(REQUEST))
        while len(started) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert len(ended) == 3


def test_with_the_demo_model(demo):
    llm = ScriptedChat(answers=[GOOD, BAD])
    message = MedPRMBestOfN(llm=llm, prm=demo, n=4).invoke(REQUEST)
    assert message.text in (GOOD, BAD)
    assert len(ranking_of(message).chains) == 4
