"""Answers that are not trusted: what LangChain's classes give in their place, and how a person is asked."""

import asyncio
import json
import pickle
import subprocess
import sys

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import Generation
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command
from pydantic import BaseModel

from medprm_integrations.langchain import (
    ChatMedPRM,
    MedPRMBestOfN,
    MedPRMEvaluator,
    MedPRMMiddleware,
    MedPRMOutputParser,
    MedPRMReranker,
    ask_in_doubt,
    ranking_of,
)
from medprm_scorer import DoubtfulAnswerError, Floors, InputError
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, WORSE, ScriptedChat, reading_prm

SENTENCE = "Please ask the ward's pharmacist."
HIGH, LOW = Floors(min_reward=0.95), Floors(min_reward=0.1)
NEVER = ("Guess", "label says", "Step 1")
CONFIG = {"configurable": {"thread_id": "1"}}

ways = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])


def one(runnable, value, awaited, config=None):
    return asyncio.run(runnable.ainvoke(value, config)) if awaited else runnable.invoke(value, config)


def by_best_of_n(awaited, **settings):
    best = MedPRMBestOfN(llm=ScriptedChat(answers=[BAD, GOOD, WORSE]), prm=reading_prm(), n=3, **settings)
    return one(best, {"question": QUESTION, "documents": ["Label: 5 mg."]}, awaited)


def by_chat_model(awaited, **settings):
    chat = ChatMedPRM(llm=ScriptedChat(answers=[BAD, GOOD, WORSE]), prm=reading_prm(), n=3, **settings)
    return one(chat, QUESTION, awaited)


def by_middleware(awaited, **settings):
    app = agent(ScriptedChat(answers=[BAD, GOOD, WORSE]), **settings)
    return one(app, {"messages": [("human", QUESTION)]}, awaited)["messages"][-1]


def by_parser(awaited, **settings):
    parser = MedPRMOutputParser(prm=reading_prm(), **settings).about(QUESTION)
    given = [Generation(text=text) for text in (BAD, GOOD, WORSE)]
    return asyncio.run(parser.aparse_result(given)) if awaited else parser.parse_result(given)


def agent(llm, checkpointer=None, **settings):
    middleware = MedPRMMiddleware(prm=reading_prm(), n=3, max_concurrency=1, **settings)
    return create_agent(llm, [], middleware=[middleware], checkpointer=checkpointer)


everywhere = pytest.mark.parametrize("answer", [by_best_of_n, by_chat_model, by_middleware, by_parser])


@ways
@everywhere
def test_it_is_given_with_a_caution_by_default(answer, awaited):
    message = answer(awaited, trust=HIGH)
    note = message.response_metadata["medprm"]
    assert (message.text, note["trusted"], note["doubt"]) == (GOOD, False, "answer")
    assert any("Not trusted" in caution for caution in note["cautions"])
    assert ranking_of(message).best.text == GOOD


@ways
@everywhere
def test_abstaining_leaves_no_text_of_a_chain(answer, awaited):
    message = answer(awaited, trust=HIGH, on_doubt="abstain", doubt_answer=SENTENCE)
    assert message.text == SENTENCE
    assert not any(text in repr(message.model_dump()) for text in NEVER)
    ranking = ranking_of(message)
    assert (ranking.trusted, ranking.answer, len(ranking.chains), ranking.best.text) == (False, "A", 3, "")


@ways
@everywhere
@pytest.mark.parametrize("keep", ["figures", "none"])
def test_abstaining_with_less_kept(answer, awaited, keep):
    message = answer(awaited, trust=HIGH, on_doubt="abstain", keep=keep)
    note = message.response_metadata["medprm"]
    assert note["doubt"] == "abstain"
    assert not any(text in repr(message.model_dump()) for text in NEVER)
    assert ("chains" in note) == (keep == "figures")


