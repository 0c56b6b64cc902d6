"""What LangChain users are refused and warned of: keys, settings, types, tools, failed samples, unread documents."""

import asyncio
import warnings

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import Generation
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.tools import tool
from pydantic import ValidationError

from medprm_integrations.langchain import (
    ChatMedPRM,
    DocumentsLeftOutWarning,
    MedPRMBestOfN,
    MedPRMMiddleware,
    MedPRMOutputParser,
    MedPRMReranker,
    SamplesFailedWarning,
    UnknownToolWarning,
    ranking_of,
)
from medprm_integrations.langchain.output_parser import LONE
from medprm_scorer import InputError, MedPRM, Ranking, ScoringError
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, SECRET, WORSE, ScriptedChat, call, reading_prm

REQUEST = {"question": QUESTION, "candidates": [BAD, GOOD], "documents": ["Label: give 5 mg."]}
HUGE = "dose " * 5000


@pytest.fixture
def prm():
    return reading_prm()


@tool
def search(query: str) -> str:
    """Search the labels."""
    return f"Label: {query} 5 mg."


def without(request, key):
    return {name: value for name, value in request.items() if name != key}


# --- keys ---


@pytest.mark.parametrize("key", ["context", "docs", "doc", "document", "contexts", "passages", "related_docs"])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "abatch"])
def test_documents_under_another_name_are_refused_before_anything_is_paid_for(prm, key, how):
    llm = ScriptedChat(answers=[GOOD])
    given = {**without(REQUEST, "documents"), key: [SECRET]}
    for runnable in (MedPRMReranker(prm=prm), MedPRMBestOfN(llm=llm, prm=prm, n=2)):
        ask = getattr(runnable, how)
        value = [given] if "batch" in how else given
        with pytest.raises(InputError, match=f"^unknown key '{key}': documents go under the key documents$"):
            asyncio.run(ask(value)) if how.startswith("a") else ask(value)
    assert llm.asked == prm.engine.calls == []


def test_other_keys_are_let_through(prm):
    given = {**REQUEST, "patient_id": 3, "history": [], "context": ["beside documents"]}
    assert MedPRMReranker(prm=prm).invoke(given).documents_used == 1
    best = MedPRMBestOfN(llm=ScriptedChat(answers=[GOOD, BAD]), prm=prm, n=2)
    assert ranking_of(best.invoke(given)).documents_used == 1
    given = {**REQUEST, "context": "my prompt's own", "documents": []}  # said to be none, so none are missed
    assert ranking_of(best.invoke(given)).documents_given == 0


def test_a_missing_key_is_named(prm):
    reranker, best = MedPRMReranker(prm=prm), MedPRMBestOfN(llm=ScriptedChat(answers=[GOOD]), prm=prm)
    with pytest.raises(InputError, match=r"^the key 'question' is missing \(there are 'query' and 'candidates'\)$"):
        reranker.invoke({"query": SECRET, "candidates": [GOOD]})
    with pytest.raises(InputError, match=r"^the key 'question' is missing \(there is 'query'\)$"):
        best.invoke({"query": SECRET})
    with pytest.raises(InputError, match=r'must be a dict: \{"question": …, "documents":'):
        best.invoke(SECRET)


def test_an_error_of_one_of_many_names_its_place(prm):
    reranker = MedPRMReranker(prm=prm)
    requests = [REQUEST, {**REQUEST, "candidates": [" "]}, {**REQUEST, "candidates": []}, {**REQUEST, "docs": []}]
    requests[3].pop("documents")
    for results in (
        reranker.batch(requests, return_exceptions=True),
        asyncio.run(reranker.abatch(requests, return_exceptions=True)),
    ):
        assert isinstance(results[0], Ranking)
        assert isinstance(results[1], ScoringError)
        assert str(results[1]).startswith("request 1: no candidate could be scored")
        assert str(results[2]).startswith("request 2: there are no candidates: ")
        assert str(results[3]) == "request 3: unknown key 'docs': documents go under the key documents"
    with pytest.raises(InputError, match=r"^request 1: "):
        reranker.batch([REQUEST, {}])
    for alone in (lambda: reranker.invoke(requests[2]), lambda: reranker.batch([requests[2]])):
        with pytest.raises(InputError, match=r"^there are no candidates"):
            alone()


# --- settings ---

CLASSES = {
    MedPRMReranker: (),
    MedPRMOutputParser: (),
    MedPRMBestOfN: ("llm",),
    ChatMedPRM: ("llm",),
}
each = pytest.mark.parametrize("cls", CLASSES)


@pytest.fixture
def given(prm):
    """What each class needs."""
    return lambda cls: {"prm": prm, **({"llm": ScriptedChat(answers=[GOOD])} if "llm" in CLASSES[cls] else {})}


