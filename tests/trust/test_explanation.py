"""Explaining a chain: the same rewards as plain scoring, its cost, and what it refuses."""

import asyncio
import json

import pytest

from medprm_scorer import Explanation, InputError, MedPRM, Ranking, ScoringError
from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.errors import NothingScoredError
from medprm_scorer.local.loading import DEMO_MODEL
from medprm_scorer.local.token_tree import TokenTree
from medprm_scorer.trust.effects import log_odds
from medprm_scorer.trust.shared_prompt import joined, unique_tokens
from tests.support.cheap_engine import CheapEngine, cheap_prm

QUESTION = "Which dose of Zoravine is right?\n\n(A) 300 mg\n(B) 240 mg"
DOCUMENTS = [
    "Label: dose Zoravine at 5 mg per kg, limit Zoravine to 300 mg. Keep it dry.",
    "Guideline: in fever use Zoravine. ки Доза 5 мг.",
    "A note on another drug.",
]
GOOD = "Step 1: The label says dose Zoravine at 5 mg per kg.\nStep 2: With 60 kg that is 300 mg. The answer is (A)"
BAD = "Step 1: The label says dose Zoravine at 4 mg per kg.\nStep 2: With 60 kg that is 240 mg. The answer is (B)"


@pytest.fixture(scope="module")
def prm():
    return MedPRM.from_pretrained()


def test_the_effects_are_those_of_scoring_one_choice_of_documents_at_a_time(prm):
    found = prm.explain(QUESTION, GOOD, DOCUMENTS)

    def odds(documents):
        (chain,) = prm.score(QUESTION, [GOOD], documents)
        return [log_odds(reward) for reward in chain.step_rewards]

    full, none = odds(DOCUMENTS), odds([])
    for row in found.effects:
        without = odds([text for place, text in enumerate(DOCUMENTS) if place != row.document])[row.step]
        alone = odds([DOCUMENTS[row.document]])[row.step]
        assert row.without == pytest.approx(full[row.step] - without, abs=1e-2)
        assert row.alone == pytest.approx(alone - none[row.step], abs=1e-2)
    assert len(found.effects) == 2 * 3
    assert found.cost.prompts == 8


def test_a_ranking_is_explained_with_its_documents_and_its_runner_up(prm):
    ranking = prm.rank(QUESTION, [BAD, GOOD, BAD], DOCUMENTS, strategy="best_of_n")
    found = prm.explain(ranking, documents=DOCUMENTS, runner_up=True, sentences=True, shapley=4)
    assert found.chain.index == ranking.best.index
    assert found.chain.step_rewards == pytest.approx(ranking.best.step_rewards, abs=1e-4)
    assert found.runner_up.chain.answer != found.chain.answer
    assert not [caution for caution in found.cautions if "differ" in caution]
    assert Explanation.model_validate_json(found.model_dump_json()) == found
    awaited = asyncio.run(prm.aexplain(ranking, documents=DOCUMENTS, runner_up=True, sentences=True, shapley=4))
    assert [row.without for row in awaited.effects] == pytest.approx([row.without for row in found.effects], abs=1e-3)
    assert awaited.cost.unique_tokens == found.cost.unique_tokens


def test_steps_given_as_a_list_are_explained_as_they_were_scored(prm):
    steps = ["Step 1: Read the label. Step 2: it says 5 mg.", "So (A). The answer is (A)"]
    ranking = prm.rank(QUESTION, [steps], DOCUMENTS)
    found = prm.explain(ranking, documents=DOCUMENTS)
    assert [step.text for step in found.chain.steps] == steps
    assert found.chain.step_rewards == pytest.approx(ranking.best.step_rewards, abs=1e-4)


def test_a_ranking_without_its_documents_or_of_another_model_says_so(prm):
    ranking = prm.rank(QUESTION, [GOOD], DOCUMENTS)
    with pytest.raises(InputError, match=r"made with 3, but 0 were passed"):
        prm.explain(ranking)
    with pytest.raises(InputError, match=r"documents must be a list"):
        prm.explain(ranking, documents="one text")
    with pytest.raises(InputError, match="only with a question"):
        prm.explain(ranking, GOOD, DOCUMENTS)
    with pytest.raises(InputError, match="one chain"):
        prm.explain(QUESTION)
    other = cheap_prm(prm, CheapEngine()).explain(ranking, documents=DOCUMENTS)
    assert any("differ from those in the ranking" in caution for caution in other.cautions)
    assert prm.explain(ranking, documents=DOCUMENTS[::-1]).effects  # as many, so it cannot be told that these differ


@pytest.mark.parametrize("setting", [{"shapley": -1}, {"shapley": 10_001}, {"noise": 0.0}, {"noise": float("nan")}])
def test_settings_out_of_range_are_refused(prm, setting):
    with pytest.raises(InputError):
        prm.explain(QUESTION, GOOD, DOCUMENTS, **setting)


def test_chains_and_documents_that_hold_nothing(prm):
    with pytest.raises(NothingScoredError, match="blank"):
        prm.explain(QUESTION, "  ", DOCUMENTS)
    alone = prm.explain(QUESTION, GOOD)
    assert (alone.effects, alone.unsupported, alone.cost.prompts) == ([], [0, 1], 1)
    assert "no documents" in alone.cautions[0]
    blank = prm.explain(QUESTION, GOOD, ["", " \n", "a"], sentences=True, noise=1e-9)
    assert {row.document for row in blank.effects} == {0, 1, 2}
    str(blank), blank.to_html()