@ways
@everywhere
@pytest.mark.parametrize("on_doubt", ["abstain", "raise", lambda _: SENTENCE])
def test_what_is_trusted_is_untouched(answer, awaited, on_doubt):
    message = answer(awaited, trust=LOW, on_doubt=on_doubt)
    assert message.text == GOOD
    assert "doubt" not in message.response_metadata["medprm"]


@ways
@everywhere
def test_an_error_has_figures_only_and_the_ranking(answer, awaited):
    with pytest.raises(DoubtfulAnswerError) as found:
        answer(awaited, trust=HIGH, on_doubt="raise")
    assert found.value.ranking.best.text == GOOD
    assert not any(text in f"{found.value} {found.value!r}" for text in NEVER)
    again = pickle.loads(pickle.dumps(found.value))  # noqa: S301 - our own
    assert (str(again), again.ranking.answer) == (str(found.value), "A")


@ways
@everywhere
@pytest.mark.parametrize(("said", "expected"), [(SENTENCE, SENTENCE), (None, GOOD)])
def test_a_function_is_called_with_the_ranking(answer, awaited, said, expected):
    seen = []
    message = answer(awaited, trust=HIGH, on_doubt=lambda ranking: seen.append(ranking) or said)
    assert message.text == expected
    assert [(ranking.trusted, ranking.best.text) for ranking in seen] == [(False, GOOD)]


@ways
@everywhere
def test_a_function_that_gives_nonsense_is_refused(answer, awaited):
    with pytest.raises(InputError, match="a text or None, not int"):
        answer(awaited, trust=HIGH, on_doubt=lambda _: 7)


@everywhere
def test_the_reward_models_own_trust_counts(answer, monkeypatch):
    module = sys.modules[__name__]
    prm = reading_prm()
    prm._trust = HIGH
    monkeypatch.setattr(module, "reading_prm", lambda: prm)
    assert answer(False, on_doubt="abstain", doubt_answer=SENTENCE).text == SENTENCE
    assert answer(False, on_doubt="abstain", trust=LOW).text == GOOD


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_doubt": "abstain"}, "on_doubt needs trust="),
        ({"on_doubt": "shrug", "trust": HIGH}, "unknown on_doubt 'shrug'"),
        ({"on_doubt": 7, "trust": HIGH}, "a function or one of"),
        ({"trust": 0.9}, "trust must be a Trust"),
        ({"trust": HIGH, "doubt_answer": " "}, "doubt_answer must be a text"),
    ],
)
@everywhere
def test_wrong_settings_are_refused(answer, settings, message):
    with pytest.raises(ValueError, match=message):
        answer(False, **settings)


@ways
@pytest.mark.parametrize("answer", [by_best_of_n, by_chat_model, by_parser])
def test_an_answer_that_waits_for_a_person_says_the_sentence(answer, awaited):
    message = answer(awaited, trust=HIGH, on_doubt="interrupt", doubt_answer=SENTENCE)
    note = message.response_metadata["medprm"]
    assert (message.text, note["doubt"], note["answer_waiting"]) == (SENTENCE, "interrupt", GOOD)
    assert answer(awaited, trust=LOW, on_doubt="interrupt").text == GOOD


def test_async_functions_are_refused():
    async def later(_):
        return SENTENCE

    with pytest.raises(ValueError, match="not awaited"):
        by_parser(False, trust=HIGH, on_doubt=later)


def test_a_batch_ends_only_the_doubtful_one():
    llm = ScriptedChat(answers=[GOOD, BAD])
    best = MedPRMBestOfN(
        llm=llm, prm=reading_prm(), n=1, max_concurrency=1, trust=Floors(min_reward=0.5), on_doubt="raise"
    )
    found = best.batch([{"question": QUESTION}] * 2, return_exceptions=True)
    assert found[0].text == GOOD
    assert isinstance(found[1], DoubtfulAnswerError)