@each
def test_misspelt_settings_are_refused(given, cls):
    for name, meant in (("agregate", "aggregate"), ("stratgy", "strategy"), ("on_dout", "on_doubt")):
        found = rf"for {cls.__name__}\n{name}\n +Extra inputs are not permitted; is '{meant}' meant\?"
        with pytest.raises(ValidationError, match=found):
            cls(**given(cls), **{name: "min"})
    with pytest.raises(ValidationError, match=r"quuz\n +Extra inputs are not permitted \["):
        cls(**given(cls), quuz="min")


def test_a_suggestion_hides_no_other_error_and_shows_no_value(given):
    with pytest.raises(ValidationError) as found:
        MedPRMBestOfN(**given(MedPRMBestOfN), **{"agregate": "Mrs Smith {text}", "n": 0, "strategy": "vote"})
    assert [(one["type"], one["loc"]) for one in found.value.errors()] == [
        ("literal_error", ("strategy",)),
        ("greater_than_equal", ("n",)),
        ("extra_forbidden", ("agregate",)),
    ]
    assert "Smith" not in str(found.value)


def test_the_models_own_settings_are_set_on_it(given):
    for name in ("temperature", "max_tokens", "model", "delay"):  # the last is this llm's own
        with pytest.raises(ValidationError, match=f"unknown setting '{name}': set it on llm"):
            MedPRMBestOfN(**given(MedPRMBestOfN), **{name: 1})


def test_a_chat_model_binds_settings_of_sampling_to_its_llm(given):
    """As the standard tests give them to every chat model; what only the llm's own constructor takes is warned of."""
    chat = ChatMedPRM(**given(ChatMedPRM), **{"temperature": 0.7, "max_tokens": 9})
    assert getattr(chat.llm, "kwargs", None) == {"temperature": 0.7, "max_tokens": 9}
    assert chat.invoke("Which?").text
    with pytest.warns(UserWarning, match="not passed on: base_url, api_key; set on llm when it is made"):
        assert ChatMedPRM(**given(ChatMedPRM), **{"base_url": "x", "api_key": "x"}).invoke("Which?").text
    with pytest.raises(ValidationError, match="unknown setting 'delay': set it on llm"):
        ChatMedPRM(**given(ChatMedPRM), **{"delay": 1})


@each
def test_the_frameworks_own_settings_are_known(given, cls):
    assert cls(**given(cls), name="mine").name == "mine"
    if cls is ChatMedPRM:
        extra = {"tags": ["a"], "metadata": {"b": 1}, "callbacks": [], "cache": False, "verbose": True}
        chat = cls(**given(cls), **extra, rate_limiter=None, disable_streaming=True)
        assert (chat.tags, chat.cache, chat.disable_streaming) == (["a"], False, True)
    again = cls(**given(cls)).with_config(tags=["a"]).bound
    assert again.model_copy(update={"strategy": "best_of_n"}).strategy == "best_of_n"


@each
def test_a_wrong_reward_model_or_model_is_refused_at_once(given, cls):
    with pytest.raises(ValidationError, match=r"prm must be a MedPRM \(MedPRM.from_pretrained\(...\)\), not str"):
        cls(**{**given(cls), "prm": "dmis-lab/llama-3.1-medprm-reward-v1.0"})
    if "llm" in CLASSES[cls]:
        with pytest.raises(ValidationError, match=r"llm must be a chat model.*, not str"):
            cls(**{**given(cls), "llm": "gpt-5"})


def test_the_middlewares_settings(prm):
    with pytest.raises(ValidationError, match=r"prm must be a MedPRM \(MedPRM.from_pretrained\(...\)\), not str"):
        MedPRMMiddleware(prm="model")
    with pytest.raises(ValidationError, match="evidence_tools must be a list of tool names"):
        MedPRMMiddleware(prm=prm, evidence_tools="search_label")
    with pytest.raises(ValidationError, match=r"agregate\n +Extra inputs are not permitted"):
        MedPRMMiddleware(prm=prm, agregate="min")  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="evidence_tools must be a list of tool names"):
        ChatMedPRM(prm=prm, llm=ScriptedChat(answers=[GOOD]), evidence_tools="search_label")


@each
def test_settings_are_given_by_name(given, prm, cls):
    for positional in ((prm,), (ScriptedChat(answers=[GOOD]), prm)):
        with pytest.raises(TypeError, match=rf"^{cls.__name__} takes its settings by name: {cls.__name__}\(prm=…\)"):
            cls(*positional)
    with pytest.raises(TypeError, match=r"^MedPRMMiddleware takes its settings by name: MedPRMMiddleware\(prm=…"):
        MedPRMMiddleware(prm)  # type: ignore[misc, call-arg]


