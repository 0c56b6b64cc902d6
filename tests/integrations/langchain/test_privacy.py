"""What of a ranking stays in messages, checkpoints and traces."""

import asyncio
import json
from importlib.metadata import version

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import PIIMiddleware
from langchain_core.messages import AIMessage
from langchain_core.outputs import Generation
from langchain_core.tracers.base import BaseTracer
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import ValidationError

from medprm_integrations.langchain import (
    ChatMedPRM,
    MedPRMBestOfN,
    MedPRMMiddleware,
    MedPRMOutputParser,
    MedPRMReranker,
    ranking_of,
)
from medprm_scorer import InputError, Ranking
from tests.support.langchain_scripts import QUESTION, ScriptedChat, reading_prm

MAIL = "jane.doe@example.org"
WINNER = f"Step 1: The label says 5 mg [0.9].\nStep 2: The answer is (A) [0.9]. Mail {MAIL}"
LOSERS = [f"Step 1: Loser {place} wrote to {MAIL} [0.2].\nStep 2: The answer is (B) [0.2]" for place in range(3)]


@pytest.fixture
def prm():
    return reading_prm()


def ways(prm, answers, **options):
    given = {"prm": prm, "n": len(answers), "max_concurrency": 1, **options}
    keep = {name: value for name, value in options.items() if name in ("keep", "on_ranking")}
    parser = MedPRMOutputParser(prm=prm, **keep).about(QUESTION)

    def llm():
        return ScriptedChat(answers=answers)

    def agent():
        return create_agent(llm(), [], middleware=[MedPRMMiddleware(**given)])

    asked = {"messages": [("human", QUESTION)]}
    return {
        "best_of_n": lambda: MedPRMBestOfN(llm=llm(), **given).invoke({"question": QUESTION}),
        "abest_of_n": lambda: asyncio.run(MedPRMBestOfN(llm=llm(), **given).ainvoke({"question": QUESTION})),
        "chat": lambda: ChatMedPRM(llm=llm(), **given).invoke(QUESTION),
        "achat": lambda: asyncio.run(ChatMedPRM(llm=llm(), **given).ainvoke(QUESTION)),
        "middleware": lambda: agent().invoke(asked)["messages"][-1],
        "amiddleware": lambda: asyncio.run(agent().ainvoke(asked))["messages"][-1],
        "parser": lambda: parser.parse_result([Generation(text=text) for text in answers]),
        "aparser": lambda: asyncio.run(parser.aparse_result([Generation(text=text) for text in answers])),
    }


each = pytest.mark.parametrize(
    "way", ["best_of_n", "abest_of_n", "chat", "achat", "middleware", "amiddleware", "parser", "aparser"]
)


@each
def test_by_default_no_text_of_a_chain_is_in_the_metadata(prm, way):
    seen = []
    message = ways(prm, [LOSERS[0], WINNER, *LOSERS[1:]], on_ranking=seen.append)[way]()
    note = json.dumps(message.response_metadata)
    assert message.text == WINNER
    assert MAIL not in note
    assert "Loser" not in note
    assert "Step" not in note
    (full,) = seen
    assert sum(chain.text.count(MAIL) for chain in full.chains) == 4
    found = ranking_of(message)
    assert (found.best.text, found.best.steps) == (WINNER, full.best.steps)
    assert [chain.step_rewards for chain in found.chains] == [chain.step_rewards for chain in full.chains]
    assert [chain.text for chain in found.chains[1:]] == [""] * 3
    assert found.votes == full.votes
    assert (found.answer, found.question, found.cautions) == (full.answer, full.question, full.cautions)
    assert str(found)
    assert found.to_html()
    assert Ranking.model_validate_json(found.model_dump_json()) == found


@each
def test_all_keeps_the_ranking_as_it_was(prm, way):
    seen = []
    message = ways(prm, [LOSERS[0], WINNER], keep="all", on_ranking=seen.append)[way]()
    assert [ranking_of(message)] == seen
    assert message.response_metadata["medprm"]["best"] == {"index": 1}


@each
def test_figures_hold_no_text_from_outside(prm, way):
    message = ways(prm, [*LOSERS, WINNER], keep="figures")[way]()
    note = message.response_metadata["medprm"]
    found = ranking_of(message)
    assert (found.question, found.answer, [vote.answer for vote in found.votes]) == ("", None, ["", ""])
    assert [vote.weight for vote in found.votes] == pytest.approx([0.9, 0.6])
    known = {"weighted_vote", "min", "marker", "all", *found.cautions}
    assert set(texts_in(json.loads(json.dumps(note)))) <= known


@each
def test_none_keeps_cautions_and_tokens_alone(prm, way):
    message = ways(prm, LOSERS, keep="none")[way]()
    assert set(message.response_metadata["medprm"]) == {"cautions", "usage"}
    assert message.response_metadata["medprm"]["cautions"]
    with pytest.raises(InputError, match="keep='none' leaves only the cautions"):
        ranking_of(message)


def texts_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for one in value for text in texts_in(one)]
    return [value] if isinstance(value, str) else []


def test_a_long_answer_is_no_way_for_a_chain_into_the_metadata(prm):
    chat = ChatMedPRM(llm=ScriptedChat(answers=[*LOSERS, WINNER]), prm=prm, n=4, answer=lambda text: text)
    message = chat.invoke(QUESTION)
    assert MAIL not in json.dumps(message.response_metadata)
    assert ranking_of(message).votes[0].answer == f"(an answer of {len(WINNER)} characters)"


