"""Which nodes the reward model reads where not all fit."""

import asyncio

import pytest

from medprm_integrations.llama_index import DocumentsLeftOutWarning, MedPRMRerank, MedPRMSynthesizer, ranking_of
from tests.support.llama_index_scripts import GOOD, QUESTION, ScriptedLLM, document, documents_in, reading_prm

LONG = "word " * 1_000
HUGE = "word " * 4_000


@pytest.fixture
def prm():
    return reading_prm()


def ways(prm, nodes):
    given = {"prm": prm, "llm": ScriptedLLM(answers=[GOOD]), "n": 1}
    return {
        "synthesizer": lambda: MedPRMSynthesizer(**given).synthesize(QUESTION, nodes),
        "asynthesizer": lambda: asyncio.run(MedPRMSynthesizer(**given).asynthesize(QUESTION, nodes)),
        "rerank": lambda: MedPRMRerank(**given).postprocess_nodes(nodes, query_str=QUESTION)[0],
    }


each = pytest.mark.parametrize("way", ["synthesizer", "asynthesizer", "rerank"])


@each
def test_the_best_document_is_read_wherever_it_stands(prm, way):
    nodes = [document(f"{place} {LONG}", score) for place, score in enumerate((0.4, 0.2, 0.3, 0.5, 0.9))]
    with pytest.warns(DocumentsLeftOutWarning, match="3 of 5 documents were read|2 of 5 documents were read"):
        ranking = ranking_of(ways(prm, nodes)[way]())
    assert {3, 4} <= set(ranking.documents_read)
    assert 1 not in ranking.documents_read
    assert len(documents_in(prm)) == ranking.documents_used < ranking.documents_given == 5
    assert any(f"{ranking.documents_used} of 5 documents were read" in caution for caution in ranking.cautions)


@each
def test_a_huge_first_node_costs_no_others(prm, way):
    with pytest.warns(DocumentsLeftOutWarning, match="1 of 2 documents were read"):
        ranking = ranking_of(ways(prm, [document(HUGE, 0.9), document("Label: give 5 mg.", 0.1)])[way]())
    assert (ranking.documents_read, ranking.documents_given) == ([1], 2)
    assert documents_in(prm) == ["1: Label: give 5 mg."]


@each
def test_an_empty_node_is_no_evidence(prm, way):
    ranking = ranking_of(ways(prm, [document(" "), document("Label: give 5 mg.")])[way]())
    assert (ranking.documents_read, ranking.documents_used, ranking.documents_given) == ([1], 1, 2)