@each
def test_a_class_in_place_of_an_object(given, cls):
    if "llm" in CLASSES[cls]:
        with pytest.raises(ValidationError, match=r"llm must be an object, not the class: llm=ScriptedChat\(…\)"):
            cls(**{**given(cls), "llm": ScriptedChat})
    with pytest.raises(ValidationError, match=r"prm must be .*MedPRM.from_pretrained\("):
        cls(**{**given(cls), "prm": MedPRM})


def test_the_middlewares_class_in_place_of_an_object():
    for cls in (MedPRMMiddleware, type("Mine", (MedPRMMiddleware,), {})):
        with pytest.raises(TypeError, match=r"an object, not the class: middleware=\[MedPRMMiddleware\(prm=…\)\]"):
            create_agent(ScriptedChat(answers=[GOOD]), [], middleware=[cls])


class Many(ScriptedChat):
    """A model that gives several completions to a call."""

    n: int = 1


def test_an_llm_that_gives_several_answers_itself_is_refused(prm):
    """Of its answers only the first would be ranked, and all would be paid for."""
    for llm in (Many(answers=[GOOD], n=16), Many(answers=[GOOD], n=16).bind(stop=["X"])):
        for cls in (ChatMedPRM, MedPRMBestOfN):
            with pytest.raises(
                ValidationError, match="llm gives 16 answers to each call, of which only one would count"
            ):
                cls(llm=llm, prm=prm)
    llm = Many(answers=[GOOD], n=2)
    with pytest.raises(ValueError, match="llm gives 2 answers"):
        create_agent(llm, [], middleware=[MedPRMMiddleware(prm=prm)]).invoke({"messages": [("human", QUESTION)]})
    assert llm.asked == []
    assert ChatMedPRM(llm=Many(answers=[BAD, GOOD]), prm=prm, n=2).invoke(QUESTION).text in (GOOD, BAD)


def test_a_rate_limiter_that_would_limit_nothing_is_refused(prm):
    limiter = InMemoryRateLimiter(requests_per_second=5)
    with pytest.raises(ValidationError, match="rate_limiter has no effect on samples here: set it on llm"):
        ChatMedPRM(llm=ScriptedChat(answers=[GOOD]), prm=prm, rate_limiter=limiter)


def test_a_parser_behind_a_model_says_that_there_was_no_choice(prm):
    parser = MedPRMOutputParser(prm=prm).about(QUESTION)
    chain = ScriptedChat(answers=[GOOD]) | parser
    for message in (chain.invoke(QUESTION), asyncio.run(chain.ainvoke(QUESTION))):
        assert LONE in message.response_metadata["medprm"]["cautions"]


# --- tools ---


def test_the_middleware_warns_of_a_tool_that_is_not_there(prm):
    def agent(*names):
        llm = ScriptedChat(answers=[call("search", query="Z"), BAD, GOOD])
        middleware = MedPRMMiddleware(prm=prm, n=2, max_concurrency=1, evidence_tools=names)
        return create_agent(llm, [search], middleware=[middleware])

    with pytest.warns(UnknownToolWarning, match="there is no tool 'serch'; the tools are 'search'") as caught:
        agent("serch").invoke({"messages": [("human", QUESTION)]})
    assert len([one for one in caught if one.category is UnknownToolWarning]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnknownToolWarning)
        asyncio.run(agent("search").ainvoke({"messages": [("human", QUESTION)]}))


def test_bind_tools_warns_of_a_tool_that_is_not_there(prm):
    def chat(*names):
        return ChatMedPRM(llm=ScriptedChat(answers=[GOOD]), prm=prm, evidence_tools=names)

    form = {"type": "function", "function": {"name": "weigh", "description": "", "parameters": {}}}
    with pytest.warns(UnknownToolWarning, match="no tool 'serch'; the tools are 'search', 'weigh'"):
        chat("serch").bind_tools([search, form])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chat("search", "weigh").bind_tools([search, form])


# --- samples that failed, and documents that nobody read ---


def ways_to_answer(prm, *answers, **options):
    """Each class that samples, asked about the same question with the same huge documents."""
    given = {"messages": [("human", QUESTION)]}
    answers = answers or (GOOD, BAD)
    huge = [HUGE, HUGE + "more"]

    def llm():
        return ScriptedChat(answers=answers)

    settings = {"prm": prm, "n": 2, "max_concurrency": 1, "replacements": 0}
    middleware = MedPRMMiddleware(**settings, evidence=lambda request: huge)
    return {
        "best_of_n": lambda: MedPRMBestOfN(llm=llm(), **settings).invoke({"question": QUESTION, "documents": huge}),
        "chat": lambda: ChatMedPRM(llm=llm(), **settings, evidence=lambda _: huge).invoke(QUESTION),
        "middleware": lambda: create_agent(llm(), [], middleware=[middleware]).invoke(given)["messages"][-1],
        "parser": lambda: (
            MedPRMOutputParser(prm=prm)
            .about(QUESTION, huge)
            .parse_result([Generation(text=str(text)) for text in answers])
        ),
    }


