"""`search=` of `MedPRMSynthesizer` and `MedPRMRerank`: steps chosen while a model writes them, streamed when final."""

import asyncio
from collections.abc import Iterator

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import BaseModel

pytest.importorskip("llama_index.llms.openai_like", reason="the client of the server is not installed here")

from llama_index.llms.openai_like import OpenAILike

from medprm_integrations.llama_index import LLMPolicy, MedPRMRerank, MedPRMSynthesizer, StepSearch, ranking_of
from medprm_scorer.errors import InputError, PolicyError
from medprm_scorer.search import Beam, Dvts, EarlyRejection, GrowingChain
from medprm_scorer.trust.floors import Floors
from tests.support.continuing_server import WHOLE, ContinuingServer, continuing_server
from tests.support.llama_index_scripts import QUESTION, ScriptedLLM, document, reading_prm

NODES = [document("Label: give 5 mg."), document("Another label.", 0.4)]
METHODS = [Beam(2, 2), Beam(1, 3), Dvts(2, 2), EarlyRejection(4)]


@pytest.fixture(scope="module")
def server() -> Iterator[ContinuingServer]:
    with continuing_server() as made:
        made.draws = True
        yield made


def llm(server, **more) -> OpenAILike:
    given = {"is_chat_model": True, "temperature": 1.0, "max_retries": 0, **more}
    return OpenAILike(model="m", api_base=f"{server.url}/v1", api_key="x", **given)


@pytest.mark.parametrize("method", METHODS)
def test_a_response_is_the_same_waited_for_awaited_and_streamed(server, method):
    found = []
    settings = {"prm": reading_prm(), "llm": llm(server), "search": StepSearch(method, seed=5)}
    synthesizer = MedPRMSynthesizer(**settings, on_ranking=found.append)
    response = synthesizer.synthesize(QUESTION, NODES)
    ranking = found[0]
    assert response.response == ranking.best.text
    assert len(ranking.best.steps) == 3
    assert ranking_of(response).best.text == response.response
    assert [node.metadata["medprm_read"] for node in response.source_nodes] == [True, True]
    figures = response.metadata["medprm"]["search"]
    assert figures["generated_tokens"] == ranking.tree.generated_tokens
    assert response.metadata["medprm"]["usage"]["output_tokens"] == ranking.tree.generated_tokens
    assert asyncio.run(synthesizer.asynthesize(QUESTION, NODES)).response == response.response

    streaming = MedPRMSynthesizer(**settings, streaming=True)
    streamed = streaming.synthesize(QUESTION, NODES)
    assert "medprm" not in streamed.metadata
    pieces = list(streamed.response_gen)
    assert "".join(pieces) == response.response
    assert len(pieces) == 3
    assert streamed.metadata["medprm"]["search"] == figures
    assert [node.metadata["medprm_read"] for node in streamed.source_nodes] == [True, True]

    async def later():
        answer = await streaming.asynthesize(QUESTION, NODES)
        pieces = [piece async for piece in answer.response_gen]
        assert answer.metadata["medprm"]["search"] == figures
        return pieces

    assert asyncio.run(later()) == pieces
    assert "".join(streaming.get_response(QUESTION, [node.text for node in NODES])) == response.response


def test_a_greedy_search_gives_each_step_before_the_next_is_asked_for(server):
    synthesizer = MedPRMSynthesizer(prm=reading_prm(), llm=llm(server), search=Beam(1, 2), streaming=True)
    seen, before = [], len(server.bodies)
    for piece in synthesizer.synthesize(QUESTION, NODES).response_gen:
        seen.append(len(server.bodies) - before)
        assert piece.strip().startswith("Step ")
    assert [count - seen[0] for count in seen] == [0, 2, 4]


def test_a_reranker_puts_the_searched_chain_before_the_documents(server):
    rerank = MedPRMRerank(prm=reading_prm(), llm=llm(server), search=Beam(2, 2), top_n=2)
    nodes = rerank.postprocess_nodes(NODES, query_str=QUESTION)
    assert len(nodes) == 4
    assert ranking_of(nodes[0]).best.text.startswith("Step 1")
    again = asyncio.run(rerank.apostprocess_nodes(NODES, query_str=QUESTION))
    assert [node.text for node in again] == [node.text for node in nodes]


def test_what_is_not_trusted_is_not_streamed(server):
    synthesizer = MedPRMSynthesizer(
        prm=reading_prm(),
        llm=llm(server),
        search=Beam(1, 2),
        streaming=True,
        trust=Floors(min_reward=0.99),
        on_doubt="abstain",
    )
    (only,) = synthesizer.synthesize(QUESTION, NODES).response_gen
    assert only == synthesizer.settings.doubt_answer