@pytest.mark.parametrize("keep", ["winner", "figures", "none"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_guardrail_is_not_undone_by_the_metadata(prm, keep, is_async):
    guards = [
        PIIMiddleware("email", strategy="redact", apply_to_output=True),
        MedPRMMiddleware(prm=prm, n=4, max_concurrency=1, keep=keep),
    ]
    agent = create_agent(ScriptedChat(answers=[*LOSERS, WINNER]), [], middleware=guards)
    asked = {"messages": [("human", QUESTION)]}
    message = (asyncio.run(agent.ainvoke(asked)) if is_async else agent.invoke(asked))["messages"][-1]
    assert message.text.endswith("Mail [REDACTED_EMAIL]")
    assert MAIL not in message.model_dump_json()
    if version("langchain").startswith("1.0."):  # whose guardrail drops all metadata
        return
    if keep != "none":
        assert ranking_of(message).best.text == message.text
        assert ranking_of(message).best.steps[-1].text.endswith("[REDACTED_EMAIL]")


def test_an_answer_that_was_rewritten_has_rewards_without_texts(prm):
    message = ways(prm, [*LOSERS, WINNER])["chat"]()
    for text in ("", "Withheld.", "Step 1: a\nStep 2: b\nStep 3: c\n" * 9):
        found = ranking_of(message.model_copy(update={"content": text})).best
        assert (found.text, found.step_rewards) == (text, [0.9, 0.9])
        assert [step.text for step in found.steps] == ["", ""]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_checkpoint_is_at_most_twice_as_large(prm, is_async):
    """All that a checkpointer has stored, serialised, after ten turns."""
    words = " ".join(["word"] * 60)
    text = "\n".join(f"Step {step}: {words} [0.9]." for step in range(1, 6)) + f"\nStep 6: {words} the answer is (A)."

    def size(*middleware):
        saver = InMemorySaver()
        answers = [text.replace("word", f"word{place}") for place in range(16)]
        agent = create_agent(ScriptedChat(answers=answers), [], middleware=middleware, checkpointer=saver)
        config = {"configurable": {"thread_id": "1"}}
        for _ in range(10):
            given = {"messages": [("human", QUESTION)]}
            asyncio.run(agent.ainvoke(given, config)) if is_async else agent.invoke(given, config)
        stored = [*saver.blobs.values(), *(kept for kind in (saver.storage, saver.writes) for kept in serialised(kind))]
        return sum(len(data) for _, data in stored)

    plain, chosen = size(), size(MedPRMMiddleware(prm=prm, n=16))
    assert chosen <= 2 * plain
    assert size(MedPRMMiddleware(prm=prm, n=16, keep="all")) > 5 * plain


def serialised(stored):
    """The pairs of a kind and bytes that are anywhere in what a saver keeps."""
    if isinstance(stored, tuple) and len(stored) == 2 and isinstance(stored[1], bytes):
        return [stored]
    values = stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list | tuple) else ()
    return [pair for value in values for pair in serialised(value)]


class Tracer(BaseTracer):
    """Keeps whole trees of runs, as JSON."""

    def __init__(self):
        super().__init__()
        self.roots = []

    def _persist_run(self, run):
        self.roots.append(run)


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_tracer_that_serialises_sees(prm, is_async):
    """As the guide to LangChain says: inputs and outputs, the samples' own runs, and the reranker's whole ranking."""

    def traced(runnable, given):
        tracer = Tracer()
        config = {"callbacks": [tracer]}
        asyncio.run(runnable.ainvoke(given, config)) if is_async else runnable.invoke(given, config)
        (root,) = tracer.roots
        return as_json(root.outputs), "".join(as_json(run.outputs) for run in below(root))

    def as_json(value):
        return json.dumps(value, default=lambda one: one.model_dump(mode="json"))

    def below(run):
        return [one for child in run.child_runs for one in (child, *below(child))]

    sampling = {"llm": ScriptedChat(answers=[*LOSERS, WINNER]), "prm": prm, "n": 4, "max_concurrency": 1}
    for runnable, given in (
        (MedPRMBestOfN(**sampling), {"question": QUESTION}),
        (ChatMedPRM(**sampling), QUESTION),
    ):
        own, samples = traced(runnable, given)
        assert "Loser" not in own
        assert "says 5 mg" in own
        assert samples.count("Loser") >= 3
    own, _ = traced(MedPRMReranker(prm=prm), {"question": QUESTION, "candidates": [*LOSERS, WINNER]})
    assert own.count("Loser") >= 3


def test_a_setting_that_is_none_is_refused(prm):
    for make in (
        lambda: ChatMedPRM(llm=ScriptedChat(answers=[WINNER]), prm=prm, keep="some"),
        lambda: MedPRMMiddleware(prm=prm, keep=None),
        lambda: MedPRMOutputParser(prm=prm, keep="losers"),
    ):
        with pytest.raises(ValidationError, match="'all', 'winner', 'figures' or 'none'"):
            make()


def test_a_turn_that_calls_tools_keeps_no_trace_of_any_setting(prm):
    turn = AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "1"}])
    chat = ChatMedPRM(llm=ScriptedChat(answers=[turn]), prm=prm, n=3, keep="none")
    assert "medprm" not in chat.invoke(QUESTION).response_metadata