@ways
def test_a_reranker_gives_rankings(awaited):
    given = {"question": QUESTION, "candidates": [BAD, GOOD]}
    reranker = MedPRMReranker(prm=reading_prm(), trust=HIGH)
    assert one(reranker, given, awaited).trusted is False
    with pytest.raises(DoubtfulAnswerError):
        one(MedPRMReranker(prm=reading_prm(), trust=HIGH, on_doubt="raise"), given, awaited)
    for on_doubt in ("abstain", "interrupt"):
        with pytest.raises(ValueError, match=r"ranking\.trusted"):
            MedPRMReranker(prm=reading_prm(), trust=HIGH, on_doubt=on_doubt)


def test_an_evaluator_says_so():
    evaluator = MedPRMEvaluator(prm=reading_prm(), trust=HIGH)
    assert evaluator(inputs=QUESTION, outputs=GOOD)["comment"].startswith("The answer is not trusted. ")
    evaluator = MedPRMEvaluator(prm=reading_prm(), trust=LOW)
    assert "not trusted" not in evaluator(inputs=QUESTION, outputs=GOOD)["comment"]


class Answer(BaseModel):
    """An answer."""

    reasoning: str
    answer: str


@ways
@pytest.mark.parametrize("on_doubt", ["abstain", lambda _: SENTENCE])
def test_a_structured_answer_ends_in_the_error(awaited, on_doubt):
    llm = ScriptedChat(answers=[json.dumps({"reasoning": "Guess [0.2].", "answer": "(A)"})])
    chat = ChatMedPRM(llm=llm, prm=reading_prm(), n=2, trust=HIGH, on_doubt=on_doubt)
    with pytest.raises(DoubtfulAnswerError, match="schema"):
        one(chat.with_structured_output(Answer, method="json_mode"), QUESTION, awaited)


# --- a person is asked ---


@ways
@pytest.mark.parametrize(("reply", "text", "doubt"), [("Give 4 mg.", "Give 4 mg.", "person"), (True, GOOD, "approved")])
@pytest.mark.parametrize("keep", ["winner", "none"])
def test_an_agent_waits_for_a_person_and_samples_once(awaited, reply, text, doubt, keep):
    llm = ScriptedChat(answers=[BAD, GOOD, WORSE])
    app = agent(llm, InMemorySaver(), trust=HIGH, on_doubt="interrupt", doubt_answer=SENTENCE, keep=keep)
    paused = one(app, {"messages": [("human", QUESTION)]}, awaited, CONFIG)
    (asked,) = paused["__interrupt__"]
    assert asked.value["answer"] == GOOD
    steps = [] if keep == "none" else [{"text": text, "reward": pytest.approx(0.9)} for text in GOOD.split("\n")]
    assert asked.value["steps"] == steps
    assert any("Not trusted" in caution for caution in asked.value["ranking"]["cautions"])
    assert paused["messages"][-1].text == SENTENCE
    assert len(llm.asked) == 3
    done = one(app, Command(resume=reply), awaited, CONFIG)
    assert len(llm.asked) == 3
    assert [type(message) for message in done["messages"]] == [HumanMessage, AIMessage]
    message = done["messages"][-1]
    assert (message.text, message.response_metadata["medprm"]["doubt"]) == (text, doubt)
    assert message.id == paused["messages"][-1].id
    assert "answer_waiting" not in message.response_metadata["medprm"]
    assert message.usage_metadata["total_tokens"] == 15


@ways
def test_an_agent_does_not_wait_where_it_is_trusted(awaited):
    app = agent(ScriptedChat(answers=[GOOD]), InMemorySaver(), trust=LOW, on_doubt="interrupt")
    found = one(app, {"messages": [("human", QUESTION)]}, awaited, CONFIG)
    assert "__interrupt__" not in found
    assert found["messages"][-1].text == GOOD


