"""Documents that are retrieved while chains grow: bounded, counted, read by both models, and cheap to add."""

import asyncio

import pytest

from examples.formulary.experiment import held_out
from medprm_scorer import InputError, MedPRM
from medprm_scorer.search import Limits, abeam_search, beam_search, dvts
from tests.support.stub_search import DOCUMENTS, QUESTION, DrawnPolicy, stub_prm


class Seeing(DrawnPolicy):
    def __init__(self) -> None:
        super().__init__()
        self.documents: list[list[str]] = []

    def extend(self, question, documents, chains, n):
        self.documents.append(list(documents))
        return super().extend(question, documents, chains, n)


def about(query: str) -> list[str]:
    return [DOCUMENTS[0], f"About {query}", " "]


@pytest.mark.parametrize("search", [beam_search, dvts])
def test_new_documents_join_the_evidence_of_both_models_at_its_end(demo, search):
    queries: list[str] = []
    policy = Seeing()
    found = search(
        policy,
        stub_prm(demo),
        QUESTION,
        DOCUMENTS,
        seed=1,
        retriever=lambda query: queries.append(query) or about(query),
        max_documents=3,
    )
    tree = found.tree
    assert tree.documents == [f"About {query}" for query in queries][:3]
    assert len(set(queries)) == len(queries)
    assert all(query.startswith("Note ") for query in queries)
    assert tree.documents_repeated == len(queries)
    assert tree.documents_left_out == len(queries) - 3
    assert policy.documents[0] == list(DOCUMENTS)
    assert policy.documents[-1] == [*DOCUMENTS, *tree.documents]
    assert found.documents_given == found.documents_used == 5
    in_order = sorted(found.chains, key=lambda chain: chain.index)
    steps = [[step.text for step in chain.steps] for chain in in_order]
    anew = stub_prm(demo).rank(QUESTION, steps, [*DOCUMENTS, *tree.documents])
    for one, two in zip(found.chains, anew.chains, strict=True):
        assert one.step_rewards == pytest.approx(two.step_rewards, abs=1e-5)
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_documents_beyond_the_budget_are_left_out_and_counted(demo):
    long = "word " * 4000
    found = beam_search(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, retriever=lambda query: [long, "short"])
    assert found.tree.documents == ["short"]
    assert found.tree.documents_left_out > 0
    assert found.documents_used == 3


def test_an_async_function_is_awaited_and_refused_elsewhere(demo):
    async def later(query):
        await asyncio.sleep(0)
        return about(query)

    waited = beam_search(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, retriever=about)
    for function in (later, about):
        awaited = asyncio.run(abeam_search(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, retriever=function))
        assert awaited.tree.documents == waited.tree.documents
        assert awaited.best.text == waited.best.text
    with pytest.raises(InputError, match="async"):
        beam_search(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, retriever=later)


def test_a_retriever_that_fails_is_told(demo):
    def fails(query):
        raise ConnectionResetError("gone: Miller, 47")

    outcomes = set()
    for seed in range(12):
        for most in (0, 3):
            calls: list[str] = []

            def later(query, calls=calls, most=most):
                calls.append(query)
                return fails(query) if len(calls) > most else []

            options = {"retriever": later, "seed": seed, "width": 2, "expansions": 1}
            try:
                found = beam_search(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, **options)
            except ConnectionResetError:
                outcomes.add("raised")
                continue
            if found.tree.stopped:
                assert found.tree.stopped == "the retriever failed with ConnectionResetError"
                assert "Miller" not in found.model_dump_json()
                outcomes.add("told")
    assert outcomes == {"told", "raised"}
    for wrong in ("text", [3], 3, None, {"a": "b"}):
        with pytest.raises(InputError, match="list of texts"):
            beam_search(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, retriever=lambda q, wrong=wrong: wrong)
    for wrong in ({"retriever": 3}, {"max_documents": 0}, {"max_documents": True}):
        with pytest.raises(InputError, match="must be a"):
            beam_search(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, **wrong)


def test_the_documents_before_are_not_run_again(demo: MedPRM):
    """What is run is the prefix once, each new document once, and the question with its chains at each growth."""
    _, question = held_out(0)
    new = "Label: something else that was found on the way, of no use to anybody."
    given = [*question.documents] * 8
    options = {"width": 2, "expansions": 2, "seed": 4, "limits": Limits(max_steps=4)}
    plain = beam_search(DrawnPolicy(), demo, question.text, given, **options)
    found = beam_search(DrawnPolicy(), demo, question.text, given, retriever=lambda query: [new], **options)
    tree = found.tree
    documents = sum(demo.count_tokens(one) for one in given)
    asked = demo.count_tokens(question.text)
    chains = sum(demo.count_tokens("\n".join(branch.steps)) + 1 for branch in tree.branches if branch.round <= 2)
    assert tree.documents == [new]
    again = tree.reward_tokens - plain.tree.reward_tokens
    assert again <= demo.count_tokens(new) + asked + chains + 60
    assert again < documents
