"""`cache=`: rewards of the same request are not computed again, and nothing else is ever taken for the same."""

import asyncio
import threading

import pytest

from medprm_scorer import InputError, MedPRM
from medprm_scorer.encoding import PromptEncoder, load_tokenizer
from medprm_scorer.engine import RememberingEngine
from medprm_scorer.local.loading import DEMO_MODEL
from tests.support.cheap_engine import CheapEngine

QUESTION, DOCUMENTS = "Which dose?", ["Label: give 5 mg."]
CHAINS = ["Step 1: Give 5 mg. The answer is (A)", "Step 1: Give 9 mg. The answer is (B)"]


class Counting(CheapEngine):
    """Counts the chains that it is asked for."""

    chains = 0

    def score(self, prompts):
        self.chains += sum(len(prompt.chains) for prompt in prompts)
        return super().score(prompts)


@pytest.fixture
def engine():
    return Counting()


@pytest.fixture
def prm(demo, engine):
    return MedPRM(engine, demo.encoder, cache=100)


def rewards(ranking):
    return {chain.index: chain.step_rewards for chain in ranking.chains}


def test_the_same_request_is_computed_once(prm, demo, engine):
    plain = MedPRM(CheapEngine(), demo.encoder).rank(QUESTION, CHAINS, DOCUMENTS)
    for _ in range(3):
        assert rewards(prm.rank(QUESTION, CHAINS, DOCUMENTS)) == rewards(plain)
        assert rewards(asyncio.run(prm.arank(QUESTION, CHAINS, DOCUMENTS))) == rewards(plain)
    with prm.session(QUESTION, DOCUMENTS) as session:
        assert [chain.step_rewards for chain in session.score(CHAINS)] == [rewards(plain)[0], rewards(plain)[1]]
    assert engine.chains == 2


def test_only_new_chains_are_computed_and_equal_ones_once(prm, engine):
    prm.rank(QUESTION, CHAINS, DOCUMENTS)
    third = "Step 1: Give 7 mg."
    ranking = prm.rank(QUESTION, [third, CHAINS[1], third, CHAINS[0]], DOCUMENTS)
    assert engine.chains == 3
    assert rewards(ranking)[0] == rewards(ranking)[2]
    assert rewards(ranking)[1] == rewards(prm.rank(QUESTION, CHAINS, DOCUMENTS))[1]


def test_what_is_remembered_is_not_counted_as_run(prm, demo):
    def counted(ranking):
        return ranking.unique_tokens

    plain = MedPRM(CheapEngine(), demo.encoder)
    third = "Step 1: Give 7 mg."
    first, both = (counted(plain.rank(QUESTION, chains, DOCUMENTS)) for chains in (CHAINS, [*CHAINS, third]))
    alone = counted(plain.rank(QUESTION, [third], DOCUMENTS))
    chain = both - first
    assert counted(prm.rank(QUESTION, CHAINS, DOCUMENTS)) == first
    assert counted(prm.rank(QUESTION, CHAINS, DOCUMENTS)) == 0
    assert counted(prm.rank(QUESTION, [*CHAINS, third, third], DOCUMENTS)) == alone  # the prefix and the new chain
    prefix = alone - chain
    for ranking, again in (
        prm.rank_batch([{"question": "Why?", "candidates": CHAINS, "documents": DOCUMENTS}] * 2),
        asyncio.run(prm.arank_batch([{"question": "How?", "candidates": CHAINS, "documents": DOCUMENTS}] * 2)),
    ):
        assert (counted(ranking) > prefix, counted(again)) == (True, 0)
    other = "Which drug?"
    with prm.live(other, DOCUMENTS) as live:
        for one in [*CHAINS, CHAINS[0]]:
            live.add([one])
        expected = counted(plain.rank(other, CHAINS, DOCUMENTS))
        assert counted(live.ranking()) == expected
    with prm.live(other, DOCUMENTS) as live:
        live.add(CHAINS)
        assert counted(live.ranking()) == 0
    with prm.live(other, DOCUMENTS, scores=False) as live:
        live.add([*CHAINS, third])
        assert 0 < counted(live.ranking()) < expected
    with prm.session(other, DOCUMENTS) as session:
        assert counted(session.rank(CHAINS)) == 0


