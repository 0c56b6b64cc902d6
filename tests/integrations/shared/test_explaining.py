"""What of an explanation stands in metadata, and what becomes of an answer that cannot be explained."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_integrations.shared.evidence import LONGEST_ID, Evidence, NamedText, within_budget
from medprm_integrations.shared.explaining import aexplain_winner, explain_winner, figures, support_of
from medprm_integrations.shared.ranking_metadata import RankingMetadata
from medprm_integrations.shared.settings import SamplingSettings
from medprm_integrations.shared.user_warnings import ExplanationFailedWarning
from medprm_scorer import ScoringError
from tests.support.example_explanations import DOCUMENTS, STEPS, example_explanation
from tests.support.explained import CHAIN, QUESTION, READ, demo
from tests.support.reading import SECRET


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_an_answer_that_cannot_be_explained_is_given_without(awaited):
    def fail(*_):
        raise ScoringError(SECRET)

    async def afail(*_):
        fail()

    ranking = demo().rank(QUESTION, [CHAIN], READ)
    settings = SimpleNamespace(explain=True, keep="winner", prm=SimpleNamespace(explain=fail, aexplain=afail))
    note = RankingMetadata()

    def explain():
        found = Evidence(tuple(READ))
        if awaited:
            asyncio.run(aexplain_winner(settings, ranking, note, found))
        else:
            explain_winner(settings, ranking, note, found)

    with pytest.warns(ExplanationFailedWarning, match="ScoringError") as caught:
        explain()
    assert SECRET not in str(caught[0].message)
    assert not note


@pytest.mark.parametrize("keep", ["all", "winner", "figures", "none"])
def test_documents_are_named_as_they_were_given(keep):
    ids = ("blank", "d", None, "b", "a", "again")
    found = figures(example_explanation(), Evidence(tuple(DOCUMENTS), 0, (None, 3, 2, 1, 0, 0), ids), keep)
    named = keep in ("all", "winner")
    assert found["supporting"] == (["b", "a", "again"] if named else [3, 4, 5])
    assert found["contradicting"] == [2]
    assert found["support"] == [None, None, -3.7, 1.9, 4.1, 4.1]
    assert found["steps"][1] == {"supporting": ["b"] if named else [3], "contradicting": [2]}
    assert (found["noise"], found["prompts"], found["tokens"]) == (1.0, 8, 4000)
    assert json.loads(json.dumps(found)) == found
    assert not any(text in repr(found) for text in (*DOCUMENTS, *STEPS))


def test_a_fault_of_the_package_is_not_hidden():
    settings = SimpleNamespace(explain=True, keep="winner", prm=SimpleNamespace(explain=lambda *_: 1 // 0))
    ranking = demo().rank(QUESTION, [CHAIN], READ)
    with pytest.raises(ZeroDivisionError):
        explain_winner(settings, ranking, RankingMetadata(), Evidence(tuple(READ)))


@pytest.mark.parametrize("explain", ["yes", 1, None])
def test_only_true_and_false_are_taken(explain):
    with pytest.raises(ValueError, match="explain"):
        SamplingSettings(prm=demo(), explain=explain)


@given(
    documents=st.lists(st.tuples(st.sampled_from(["a", "b b", "c c c c", " "]), st.none() | st.text(max_size=3))),
    budget=st.integers(0, 12),
)
def test_each_document_that_was_read_has_one_name_and_no_other_has(documents, budget):
    found = within_budget([NamedText(*one) for one in documents], lambda text: len(text.split()), budget)
    assert all(type(text) is str for text in found.texts)
    for number, text in enumerate(found.texts):
        places = [place for place, (given_text, _) in enumerate(documents) if given_text == text]
        ids = [documents[place][1] if (documents[place][1] or "").strip() else place for place in places]
        assert found.places([number]) == places
        assert found.named([number]) == list(dict.fromkeys(ids))
        assert found.named([number], by_id=False) == places


@pytest.mark.parametrize("id", [None, "", " ", 7, "x" * (LONGEST_ID + 1)])
def test_what_is_no_id_is_none(id):
    assert NamedText("Label", id).id is None


def test_the_support_of_documents_that_are_alike_is_told_apart_by_identity():
    one, same = [1], [1]
    assert support_of({"explanation": {"support": [2.0, None]}}, [one, same]) == {id(one): 2.0, id(same): None}
    assert support_of({}, [one]) == {}
