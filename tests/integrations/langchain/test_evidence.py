"""What is evidence in LangChain: by the names of tools, by turns, by scores, and by retrievers."""

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import TodoListMiddleware, dynamic_prompt
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import Generation
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool

from medprm_integrations.langchain import (
    ChatMedPRM,
    DocumentsLeftOutWarning,
    MedPRMBestOfN,
    MedPRMMiddleware,
    MedPRMOutputParser,
    MedPRMReranker,
    ranking_of,
)
from medprm_integrations.langchain.conversation import UNREAD_PARTS, tool_documents
from medprm_integrations.shared.prompt_context import NOT_GIVEN
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, ScriptedChat, call, reading_prm
from tests.support.reading import documents_in

ANEW = "Which drug?\n\n(A) Zoravine\n(B) none"


@tool
def search(query: str) -> str:
    """Search the labels."""
    return f"Label: {query}."


@tool
def order_drug(drug: str) -> str:
    """Order a drug."""
    return f"ordered {drug}"


@tool
def transfer_to_cardiology(reason: str) -> str:
    """Hand over."""
    return f"Successfully transferred to cardiology {reason}"


class Labels(BaseRetriever):
    """Finds what it is asked for, and says how."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(f"sync: {query}")]

    async def _aget_relevant_documents(self, query, *, run_manager):
        return [Document(f"async: {query}")]


@pytest.fixture
def prm():
    return reading_prm()


def asked_both_ways(make, messages):
    """The winner's message by invoke and by ainvoke, of objects made anew; agents give their last message."""

    def last(given):
        return given if isinstance(given, AIMessage) else given["messages"][-1]

    sync, awaited = make(), make()
    given = messages if isinstance(sync, ChatMedPRM) else {"messages": messages}
    yield last(sync.invoke(given))
    yield last(asyncio.run(awaited.ainvoke(given)))


def test_receipts_and_handovers_are_evidence_only_if_they_are_asked_for(prm):
    script = (
        call("order_drug", id="1", drug="Zoravine"),
        call("transfer_to_cardiology", id="2", reason="x"),
        call("search", id="3", query="5 mg"),
        GOOD,
        BAD,
    )

    def make(**options):
        llm = ScriptedChat(answers=script)
        tools = [search, order_drug, transfer_to_cardiology]
        return create_agent(llm, tools, middleware=[MedPRMMiddleware(prm=prm, n=2, max_concurrency=1, **options)])

    for message in asked_both_ways(make, [("human", QUESTION)]):
        assert (ranking_of(message).documents_given, documents_in(prm)) == (1, ["1: Label: 5 mg."])
    for _ in asked_both_ways(lambda: make(evidence_tools=["order_drug"]), [("human", QUESTION)]):
        assert documents_in(prm) == ["1: ordered Zoravine"]
    for _ in asked_both_ways(lambda: make(evidence_tools=[], evidence=lambda _: ["Mine."]), [("human", QUESTION)]):
        assert documents_in(prm) == ["1: Mine."]


def test_what_the_model_planned_is_no_evidence(prm):
    plan = call("write_todos", todos=[{"content": "give 9 mg", "status": "pending"}])

    def make():
        middleware = [TodoListMiddleware(), MedPRMMiddleware(prm=prm, n=2, max_concurrency=1)]
        return create_agent(ScriptedChat(answers=[plan, GOOD, BAD]), [search], middleware=middleware)

    for message in asked_both_ways(make, [("human", QUESTION)]):
        assert ranking_of(message).documents_given == 0


def test_errors_blanks_and_structured_answers_are_no_evidence():
    image = [{"type": "image", "url": "https://example.org/x.png"}]
    messages = [
        ToolMessage("db down", tool_call_id="1", status="error"),
        ToolMessage("Returning structured response: answer='A'", tool_call_id="2", name="Out"),
        ToolMessage(image, tool_call_id="3", name="scan"),
    ]
    assert "".join(tool_documents(messages)) == ""
    assert tool_documents(messages, ["Out"]) == ["Returning structured response: answer='A'"]
    assert tool_documents(messages[:1], [""]) == []


def test_an_image_alone_is_no_document_that_was_read(prm):
    image = ToolMessage([{"type": "image", "url": "https://example.org/x.png"}], tool_call_id="1", name="scan")
    for message in asked_both_ways(lambda: chat(prm), [HumanMessage(QUESTION), image]):
        assert ranking_of(message).documents_used == 0


def chat(prm, **options):
    return ChatMedPRM(llm=ScriptedChat(answers=[BAD, GOOD]), prm=prm, n=2, max_concurrency=1, **options)


def agent(prm, before=(), **options):
    middleware = [*before, MedPRMMiddleware(prm=prm, n=2, max_concurrency=1, **options)]
    return create_agent(ScriptedChat(answers=[BAD, GOOD]), [], middleware=middleware)


kinds = pytest.mark.parametrize("kind", [chat, agent])


def found(text, id):
    return [call(id=id, query=text), ToolMessage(text, tool_call_id=id, name="search")]


@kinds
def test_evidence_is_what_was_found_since_the_question_began(prm, kind):
    """A follow-up is judged together with what came before it, a new question with options by itself."""
    first = [HumanMessage(QUESTION), *found("Label: 5 mg.", "1"), AIMessage(GOOD)]
    for _ in asked_both_ways(lambda: kind(prm), [*first, HumanMessage("Are you sure?")]):
        assert documents_in(prm) == ["1: Label: 5 mg."]
    for message in asked_both_ways(lambda: kind(prm), [*first, HumanMessage(ANEW)]):
        assert (documents_in(prm), ranking_of(message).documents_given) == ([], 0)
    for _ in asked_both_ways(lambda: kind(prm), [*first, HumanMessage(ANEW), *found("Zoravine", "2")]):
        assert documents_in(prm) == ["1: Zoravine"]
    mine = {"question": lambda _: "Which?"}
    for _ in asked_both_ways(lambda: kind(prm, **mine), [*first, HumanMessage(ANEW), *found("Zoravine", "2")]):
        assert documents_in(prm) == ["1: Zoravine", "2: Label: 5 mg."]


