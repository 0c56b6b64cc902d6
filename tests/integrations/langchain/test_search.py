"""`search=` of `MedPRMBestOfN`: steps chosen while a chat model writes them, streamed as soon as they are final."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_openai import ChatOpenAI
from pydantic import ValidationError

from medprm_integrations.langchain import ChatModelPolicy, MedPRMBestOfN, StepSearch, ranking_of
from medprm_scorer.errors import DoubtfulAnswerError, InputError, PolicyError
from medprm_scorer.search import Beam, Dvts, EarlyRejection, GrowingChain, Limits, SearchRanking
from medprm_scorer.trust.floors import Floors
from tests.support.continuing_server import WHOLE, ContinuingServer, continuing_server
from tests.support.langchain_scripts import QUESTION, ScriptedChat, reading_prm
from tests.support.reading import documents_in

DOCUMENTS = ["Label: give 5 mg.", "Another label."]
ASKED = {"question": QUESTION, "documents": DOCUMENTS}


@pytest.fixture(scope="module")
def server() -> Iterator[ContinuingServer]:
    with continuing_server() as made:
        made.draws = True
        yield made


@pytest.fixture(autouse=True)
def as_made(server):
    vars(server).update(continues=True, shows_stop=True, tells_stop=True, status=200, hold=None)


def chat(server, **more) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{server.url}/v1", api_key="x", model="m", max_retries=0, temperature=1.0, **more)


def best_of(server, search, **more) -> MedPRMBestOfN:
    return MedPRMBestOfN(llm=chat(server), prm=reading_prm(), search=search, **more)


METHODS = [Beam(2, 2), Beam(1, 3), Dvts(2, 2), EarlyRejection(4)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shows_stop", [True, False])
def test_the_answer_is_that_of_the_ranking_waited_for_awaited_and_streamed(server, method, shows_stop):
    server.shows_stop = shows_stop
    found = []
    runnable = best_of(server, StepSearch(method, seed=3), on_ranking=found.append)
    message = runnable.invoke(ASKED)
    (ranking,) = found
    assert isinstance(ranking, SearchRanking)
    assert message.text == ranking.best.text
    assert message.text.startswith("Step 1: ")
    assert len(ranking.best.steps) == 3
    assert not any(chain.truncated for chain in ranking.chains)
    assert ranking_of(message).best.text == message.text
    assert ranking_of(message).documents_used == 2
    figures = message.response_metadata["medprm"]["search"]
    assert figures["generated_tokens"] == ranking.tree.generated_tokens == message.usage_metadata["output_tokens"]
    assert "Note" not in str({**message.response_metadata["medprm"], "question": ""})
    assert asyncio.run(runnable.ainvoke(ASKED)).text == message.text
    assert [one.text for one in runnable.batch([ASKED, ASKED])] == [message.text] * 2

    def whole(pieces):
        last = pieces[-1]
        assert all("medprm" not in one.response_metadata for one in pieces[:-1])
        assert last.response_metadata["medprm"]["search"]["policy_calls"] == figures["policy_calls"]
        assert "".join(one.text for one in pieces) == message.text
        return len(pieces)

    async def streamed():
        return [one async for one in runnable.astream(ASKED)]

    assert whole(list(runnable.stream(ASKED))) == whole(asyncio.run(streamed())) == 4


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 10**6), st.sampled_from(METHODS), st.integers(1, 5), st.sampled_from(["best_of_n", "weighted_vote"])
)
def test_nothing_that_was_streamed_is_taken_back(server, seed, method, calls, strategy):
    search = StepSearch(method, seed=seed, limits=Limits(max_calls=calls))
    found = []
    runnable = best_of(server, search, strategy=strategy, on_ranking=found.append)
    pieces = [one.text for one in runnable.stream(ASKED)]
    assert "".join(pieces) == found[0].best.text


def test_a_greedy_search_streams_each_step_before_the_next_is_asked_for(server):
    runnable = best_of(server, StepSearch(Beam(1, 2)))
    before = len(server.bodies)
    calls = [(piece.text[:8].strip(), len(server.bodies) - before) for piece in runnable.stream(ASKED)]
    assert [name for name, _ in calls] == ["Step 1:", "Step 2:", "Step 3:", ""]
    assert [count - calls[0][1] for _, count in calls[:3]] == [0, 2, 4]


def test_a_stream_that_is_left_asks_no_more(server):
    runnable = best_of(server, StepSearch(Beam(1, 2)))
    stream = runnable.stream(ASKED)
    next(stream)
    asked = len(server.bodies)
    stream.close()  # type: ignore[attr-defined]
    assert len(server.bodies) == asked

    async def leave():
        events = runnable.astream(ASKED)
        await anext(events)
        count = len(server.bodies)
        await events.aclose()  # type: ignore[attr-defined]
        assert len(server.bodies) == count

    asyncio.run(leave())


def test_cancelling_closes_the_requests(server):
    async def run():
        runnable = best_of(server, StepSearch(Beam(2, 2), check=False))
        server.hold, before = object(), server.gone
        task = asyncio.create_task(runnable.ainvoke(ASKED))
        while len(server.bodies) < started + 4:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while server.gone < before + 4:
            await asyncio.sleep(0.01)

    started = len(server.bodies)
    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_chain_streams_through(server):
    chain = best_of(server, StepSearch(Beam(1, 2))) | (lambda message: message.text)
    assert chain.invoke(ASKED).startswith("Step 1")


@pytest.mark.parametrize("on_doubt", ["abstain", "raise", lambda ranking: None])
def test_where_an_answer_may_be_replaced_nothing_is_streamed_before(server, on_doubt):
    runnable = best_of(server, Beam(1, 2), trust=Floors(min_reward=0.99), on_doubt=on_doubt)
    if on_doubt == "raise":
        with pytest.raises(DoubtfulAnswerError):
            list(runnable.stream(ASKED))
        return
    pieces = list(runnable.stream(ASKED))
    assert len(pieces) == 2
    assert pieces[0].text == runnable.invoke(ASKED).text
    assert ("Step 1" in pieces[0].text) == callable(on_doubt)
    sure = best_of(server, Beam(1, 2), trust=Floors(min_reward=0.99))
    assert len(list(sure.stream(ASKED))) == 4
    assert ranking_of(sure.invoke(ASKED)).trusted is False


def test_a_provider_that_starts_anew_is_refused_before_the_question_is_asked(server):
    server.continues, server.draws = False, False
    try:
        before = len(server.bodies)
        runnable = best_of(server, Beam(1, 2))
        with pytest.raises(PolicyError, match="ChatOpenAI does not continue"):
            runnable.invoke(ASKED)
        with pytest.raises(PolicyError, match="does not continue"):
            asyncio.run(runnable.ainvoke(ASKED))
        assert not any("Which dose" in str(body) for body in server.bodies[before:])
        server.status = 400
        with pytest.raises(PolicyError, match="status 400"):
            runnable.invoke(ASKED)
    finally:
        server.draws = True


def test_the_trial_is_made_once(server):
    runnable = best_of(server, Beam(1, 1))
    runnable.invoke(ASKED)
    asked = len(server.bodies)
    runnable.invoke(ASKED)
    assert len(server.bodies) - asked == 3


class Continuing(ScriptedChat):
    """A provider without `extra_body` that takes a last message of the assistant, and says why it stopped, or not."""

    says: bool = True

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        def answer(messages, kwargs):
            begun = str(messages[-1].text) if isinstance(messages[-1], AIMessage) else ""
            assert begun == begun.rstrip()
            text = WHOLE[len(begun) :]
            at = min((text.find(one) for one in stop or () if one in text), default=-1)
            said = {"stop_reason": "stop_sequence" if at >= 0 else "end_turn"} if self.says else {}
            return AIMessage(text[:at] if at >= 0 else text, response_metadata=said)

        self.answers = [answer]
        return super()._generate(messages, stop, run_manager, **kwargs)


@pytest.mark.parametrize("says", [True, False])
def test_a_last_message_of_the_assistant_is_enough(says):
    llm = Continuing(answers=[""], says=says)
    runnable = MedPRMBestOfN(llm=llm, prm=reading_prm(), search=StepSearch(Beam(1, 1)))
    assert runnable.invoke(ASKED).text == WHOLE
    assert asyncio.run(runnable.ainvoke(ASKED)).text == WHOLE
    assert len(llm.asked) == 2 + 2 * (3 if says else 4)


def test_one_that_does_not_continue_is_refused():
    llm = ScriptedChat(answers=[WHOLE])
    runnable = MedPRMBestOfN(llm=llm, prm=reading_prm(), search=Beam(1, 1))
    with pytest.raises(PolicyError, match="ScriptedChat does not continue"):
        runnable.invoke(ASKED)
    short = MedPRMBestOfN(llm=ScriptedChat(answers=["No."]), prm=reading_prm(), search=Beam(1, 1))
    with pytest.raises(PolicyError, match="too little"):
        short.invoke(ASKED)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"n": 4}, "n is for whole samples"),
        ({"stop": "confident"}, "stop is for whole samples"),
        ({"agree": 3}, "agree is for whole samples"),
        ({"several_per_call": True}, "several_per_call is for whole samples"),
        ({"deadline": 3.0}, "deadline is for whole samples"),
        ({"on_sample": print}, "on_sample is for whole samples"),
        ({"search": "beam"}, "search must be a StepSearch"),
        ({"search": StepSearch(EarlyRejection(4), retriever=print)}, "early rejection does not work with a retriever"),
        ({"search": EarlyRejection(4), "aggregate": "mean"}, "aggregate for early rejection"),
        ({"search": StepSearch(retriever=3)}, "the retriever must be"),
        ({"llm": ScriptedChat(answers=["x"]).bind(stop=["a"])}, "without its own stop sequences"),
        ({"llm": ScriptedChat(answers=["x"]) | str}, "llm must be a chat model"),
    ],
)
def test_what_does_not_go_together_is_refused_when_it_is_made(more, told):
    given_ = {"llm": ScriptedChat(answers=[WHOLE]), "search": Beam(1, 1), **more}
    with pytest.raises(ValidationError, match=told):
        MedPRMBestOfN(prm=reading_prm(), **given_)


def test_what_makes_no_sense_in_a_search_is_refused():
    for wrong in ({"method": 3}, {"max_documents": 0}, {"max_step_tokens": 0}, {"seed": "x"}, {"limits": 3}):
        with pytest.raises(InputError):
            StepSearch(**wrong)
    with pytest.raises(PolicyError):
        StepSearch(policy=3)
    runnable = MedPRMBestOfN(llm=Continuing(answers=[""]), prm=reading_prm(), search=Beam(1, 1))
    with pytest.raises(InputError, match="call it without stop"):
        runnable.invoke(ASKED, stop=["x"])
    with pytest.raises(InputError, match="blank"):
        runnable.invoke({"question": " "})


class Found(BaseRetriever):
    """Finds a document of its own for each step."""

    queries: list[str]

    def _get_relevant_documents(self, query, *, run_manager):
        self.queries.append(query)
        return [Document(f"About {query}"), Document(DOCUMENTS[0]), Document(f"About {query}")]


@pytest.mark.parametrize("how", ["retriever", "function", "async function"])
def test_what_is_retrieved_for_a_step_is_read_by_both_models(server, how):
    retriever = Found(queries=[])

    def function(query):
        return retriever.invoke(query)

    async def later(query):
        return retriever.invoke(query)

    given_ = {"retriever": retriever, "function": function, "async function": later}[how]
    prm, found = reading_prm(), []
    search = StepSearch(Beam(1, 2), retriever=given_, max_documents=1)
    runnable = MedPRMBestOfN(llm=chat(server), prm=prm, search=search, on_ranking=found.append)
    if how == "async function":
        message = asyncio.run(runnable.ainvoke(ASKED))
        with pytest.raises(InputError, match="async"):
            runnable.invoke(ASKED)
    else:
        message = runnable.invoke(ASKED)
    tree = found[0].tree
    first = message.text.split("\n")[0].removeprefix("Step 1: ")
    assert retriever.queries[0] == first
    assert tree.documents == [f"About {first}"]
    assert tree.documents_repeated == 2
    assert found[0].documents_given == found[0].documents_used == 3
    assert any(f"Document 3: About {first}" in str(body["messages"]) for body in server.bodies)
    if how != "async function":
        assert documents_in(prm)[2] == f"3: About {first}"
        assert asyncio.run(runnable.ainvoke(ASKED)).text == message.text
    assert message.response_metadata["medprm"]["search"]["documents_added"] == 1


def test_a_prompt_of_ones_own_and_a_run_are_kept(server):
    prompt = ChatPromptTemplate.from_template("{documents} I ask: {question}")
    seen = []

    class Handler(BaseCallbackHandler):
        def on_chat_model_start(self, serialized, messages, **kwargs):
            seen.append(messages)

    runnable = best_of(server, StepSearch(Beam(1, 1)), prompt=prompt)
    runnable.invoke(ASKED, {"callbacks": [Handler()]})
    assert asyncio.run(runnable.ainvoke(ASKED)).text.startswith("Step 1")
    assert any("I ask: Which dose" in str(messages) for messages in seen)
    assert any("I ask: Which dose" in str(body) for body in server.bodies)


def test_a_policy_of_ones_own_writes_in_place_of_the_llm(server):
    policy = ChatModelPolicy(chat(server))
    runnable = MedPRMBestOfN(
        llm=ScriptedChat(answers=["never"]), prm=reading_prm(), search=StepSearch(Beam(1, 1), policy=policy)
    )
    assert runnable.invoke(ASKED).text.startswith("Step 1")
    assert "ChatOpenAI" in repr(policy)


def test_one_call_that_fails_fails_the_call(server):
    policy = ChatModelPolicy(chat(server), check=False)
    server.status = 500
    for run in (policy.extend, lambda *given_: asyncio.run(policy.aextend(*given_))):
        with pytest.raises(Exception, match="500"):
            run(QUESTION, DOCUMENTS, [GrowingChain("", (), 0)], 3)