def test_a_text_model_goes_on_behind_its_prompt():
    def write(asked, kwargs):
        return WHOLE[len("Step 1" + asked.partition("Step 1")[2]) :] if "Step 1" in asked else WHOLE

    with pytest.raises(PolicyError, match="does not continue"):
        LLMPolicy(ScriptedLLM(answers=[WHOLE], is_chat=False)).extend(QUESTION, [], [_root()], 1)
    policy = LLMPolicy(ScriptedLLM(answers=[write], is_chat=False), check=False)
    begun = policy.asking(lambda question, documents: f"{question}\nAnswer: ")
    ((one,),) = begun.extend(QUESTION, [], [_root()], 1)
    ((more,),) = asyncio.run(begun.aextend(QUESTION, [], [GrowingChain(WHOLE[:50], ("x",), 0)], 1))
    assert (one.text, more.text) == (WHOLE, WHOLE[50:])


def _root():
    return GrowingChain("", (), 0)


def test_a_provider_that_starts_anew_is_refused():
    synthesizer = MedPRMSynthesizer(prm=reading_prm(), llm=ScriptedLLM(answers=[WHOLE]), search=Beam(1, 1))
    with pytest.raises(PolicyError, match="ScriptedLLM does not continue"):
        synthesizer.synthesize(QUESTION, NODES)
    with pytest.raises(PolicyError, match="ScriptedLLM does not continue"):
        asyncio.run(synthesizer.asynthesize(QUESTION, NODES))


class Found(BaseRetriever):
    """Finds a node of its own for each step."""

    def _retrieve(self, query_bundle):
        return [NodeWithScore(node=TextNode(text=f"About {query_bundle.query_str}")), NODES[0]]


def test_what_is_retrieved_for_a_step_is_read_by_both_models(server):
    found = []
    search = StepSearch(Beam(1, 2), retriever=Found(), max_documents=1)
    synthesizer = MedPRMSynthesizer(prm=reading_prm(), llm=llm(server), search=search, on_ranking=found.append)
    response = synthesizer.synthesize(QUESTION, NODES)
    first = response.response.split("\n")[0].removeprefix("Step 1: ")
    assert found[0].tree.documents == [f"About {first}"]
    assert (found[0].documents_given, found[0].documents_used) == (3, 3)
    assert [node.node.get_content() for node in response.source_nodes][2:] == [f"About {first}"]
    assert response.source_nodes[2].metadata["medprm_read"] is True
    assert any(f"Document 3: About {first}" in str(body["messages"]) for body in server.bodies)
    assert asyncio.run(synthesizer.asynthesize(QUESTION, NODES)).response == response.response
    assert len(found) == 2


def test_the_users_own_extra_body_is_kept(server):
    own = llm(server, additional_kwargs={"extra_body": {"top_k": 7}})
    before = len(server.bodies)
    MedPRMSynthesizer(prm=reading_prm(), llm=own, search=Beam(1, 1)).synthesize(QUESTION, NODES)
    bodies = server.bodies[before:]
    assert all(body["top_k"] == 7 for body in bodies)
    assert any(body.get("continue_final_message") for body in bodies)
    assert own.additional_kwargs == {"extra_body": {"top_k": 7}}


class Answer(BaseModel):
    text: str


def test_what_does_not_go_together_is_refused_when_it_is_made():
    scripted = ScriptedLLM(answers=[WHOLE])
    for more, told in (
        ({"n": 4}, "n is for whole samples"),
        ({"stop": "confident"}, "stop is for whole samples"),
        ({"answer_field": "x"}, "answer_field is for whole samples"),
        ({"search": 3}, "search must be a StepSearch"),
        ({"search": StepSearch(retriever=3)}, "the retriever must be"),
    ):
        given = {"prm": reading_prm(), "llm": scripted, "search": Beam(1, 1), **more}
        with pytest.raises(ValueError, match=told):
            MedPRMSynthesizer(**given)
        with pytest.raises(ValueError, match=told):
            MedPRMRerank(**given)
    with pytest.raises(InputError, match="output_cls"):
        MedPRMSynthesizer(prm=reading_prm(), llm=scripted, search=Beam(1, 1), output_cls=Answer)
    with pytest.raises(ValueError, match="search needs an llm"):
        MedPRMRerank(prm=reading_prm(), search=Beam(1, 1))