@pytest.mark.parametrize("way", ["best_of_n", "chat", "middleware", "parser"])
def test_documents_of_which_none_was_read(prm, way):
    with pytest.warns(DocumentsLeftOutWarning, match="none of 2 documents was read: the first exceeds") as caught:
        message = ways_to_answer(prm)[way]()
    assert len(caught) == 1
    note, ranking = message.response_metadata["medprm"], ranking_of(message)
    assert (ranking.documents_given, ranking.documents_used, note["documents_left_out"]) == (2, 0, 2)
    assert "0 of 2 documents" in str(ranking)


def test_the_reranker_tells_of_documents_of_which_none_was_read(prm):
    for documents, warned in (([Document(HUGE), "small"], True), (["small", HUGE], True), ([], False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            MedPRMReranker(prm=prm).batch([{**REQUEST, "documents": documents}, REQUEST])
        assert [one.category for one in caught] == [DocumentsLeftOutWarning] * warned


def test_what_is_left_out_means_the_same_everywhere(prm):
    """Given less used, whether the rest ended the list or never reached the reward model."""
    huge = [ToolMessage(HUGE, tool_call_id="1"), ToolMessage("Label: 5 mg.", tool_call_id="2")]
    chat = ChatMedPRM(llm=ScriptedChat(answers=[GOOD, BAD]), prm=prm, n=2)
    best = MedPRMBestOfN(llm=ScriptedChat(answers=[GOOD, BAD]), prm=prm, n=2)
    for message in (
        chat.invoke([HumanMessage(QUESTION), *huge]),
        best.invoke({"question": QUESTION, "documents": ["Label: 5 mg.", HUGE]}),
    ):
        ranking = ranking_of(message)
        assert (ranking.documents_given, ranking.documents_used) == (2, 1)
        assert message.response_metadata["medprm"]["documents_left_out"] == 1


@pytest.mark.parametrize("way", ["best_of_n", "chat", "middleware"])
def test_some_failed_samples_are_told_of_without_their_texts(prm, way):
    with pytest.warns(SamplesFailedWarning, match=r"^1 of 2 samples failed \(RuntimeError\): choosing among 1$"):
        message = ways_to_answer(prm, GOOD, RuntimeError(SECRET))[way]()
    assert message.response_metadata["medprm"]["samples_failed"] == 1


# --- rankings ---


def test_on_ranking_is_called_with_each_ranking(prm):
    seen = []
    llm = ScriptedChat(answers=[BAD, GOOD, WORSE])
    chat = ChatMedPRM(llm=llm, prm=prm, n=3, on_ranking=seen.append, keep="all")
    messages = [chat.invoke(QUESTION), asyncio.run(chat.ainvoke(QUESTION))]
    assert seen == [ranking_of(message) for message in messages]
    turn = ChatMedPRM(llm=ScriptedChat(answers=[call()]), prm=prm, n=3, on_ranking=seen.append)
    turn.bind_tools([search]).invoke(QUESTION)
    assert len(seen) == 2


def test_ranking_of_says_what_it_takes():
    for wrong in ({"messages": [AIMessage(SECRET)]}, SECRET, None):
        with pytest.raises(InputError, match=r"give the message: state\['messages'\]\[-1\]$") as caught:
            ranking_of(wrong)
        assert SECRET not in str(caught.value)


def test_what_is_bound_to_the_llm_stays(prm):
    llm = ScriptedChat(answers=[GOOD, BAD])
    chat = ChatMedPRM(llm=llm.bind(stop=["X"]), prm=prm, n=2)
    chat.invoke(QUESTION)
    asyncio.run(chat.ainvoke(QUESTION))
    assert [kwargs["stop"] for _, kwargs in llm.asked] == [["X"]] * 4
    chat.invoke(QUESTION, stop=["Y"])
    assert llm.asked[-1][1]["stop"] == ["Y"]


def test_the_fake_that_the_middleware_names_for_tests(prm):
    llm = GenericFakeChatModel(messages=iter([AIMessage(BAD), AIMessage(GOOD)]))
    agent = create_agent(llm, [], middleware=[MedPRMMiddleware(prm=prm, n=2, max_concurrency=1)])
    message = agent.invoke({"messages": [("human", QUESTION)]})["messages"][-1]
    assert (message.text, len(ranking_of(message).chains)) == (GOOD, 2)