def test_only_documents_that_were_read_have_effects(prm):
    found = prm.explain(QUESTION, GOOD, [DOCUMENTS[0], "word " * 4000, DOCUMENTS[1]], sentences=True)
    assert found.documents_read == [0]
    assert found.support[1:] == [None, None]
    assert {row.document for row in found.effects} == {0}
    assert found.cautions[0].startswith("2 of 3 documents were not read")
    assert "was not read" in str(found)


def test_saturated_rewards_have_effects_and_a_caution(prm):
    sure = cheap_prm(prm, CheapEngine(fault=lambda prompts: [[[1.0] * len(c.tags) for c in p.chains] for p in prompts]))
    found = sure.explain(QUESTION, GOOD, DOCUMENTS)
    assert all(row.without == row.alone == 0.0 for row in found.effects)
    assert any("0 or 1 to the last digit" in caution for caution in found.cautions)
    broken = cheap_prm(prm, CheapEngine(fault=lambda prompts: [[[float("nan")] * 2 for _ in prompts[0].chains]]))
    with pytest.raises(ScoringError, match="NaN"):
        broken.explain(QUESTION, GOOD, DOCUMENTS)


def test_sentences_of_a_document_that_carries_a_step(prm):
    """An engine that believes the first step if it reads one sentence."""
    needle = prm.encoder._encode_text(" Keep it dry")

    def score(prompts):
        (prompt,) = prompts
        return [[[0.99 if _has((*prompt.prefix, *c.ids), needle) else 0.01, 0.5] for c in prompt.chains]]

    found = cheap_prm(prm, CheapEngine(fault=score)).explain(QUESTION, GOOD, DOCUMENTS, sentences=True)
    assert (found.supporting(0), found.supporting(1), found.unsupported) == ([0], [], [1])
    best = found.sentence(0, 0)
    assert DOCUMENTS[0][best.start : best.end] == "Keep it dry."
    assert found.sentence(1, 0) is None
    assert found.cost.prompts == 8 + 2
    assert '"Keep it dry."' in str(found)
    assert '<mark class="supports">Keep it dry.</mark>' in found.to_html()


def _has(ids, needle):
    return any(list(ids[i : i + len(needle)]) == needle for i in range(len(ids)))


def test_the_prompt_that_is_shared_holds_what_each_would_alone():
    prefixes = [(1, 2, 3, 4), (1, 2, 5), (1, 2, 3)]
    chains = [EncodedChain((7, 8, 9), (0, 2)), EncodedChain((7, 6), (1,))]
    prompt = joined(prefixes, chains)
    read = [(*prompt.prefix, *chain.ids) for chain in prompt.chains]
    assert read == [(*prefix, *chain.ids) for prefix in prefixes for chain in chains]
    tags = [[(*prompt.prefix, *chain.ids)[len(prompt.prefix) + tag] for tag in chain.tags] for chain in prompt.chains]
    assert tags == [[7, 9], [6]] * 3


def test_what_is_counted_is_what_the_local_engine_runs(prm):
    ranking = prm.rank(QUESTION, [GOOD, BAD], DOCUMENTS)
    asked = []

    class Spy(CheapEngine):
        def score(self, prompts):
            asked.extend(prompts)
            return super().score(prompts)

    found = cheap_prm(prm, Spy()).explain(ranking, documents=DOCUMENTS, runner_up=True)
    run = sum(TokenTree([(prompt.prefix, [chain.ids for chain in prompt.chains])]).size for prompt in asked)
    assert found.cost.unique_tokens == sum(map(unique_tokens, asked))
    assert found.cost.unique_tokens <= run <= found.cost.unique_tokens + 16 * sum(len(p.chains) for p in asked)
    assert found.cost.unique_tokens < found.cost.prompt_tokens


def test_an_explanation_of_five_documents_takes_less_than_64_candidates(prm):
    record = json.loads((DEMO_MODEL.parent / "formulary_1.json").read_text())
    question, documents = record["question"], record["documents"][:5]
    engine = cheap_prm(prm, CheapEngine())
    chains = [f"{text} So dose number {n}." for n in range(8) for text in record["candidates"]]  # 64, all different
    ranking = engine.rank(question, chains, documents)
    assert (len(chains), len(documents)) == (64, 5)
    found = engine.explain(ranking, documents=documents)
    assert found.cost.prompts == 12
    assert found.cost.unique_tokens < ranking.unique_tokens / 2


def test_five_long_documents_take_no_more_than_six_prompts_of_all_of_them(prm):
    documents = [" ".join(f"{word} {place} {n}" for n in range(100)) for place, word in enumerate("abcde")]
    engine = cheap_prm(prm, CheapEngine())
    ranking = engine.rank(QUESTION, [GOOD], documents)
    assert ranking.documents_used == 5
    assert engine.explain(ranking, documents=documents).cost.unique_tokens <= 6 * ranking.unique_tokens


def test_unique_tokens_of_chains_that_begin_with_each_other():
    chains = tuple(EncodedChain(ids, (len(ids) - 1,)) for ids in [(1,), (1, 2), (1, 2, 3), (1, 2, 3), (4,)])
    assert unique_tokens(EncodedPrompt((9, 9), chains)) == 2 + 4


def test_no_text_in_reprs_and_errors(prm):
    found = prm.explain(QUESTION, GOOD, DOCUMENTS, sentences=True)
    shown = repr(found) + repr(found.effects) + repr(found.sentences) + repr(found.cost)
    assert "Zoravine" not in shown
    assert "Zoravine" in str(found)
    assert json.loads(found.model_dump_json())["documents"] == DOCUMENTS
    assert isinstance(prm.rank(QUESTION, [GOOD]), Ranking)
