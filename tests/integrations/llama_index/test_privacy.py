"""What of a ranking stays in responses, nodes and events."""

import asyncio
import json

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.query_engine import RetrieverQueryEngine

from medprm_integrations.llama_index import MedPRMLLM, MedPRMRerank, MedPRMSynthesizer, chain_node, ranking_of
from medprm_scorer import InputError
from tests.support.llama_index_scripts import QUESTION, Events, Fixed, ScriptedLLM, document, reading_prm

MAIL = "jane.doe@example.org"
WINNER = f"Step 1: The label says 5 mg [0.9].\nStep 2: The answer is (A) [0.9]. Mail {MAIL}"
LOSERS = [f"Step 1: Loser {place} wrote to {MAIL} [0.2].\nStep 2: The answer is (B) [0.2]" for place in range(3)]
NODES = [document("Label: give 5 mg.")]
ASKED = [ChatMessage(QUESTION)]


@pytest.fixture
def prm():
    return reading_prm()


def ways(prm, **options):
    """What holds the ranking, and its metadata."""
    given = {"prm": prm, "n": 4, "max_concurrency": 1, **options}

    def llm():
        return ScriptedLLM(answers=[*LOSERS, WINNER])

    def engine():
        return RetrieverQueryEngine(Fixed(NODES), response_synthesizer=MedPRMSynthesizer(llm=llm(), **given))

    chains = [*NODES, *(chain_node(text) for text in (*LOSERS, WINNER))]
    return {
        "llm": lambda: MedPRMLLM(llm=llm(), **given).chat(ASKED),
        "allm": lambda: asyncio.run(MedPRMLLM(llm=llm(), **given).achat(ASKED)),
        "synthesizer": lambda: engine().query(QUESTION),
        "asynthesizer": lambda: asyncio.run(engine().aquery(QUESTION)),
        "rerank": lambda: MedPRMRerank(llm=llm(), **given).postprocess_nodes(NODES, query_str=QUESTION)[0],
        "chain_nodes": lambda: MedPRMRerank(**given).postprocess_nodes(chains, query_str=QUESTION)[0],
    }


each = pytest.mark.parametrize("way", ["llm", "allm", "synthesizer", "asynthesizer", "rerank", "chain_nodes"])


def note(holder):
    return holder.raw["medprm"] if hasattr(holder, "raw") else holder.metadata["medprm"]


@each
def test_by_default_no_text_of_a_chain_is_in_the_metadata(prm, way):
    seen = []
    holder = ways(prm, on_ranking=seen.append)[way]()
    kept = json.dumps(note(holder))
    assert MAIL not in kept
    assert "Loser" not in kept
    (full,) = seen
    assert sum(chain.text.count(MAIL) for chain in full.chains) == 4
    found = ranking_of(holder)
    assert (found.best.text, found.best.steps) == (WINNER, full.best.steps)
    assert [chain.step_rewards for chain in found.chains] == [chain.step_rewards for chain in full.chains]
    assert [chain.text for chain in found.chains[1:]] == [""] * 3
    assert (found.votes, found.question) == (full.votes, QUESTION)


@each
def test_the_other_settings(prm, way):
    seen = []
    assert [ranking_of(ways(prm, keep="all", on_ranking=seen.append)[way]())] == seen
    found = ranking_of(ways(prm, keep="figures")[way]())
    assert (found.question, found.answer, {vote.answer for vote in found.votes}) == ("", None, {""})
    holder = ways(prm, keep="none")[way]()
    assert set(note(holder)) == {"cautions", "usage"}
    with pytest.raises(InputError, match="keep='none' leaves only the cautions"):
        ranking_of(holder)


def test_an_edited_response_is_not_undone(prm):
    response = ways(prm)["synthesizer"]()
    response.response = response.response.replace(MAIL, "[REDACTED]")
    assert ranking_of(response).best.text == response.response
    assert MAIL not in json.dumps(response.metadata) + ranking_of(response).model_dump_json()


def test_the_end_event_holds_the_winners_text_alone(prm):
    with Events() as events:
        ways(prm)["synthesizer"]()
    (end,) = events.of("SynthesizeEndEvent")
    assert "Loser" not in end.model_dump_json()
    assert end.model_dump_json().count(MAIL) == 1