@kinds
@pytest.mark.parametrize("form", ["retriever", "method"])
def test_a_retriever_is_asked_for_the_question_that_is_judged(prm, kind, form):
    evidence = Labels() if form == "retriever" else Labels().invoke
    sync, awaited = asked_both_ways(lambda: kind(prm, evidence=evidence), [HumanMessage("Which dose?")])
    assert [ranking_of(message).documents_used for message in (sync, awaited)] == [1, 1]
    assert documents_in(prm) == ["1: async: Which dose?"]
    next(asked_both_ways(lambda: kind(prm, evidence=evidence), [HumanMessage("Which dose?")]))
    assert documents_in(prm) == ["1: sync: Which dose?"]


# --- a prompt that holds documents ---


@kinds
def test_documents_that_only_the_prompt_holds_are_a_caution(prm, kind):
    prompt = ChatPromptTemplate.from_template("Context: {context}\n\nQuestion: {question}")
    messages = prompt.invoke({"context": "Label: 5 mg.", "question": QUESTION}).to_messages()
    for message in asked_both_ways(lambda: kind(prm), messages):
        assert NOT_GIVEN in ranking_of(message).cautions
    for message in asked_both_ways(lambda: kind(prm, evidence=lambda _: ["Label: 5 mg."]), messages):
        assert NOT_GIVEN not in ranking_of(message).cautions
    for message in asked_both_ways(lambda: kind(prm), [HumanMessage(QUESTION)]):
        assert ranking_of(message).cautions == []
    if kind is chat:
        told = [SystemMessage("<context>\nLabel: 5 mg.\n</context>"), HumanMessage(QUESTION)]
        for message in asked_both_ways(lambda: kind(prm), told):
            assert NOT_GIVEN in ranking_of(message).cautions


def test_a_system_prompt_that_a_middleware_fills_with_documents_is_seen(prm):
    @dynamic_prompt
    def with_documents(request):
        return "Answer from these.\n\n## Retrieved documents:\nLabel: 5 mg."

    def make():
        return agent(prm, before=[with_documents])

    for message in asked_both_ways(make, [HumanMessage(QUESTION)]):
        assert NOT_GIVEN in ranking_of(message).cautions


@kinds
def test_an_image_beside_the_question_is_a_caution(prm, kind):
    image = {"type": "image", "url": "https://example.org/x.png"}
    asked = HumanMessage([{"type": "text", "text": QUESTION}, image])
    for message in asked_both_ways(lambda: kind(prm), [asked]):
        assert UNREAD_PARTS in ranking_of(message).cautions
    text = HumanMessage([{"type": "text", "text": QUESTION}, "more"])
    for message in asked_both_ways(lambda: kind(prm), [text]):
        assert UNREAD_PARTS not in ranking_of(message).cautions


# --- scores ---

LONG = "word " * 1_600


def by_score(prm):
    """Each class that takes documents, with three of which only one fits; the middle one has the best score."""
    documents = [
        Document(f"{name} {LONG}", metadata={"relevance_score": score})
        for name, score in zip("abc", [0.1, 0.9, 0.5], strict=True)
    ]
    request = {"question": QUESTION, "candidates": [BAD, GOOD], "documents": documents}
    reranker, best = MedPRMReranker(prm=prm), MedPRMBestOfN(llm=ScriptedChat(answers=[BAD, GOOD]), prm=prm, n=2)
    parser = MedPRMOutputParser(prm=prm).about(QUESTION, documents)
    texts = [Generation(text=BAD), Generation(text=GOOD)]
    yield lambda: reranker.invoke(request)
    yield lambda: asyncio.run(reranker.ainvoke(request))
    yield lambda: ranking_of(best.invoke(request))
    yield lambda: ranking_of(asyncio.run(best.ainvoke(request)))
    yield lambda: ranking_of(parser.parse_result(texts))
    yield lambda: ranking_of(asyncio.run(parser.aparse_result(texts)))


def test_where_not_all_documents_fit_those_with_the_best_scores_are_read(prm):
    for ask in by_score(prm):
        with pytest.warns(DocumentsLeftOutWarning, match="1 of 3 documents were read"):
            ranking = ask()
        assert (ranking.documents_read, ranking.documents_given) == ([1], 3)
        assert documents_in(prm)[0].startswith("1: b word")
        assert any("1 of 3 documents were read" in caution for caution in ranking.cautions)


def test_a_document_that_does_not_fit_is_passed_over(prm):
    request = {"question": QUESTION, "candidates": [BAD, GOOD], "documents": [LONG * 3, "Label: 5 mg."]}
    with pytest.warns(DocumentsLeftOutWarning):
        ranking = MedPRMReranker(prm=prm).invoke(request)
    assert (ranking.documents_read, documents_in(prm)) == ([1], ["1: Label: 5 mg."])


@pytest.mark.parametrize("score", [True, "0.9", None, float("nan")])
def test_a_score_that_is_none_changes_nothing(prm, score):
    documents = [Document("a", metadata={"relevance_score": score}), "b"]
    request = {"question": QUESTION, "candidates": [GOOD], "documents": documents}
    assert MedPRMReranker(prm=prm).invoke(request).documents_read == [0, 1]