def test_only_who_asks_has_a_node_for_it():
    llm = ScriptedChat(answers=[GOOD])
    assert not any("after_model" in name for name in agent(llm, trust=HIGH).nodes)
    assert "MedPRMMiddleware.after_model" in agent(llm, trust=HIGH, on_doubt="interrupt").nodes


def test_an_unreadable_reply_can_be_given_again():
    llm = ScriptedChat(answers=[BAD])
    app = agent(llm, InMemorySaver(), trust=HIGH, on_doubt="interrupt")
    app.invoke({"messages": [("human", QUESTION)]}, CONFIG)
    calls = len(llm.asked)
    for reply, problem in (
        ({"yes": 1}, "the reply must be"),
        (" ", "the reply must be"),
        (False, "the reply must be"),
        ("Yes.", "a whole sentence"),
        (" approved", "a whole sentence"),
        ("no", "a whole sentence"),
    ):
        (again,) = app.invoke(Command(resume=reply), CONFIG)["__interrupt__"]
        assert again.value["answer"] == BAD
        assert problem in again.value["problem"]
    assert app.invoke(Command(resume="Give 4 mg."), CONFIG)["messages"][-1].text == "Give 4 mg."
    assert len(llm.asked) == calls


def test_what_streams_before_the_reply_is_the_sentence():
    app = agent(ScriptedChat(answers=[GOOD]), InMemorySaver(), trust=HIGH, on_doubt="interrupt", doubt_answer=SENTENCE)
    given = {"messages": [("human", QUESTION)]}
    seen = [str(chunk.text) for chunk, _ in app.stream(given, CONFIG, stream_mode="messages")]
    assert SENTENCE in seen
    assert not any(GOOD in text for text in seen)


ELSEWHERE = """
import sys
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from tests.integrations.langchain.test_doubt import CONFIG, HIGH, agent
from tests.support.langchain_scripts import ScriptedChat
llm = ScriptedChat(answers=[RuntimeError("sampled again")])
with SqliteSaver.from_conn_string(sys.argv[1]) as saver:
    app = agent(llm, saver, trust=HIGH, on_doubt="interrupt")
    message = app.invoke(Command(resume="Give 4 mg."), CONFIG)["messages"][-1]
    print(message.text, len(llm.asked), message.response_metadata["medprm"]["doubt"])
"""


def test_it_is_resumed_from_sqlite_in_another_process_without_sampling(tmp_path):
    path, llm = str(tmp_path / "checkpoints.sqlite"), ScriptedChat(answers=[BAD, GOOD, WORSE])
    with SqliteSaver.from_conn_string(path) as saver:
        app = agent(llm, saver, trust=HIGH, on_doubt="interrupt", doubt_answer=SENTENCE)
        (asked,) = app.invoke({"messages": [("human", QUESTION)]}, CONFIG)["__interrupt__"]
    assert (asked.value["answer"], len(llm.asked)) == (GOOD, 3)
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "Give 4 mg. 0 person"
    assert len(llm.asked) == 3
    with SqliteSaver.from_conn_string(path) as saver:  # what the other process wrote
        message = agent(llm, saver, trust=HIGH, on_doubt="interrupt").get_state(CONFIG).values["messages"][-1]
    assert (message.text, message.response_metadata["medprm"]["trusted"]) == ("Give 4 mg.", False)


def own_graph(llm, saver=None, **settings):
    best = MedPRMBestOfN(llm=llm, prm=reading_prm(), n=3, **settings)

    def sample(state):
        return {"messages": [best.invoke({"question": state["messages"][-1]})]}

    def check(state):
        return {"messages": [ask_in_doubt(state["messages"][-1])]}

    graph = StateGraph(MessagesState).add_sequence([sample, check]).add_edge(START, "sample")
    return graph.compile(checkpointer=saver)


