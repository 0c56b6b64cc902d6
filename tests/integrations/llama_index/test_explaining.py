"""`explain=True`: LlamaIndex's source nodes say by how much each moves the answer, unseen by language models."""

import asyncio

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from medprm_integrations.llama_index import MedPRMLLM, MedPRMRerank, MedPRMSynthesizer, chain_node, ranking_of
from medprm_integrations.llama_index.nodes import READ, SUPPORT
from tests.support.explained import (
    AS_READ,
    BEFORE,
    CHAIN,
    GIVEN,
    LABEL,
    QUESTION,
    check,
    check_search,
    demo,
    expected,
    two_doses,
)
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


class FindsLabel(BaseRetriever):
    def _retrieve(self, query_bundle):
        return [NodeWithScore(node=TextNode(text=LABEL))]


def searching(**more):
    return {"prm": demo(), "llm": ScriptedLLM(answers=["never"]), "search": two_doses(FindsLabel()), **more}


@ways
@pytest.mark.parametrize("streaming", [False, True])
def test_the_chain_that_a_search_has_chosen_is_explained_with_what_it_has_found(awaited, streaming):
    """Its source nodes, and the one that was found on the way, say by how much each moves that chain."""
    synthesizer = MedPRMSynthesizer(streaming=streaming, explain=True, **searching())
    given = [NodeWithScore(node=TextNode(text=text)) for text in BEFORE]

    async def answer():
        response = await synthesizer.asynthesize(QUESTION, given)
        return response, "".join([piece async for piece in response.response_gen]) if streaming else response.response

    if awaited:
        response, text = asyncio.run(answer())
    else:
        response = synthesizer.synthesize(QUESTION, given)
        text = "".join(response.response_gen) if streaming else response.response
    check_search(response.metadata["medprm"], text, [0, 1, 2])
    _say_their_support(response.source_nodes, response.metadata["medprm"])


@ways
def test_a_reranker_that_searches_marks_what_it_was_given_and_what_it_has_found(awaited):
    rerank = MedPRMRerank(explain=True, **searching())
    given = [NodeWithScore(node=TextNode(text=text)) for text in BEFORE]
    chain, *found = (
        asyncio.run(rerank.apostprocess_nodes(given, query_str=QUESTION))
        if awaited
        else rerank.postprocess_nodes(given, query_str=QUESTION)
    )
    note = chain.metadata["medprm"]
    check_search(note, ranking_of(chain).best.text, [0, 1, 2])
    _say_their_support(found, note)


def _say_their_support(nodes, note):
    assert [node.node.get_content() for node in nodes] == [*BEFORE, LABEL]
    assert [node.metadata[READ] for node in nodes] == [False, True, True]
    assert [node.metadata[SUPPORT] for node in nodes] == note["explanation"]["support"]
    assert all(SUPPORT not in node.node.get_content(metadata_mode=MetadataMode.LLM) for node in nodes)
