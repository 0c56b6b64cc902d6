"""`explain=True`: which documents carry the winner stands in the metadata of LangChain's messages, by their ids."""

import asyncio
import re

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import Generation
from langchain_core.retrievers import BaseRetriever

from medprm_integrations.langchain import ChatMedPRM, MedPRMBestOfN, MedPRMMiddleware, MedPRMOutputParser, ranking_of
from medprm_scorer import Floors
from medprm_scorer.results.explanation import NOISE
from tests.support.explained import BEFORE, CHAIN, GIVEN, LABEL, NEVER, QUESTION, check, check_search, demo, two_doses
from tests.support.langchain_scripts import ScriptedChat, call
from tests.support.paths import ROOT

IDS = ["blank", "guide-7", "label-1", None]
NAMES = ["blank", "guide-7", "label-1", 3]

ways = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])


def documents():
    return [Document(text, id=id) for text, id in zip(GIVEN, IDS, strict=True)]


class Finds(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return documents()


def one(runnable, value, awaited):
    return asyncio.run(runnable.ainvoke(value)) if awaited else runnable.invoke(value)


def settings(**more):
    return {"llm": ScriptedChat(answers=[CHAIN]), "prm": demo(), "n": 1, "explain": True, **more}


def by_best_of_n(awaited, **more):
    return one(MedPRMBestOfN(**settings(**more)), {"question": QUESTION, "documents": documents()}, awaited)


def by_chat_model(awaited, **more):
    """The documents are in the artifact of a tool."""
    found = ToolMessage("found", artifact=documents(), tool_call_id="1", name="search")
    return one(ChatMedPRM(**settings(**more)), [HumanMessage(QUESTION), call(), found], awaited)


def by_chat_model_with_a_retriever(awaited, **more):
    return one(ChatMedPRM(**settings(evidence=Finds(), **more)), QUESTION, awaited)


def by_stream(awaited, **more):
    chat = ChatMedPRM(**settings(evidence=Finds(), **more))

    async def last():
        return await anext(chat.astream(QUESTION))

    return asyncio.run(last()) if awaited else next(iter(chat.stream(QUESTION)))


def by_middleware(awaited, **more):
    given = settings(evidence=lambda _: documents(), **more)
    app = create_agent(given.pop("llm"), [], middleware=[MedPRMMiddleware(**given)])
    return one(app, {"messages": [("human", QUESTION)]}, awaited)["messages"][-1]


def by_parser(awaited, **more):
    given = {"prm": demo(), "explain": True, **{name: more[name] for name in more if name != "n"}}
    parser = MedPRMOutputParser(**given).about(QUESTION, documents())
    generations = [Generation(text=CHAIN)]
    return asyncio.run(parser.aparse_result(generations)) if awaited else parser.parse_result(generations)


everywhere = pytest.mark.parametrize(
    "answer", [by_best_of_n, by_chat_model, by_chat_model_with_a_retriever, by_stream, by_middleware, by_parser]
)


@ways
@everywhere
def test_the_documents_that_carry_the_winner_are_named(answer, awaited):
    message = answer(awaited)
    check(message.response_metadata["medprm"], NAMES)
    assert ranking_of(message).best.text == CHAIN


def test_the_examples_of_the_docs_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "explain.md").read_text(), flags=re.DOTALL)
    names = {}
    for block in blocks:
        exec(compile(block, "docs/explain.md", "exec"), names)
    assert len(blocks) == 2
    assert re.search(r"'support': \[.+\].*'tokens': \d{2,}", capsys.readouterr().out)


@everywhere
def test_it_is_off_by_default(answer):
    assert "explanation" not in answer(False, explain=False).response_metadata["medprm"]


@pytest.mark.parametrize("keep", ["figures", "none"])
@everywhere
def test_without_texts_documents_are_named_by_their_places(answer, keep):
    note = answer(False, keep=keep).response_metadata["medprm"]
    check(note, [0, 1, 2, 3])
    assert not any(name in repr(dict(note)) for name in ("guide-7", "label-1"))


def test_an_answer_that_is_not_given_is_explained_in_figures_alone():
    message = by_best_of_n(False, trust=Floors(min_reward=0.999), on_doubt="abstain")
    check(message.response_metadata["medprm"], NAMES)
    assert not any(text in message.response_metadata["medprm"]["explanation"].__repr__() for text in NEVER)
    assert isinstance(message, AIMessage)


def test_a_cache_tells_explained_answers_from_others():
    params = [ChatMedPRM(**settings(explain=explain))._identifying_params for explain in (True, False)]
    assert params[0] != params[1]


def test_each_question_of_a_batch_has_its_own():
    best = MedPRMBestOfN(**settings())
    full, empty = best.batch([{"question": QUESTION, "documents": documents()}, {"question": QUESTION}])
    check(full.response_metadata["medprm"], NAMES)
    found = empty.response_metadata["medprm"]["explanation"]
    lists = ("supporting", "contradicting", "support", "steps")
    assert found == {**{key: [] for key in lists}, "noise": NOISE, "prompts": 0, "tokens": 0}


class FindsLabel(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(LABEL, id="label-1")]


@ways
@pytest.mark.parametrize("streamed", [False, True])
def test_the_chain_that_a_search_has_chosen_is_explained_with_what_it_has_found(awaited, streamed):
    """The model is the demo model; of two doses it keeps one, and the metadata are of that chain."""
    found = []
    best = MedPRMBestOfN(
        llm=ScriptedChat(answers=["never"]),
        prm=demo(),
        search=two_doses(FindsLabel()),
        explain=True,
        on_ranking=found.append,
    )
    before = [Document(text, id=id) for text, id in zip(BEFORE, IDS, strict=False)]
    value = {"question": QUESTION, "documents": before}

    async def pieces():
        return [piece async for piece in best.astream(value)]

    if not streamed:
        message = one(best, value, awaited)
    else:
        message, *others = reversed(asyncio.run(pieces()) if awaited else list(best.stream(value)))
        assert all("medprm" not in piece.response_metadata for piece in others)
    (ranking,) = found
    assert [branch.fate for branch in ranking.tree.branches].count("dropped") == 1
    check_search(message.response_metadata["medprm"], ranking.best.text, ["blank", "guide-7", "label-1"])


@pytest.mark.parametrize("keep", ["figures", "none"])
def test_a_search_is_explained_without_ids_where_none_are_kept(keep):
    found = []
    best = MedPRMBestOfN(
        llm=ScriptedChat(answers=["never"]),
        prm=demo(),
        search=two_doses(lambda query: [LABEL]),
        explain=True,
        keep=keep,
        on_ranking=found.append,
    )
    note = best.invoke({"question": QUESTION, "documents": BEFORE}).response_metadata["medprm"]
    assert all(type(name) is int for name in note["explanation"]["supporting"])
    assert note["explanation"]["support"][0] is None
    assert len(note["explanation"]["support"]) == 3