@pytest.mark.parametrize(
    ("question", "chains", "documents"),
    [
        (QUESTION, CHAINS, ["Label: give 9 mg."]),
        (QUESTION, CHAINS, []),
        (QUESTION, CHAINS, [*DOCUMENTS, "Label: stop."]),
        ("Which dose??", CHAINS, DOCUMENTS),
        (QUESTION, [f"{chain}." for chain in CHAINS], DOCUMENTS),
        (QUESTION, [["Give 5 mg.", "The answer is (A)"], ["Give 9 mg.", "The answer is (B)"]], DOCUMENTS),
    ],
)
def test_another_request_never_hits(prm, engine, question, chains, documents):
    prm.rank(QUESTION, CHAINS, DOCUMENTS)
    prm.rank(question, chains, documents)
    assert engine.chains == 4


def test_another_system_prompt_or_model_never_hits(demo, engine):
    memory = RememberingEngine(engine, 100)
    for system in ("rag", "no_documents"):
        MedPRM(memory, PromptEncoder(load_tokenizer(DEMO_MODEL), system)).rank(QUESTION, CHAINS, DOCUMENTS)
    assert engine.chains == 4
    MedPRM(RememberingEngine(engine, 100), demo.encoder).rank(QUESTION, CHAINS, DOCUMENTS)
    assert engine.chains == 6  # another object, so another model or dtype, remembers for itself


def test_the_oldest_is_forgotten_first(demo, engine):
    prm = MedPRM(engine, demo.encoder, cache=2)
    for number in (0, 1, 0, 2, 0):
        prm.rank(QUESTION, [f"Step 1: Give {number} mg."], DOCUMENTS)
    assert engine.chains == 3
    prm.rank(QUESTION, ["Step 1: Give 1 mg."], DOCUMENTS)
    assert engine.chains == 4


def test_failures_are_not_remembered(demo):
    faults = [RuntimeError("away")]

    def fault(prompts):
        if faults:
            raise faults.pop()

    prm = MedPRM(CheapEngine(fault), demo.encoder, cache=9)
    with pytest.raises(RuntimeError, match="away"):
        prm.rank(QUESTION, CHAINS, DOCUMENTS)
    assert prm.rank(QUESTION, CHAINS, DOCUMENTS).answer in ("A", "B")


def test_many_threads_get_the_same(prm, engine):
    plain = rewards(prm.rank(QUESTION, CHAINS, DOCUMENTS))
    found = []
    start = threading.Barrier(8)

    def ask(number):
        start.wait()
        for place in range(20):
            prm.rank(QUESTION, [f"Step 1: Give {place} mg for {number}."], DOCUMENTS)
            found.append(rewards(prm.rank(QUESTION, CHAINS, DOCUMENTS)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [plain] * 160


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, "5"])
def test_a_wrong_size_is_refused(demo, engine, wrong):
    with pytest.raises(InputError, match="cache must be a whole number"):
        MedPRM(engine, demo.encoder, cache=wrong)


def test_a_real_model_gives_the_same_with_and_without(demo):
    remembering = MedPRM.from_pretrained(cache=10)
    for _ in range(2):
        ranking = remembering.rank(QUESTION, CHAINS, DOCUMENTS)
        plain = demo.rank(QUESTION, CHAINS, DOCUMENTS)
        for index, values in rewards(plain).items():
            assert rewards(ranking)[index] == pytest.approx(values, abs=1e-5)
    assert remembering.settings == demo.settings
    assert repr(remembering) == repr(demo)
