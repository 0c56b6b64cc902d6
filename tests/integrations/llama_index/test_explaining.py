"""`explain=True`: LlamaIndex's source nodes say by how much each moves the answer, unseen by language models."""

import asyncio

import pytest
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from medprm_integrations.llama_index import MedPRMLLM, MedPRMRerank, MedPRMSynthesizer, chain_node
from medprm_integrations.llama_index.nodes import SUPPORT
from tests.support.explained import AS_READ, CHAIN, GIVEN, QUESTION, check, demo, expected
from tests.support.llama_index_scripts import ScriptedLLM

ways = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
PLACES = [0, 1, 2, 3]


def nodes():
    return [NodeWithScore(node=TextNode(text=text)) for text in GIVEN]


def settings(**more):
    return {"prm": demo(), "llm": ScriptedLLM(answers=[CHAIN]), "n": 1, "explain": True, **more}


def support(found):
    """What nodes say, in the order of what was given."""
    values = [None if place is None else round(expected().support[place], 3) for place in AS_READ]
    assert [node.metadata[SUPPORT] for node in found] == values
    assert any(value is not None and value < -1 for value in values)
    for node in found:
        assert {SUPPORT} <= {*node.node.excluded_llm_metadata_keys} & {*node.node.excluded_embed_metadata_keys}
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            assert SUPPORT not in node.node.get_content(metadata_mode=mode)


@ways
@pytest.mark.parametrize("streaming", [False, True])
def test_source_nodes_of_an_answer_have_their_support(awaited, streaming):
    """Without an engine: the retrievers of older versions leave out a document that is there twice."""
    synthesizer = MedPRMSynthesizer(streaming=streaming, **settings())
    given = nodes()
    response = (
        asyncio.run(synthesizer.asynthesize(QUESTION, given)) if awaited else synthesizer.synthesize(QUESTION, given)
    )
    support(response.source_nodes)
    check(response.metadata["medprm"], PLACES)
    assert not any(SUPPORT in node.metadata for node in given)


@ways
def test_a_reranker_that_samples_marks_the_documents(awaited):
    rerank = MedPRMRerank(**settings())
    found = (
        asyncio.run(rerank.apostprocess_nodes(nodes(), query_str=QUESTION))
        if awaited
        else rerank.postprocess_nodes(nodes(), query_str=QUESTION)
    )
    support(found[1:])
    check(found[0].metadata["medprm"], PLACES)
    assert SUPPORT not in found[0].metadata


@ways
def test_a_reranker_of_given_chains_says_it_with_the_ranking(awaited):
    rerank, given = MedPRMRerank(prm=demo(), explain=True), [*nodes(), chain_node(CHAIN)]
    found = (
        asyncio.run(rerank.apostprocess_nodes(given, query_str=QUESTION))
        if awaited
        else rerank.postprocess_nodes(given, query_str=QUESTION)
    )
    check(found[0].metadata["medprm"], PLACES)


@ways
def test_a_language_model_says_it_with_the_ranking(awaited):
    llm = MedPRMLLM(evidence=lambda _: nodes(), **settings())
    response = asyncio.run(llm.acomplete(QUESTION)) if awaited else llm.complete(QUESTION)
    check(response.additional_kwargs["medprm"], PLACES)


def test_it_is_off_by_default():
    response = MedPRMSynthesizer(**settings(explain=False)).synthesize(QUESTION, nodes())
    assert "explanation" not in response.metadata["medprm"]
    assert not any(SUPPORT in node.metadata for node in response.source_nodes)