@ways
@pytest.mark.parametrize("on_doubt", ["answer", "interrupt"])
def test_a_graph_of_ones_own_asks_in_a_node_after_the_sampling(awaited, on_doubt):
    llm = ScriptedChat(answers=[BAD, GOOD, WORSE])
    app = own_graph(llm, InMemorySaver(), trust=HIGH, on_doubt=on_doubt, doubt_answer=SENTENCE)
    paused = one(app, {"messages": [("human", QUESTION)]}, awaited, CONFIG)
    assert paused["__interrupt__"][0].value["answer"] == GOOD
    assert paused["messages"][-1].text == (GOOD if on_doubt == "answer" else SENTENCE)
    done = one(app, Command(resume="Give 4 mg."), awaited, CONFIG)
    assert [message.text for message in done["messages"]] == [QUESTION, "Give 4 mg."]
    assert len(llm.asked) == 3


def test_a_graph_of_ones_own_shows_no_answer_before_the_reply():
    saver = InMemorySaver()
    app = own_graph(ScriptedChat(answers=[GOOD]), saver, trust=HIGH, on_doubt="interrupt", doubt_answer=SENTENCE)
    given = {"messages": [("human", QUESTION)]}
    seen = [str(chunk.text) for chunk, _ in app.stream(given, CONFIG, stream_mode="messages")]
    assert SENTENCE in seen
    assert GOOD not in "".join(seen)
    later = app.invoke({"messages": [("human", "Thanks!")]}, CONFIG)  # nobody has replied
    assert not any(GOOD in message.text for message in later["messages"])


@ways
def test_nobody_is_asked_in_a_graph_that_cannot_be_resumed(awaited):
    llm = ScriptedChat(answers=[GOOD])
    for app in (own_graph(llm, trust=HIGH, on_doubt="interrupt"), agent(llm, trust=HIGH, on_doubt="interrupt")):
        with pytest.raises(InputError, match="with a checkpointer"):
            one(app, {"messages": [("human", QUESTION)]}, awaited)
    assert len(llm.asked) == 3  # the agent is refused before it pays for a sample
    trusting = own_graph(llm, trust=LOW, on_doubt="interrupt")
    assert one(trusting, {"messages": [("human", QUESTION)]}, awaited)["messages"][-1].text == GOOD


@ways
def test_a_graph_within_a_graph_has_the_outer_ones_checkpointer(awaited):
    inner = own_graph(ScriptedChat(answers=[GOOD]), trust=HIGH, on_doubt="interrupt")
    outer = StateGraph(MessagesState).add_node("inner", inner).add_edge(START, "inner")
    app = outer.compile(checkpointer=InMemorySaver())
    assert "__interrupt__" in one(app, {"messages": [("human", QUESTION)]}, awaited, CONFIG)
    done = one(app, Command(resume="Give 4 mg."), awaited, CONFIG)
    assert done["messages"][-1].text == "Give 4 mg."


def test_what_cannot_be_in_doubt_is_not_asked_about():
    with pytest.raises(InputError, match="give trust="):
        ask_in_doubt(by_best_of_n(False))
    with pytest.raises(InputError, match="takes the model's message, not str"):
        ask_in_doubt("Give 4 mg.")
    plain = AIMessage("Hello.")
    assert ask_in_doubt(plain) is plain


def test_more_votes_than_samples_are_refused():
    prm = reading_prm()
    with pytest.raises(ValueError, match="min_votes must be at most 3, the number of candidates"):
        MedPRMBestOfN(llm=ScriptedChat(answers=[GOOD]), prm=prm, n=3, trust=Floors(min_votes=4))
    prm._trust = Floors(min_votes=4)  # for other uses, too
    MedPRMBestOfN(llm=ScriptedChat(answers=[GOOD]), prm=prm, n=3)
    MedPRMEvaluator(prm=prm)


def test_a_misspelt_setting_names_the_class():
    with pytest.raises(ValueError, match="for MedPRMMiddleware") as found:
        MedPRMMiddleware(prm=reading_prm(), **{"on_douby": "answer"})
    assert "_Settings" not in str(found.value)
