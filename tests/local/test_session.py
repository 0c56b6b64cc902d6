"""Sessions: growing chains cost their new tokens only, and the rewards are those of scoring anew."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from medprm_scorer import InputError, MedPRM
from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.errors import QuestionTooLongError
from medprm_scorer.local.engine import PlainEngine, TransformersEngine
from tests.local.test_engine import MINUS, PLUS, TAG, assert_same, count_tokens, model
from tests.support.llama3 import random_llama, real_tokenizer

PREFIX = tuple(range(10, 49)) * 4


def grow(chain: EncodedChain, rng: random.Random, length: int = 9) -> EncodedChain:
    ids = (*chain.ids, *(rng.randrange(8, 50) for _ in range(length - 1)), TAG)
    return EncodedChain(ids, (*chain.tags, len(ids) - 1))


def start(rng: random.Random) -> EncodedChain:
    return grow(EncodedChain((), ()), rng)


@pytest.mark.parametrize("budget", [7, 60, None])
def test_each_step_runs_its_new_tokens_only_and_gives_the_rewards_of_scoring_anew(budget):
    llama, rng = model(), random.Random(0)
    engine = TransformersEngine(llama, PLUS, MINUS, budget)
    plain = PlainEngine(llama, PLUS, MINUS)
    session = engine.open_session(PREFIX)
    chains = [start(rng) for _ in range(5)]
    expected = len(PREFIX) + 5 * 9
    for _ in range(5):
        with count_tokens(llama) as run:
            ours = session.score(chains)
        assert sum(run) == expected
        assert_same([ours], plain.score([EncodedPrompt(PREFIX, tuple(chains))]))
        with count_tokens(llama) as run:
            assert session.score(chains) == ours  # the same again is known
        assert not run
        chains = [grow(chain, rng) for chain in chains]
        expected = 5 * 9


def test_a_beam_search_pays_for_new_steps_only():
    """Two of the chains go on in three ways each; the others are given up."""
    llama, rng = model(), random.Random(1)
    engine, plain = TransformersEngine(llama, PLUS, MINUS), PlainEngine(llama, PLUS, MINUS)
    session = engine.open_session(PREFIX)
    chains = [start(rng) for _ in range(6)]
    session.score(chains)
    for _ in range(4):
        chains = [grow(chain, rng, rng.randint(2, 30)) for chain in rng.sample(chains, 2) for _ in range(3)]
        with count_tokens(llama) as run:
            ours = session.score(chains)
        assert sum(run) == sum(chain.tags[-1] - chain.tags[-2] for chain in chains)
        assert_same([ours], plain.score([EncodedPrompt(PREFIX, tuple(chains))]))


def test_chains_may_also_shrink_part_ways_come_anew_and_be_the_same():
    llama, rng = model(), random.Random(2)
    engine, plain = TransformersEngine(llama, PLUS, MINUS, 50), PlainEngine(llama, PLUS, MINUS)
    session = engine.open_session(PREFIX)
    pool = [start(rng)]
    for _ in range(12):
        one = rng.choice(pool)
        cut = rng.randint(1, len(one.ids))
        parted = EncodedChain((*one.ids[: cut - 1], TAG), (*(tag for tag in one.tags if tag < cut - 1), cut - 1))
        pool += [grow(one, rng, rng.randint(1, 40)), parted, grow(parted, rng, 3), start(rng)]
        chains = rng.sample(pool, min(len(pool), 6))
        chains.append(chains[0])
        assert_same([session.score(chains)], plain.score([EncodedPrompt(PREFIX, tuple(chains))]))
    assert session.score([]) == []


def test_a_token_that_becomes_a_tag_gets_its_reward():
    llama, rng = model(), random.Random(3)
    session = TransformersEngine(llama, PLUS, MINUS).open_session(PREFIX)
    chain = grow(start(rng), rng)
    session.score([chain])
    more = EncodedChain(chain.ids, (3, *chain.tags))
    expected = PlainEngine(llama, PLUS, MINUS).score([EncodedPrompt(PREFIX, (more,))])
    assert_same([session.score([more])], expected)


def test_a_failed_call_leaves_the_session_as_it_was(monkeypatch):
    llama, rng = model(), random.Random(4)
    engine = TransformersEngine(llama, PLUS, MINUS, 16)
    session = engine.open_session(PREFIX)
    chains = [start(rng) for _ in range(3)]
    session.score(chains)
    grown = [grow(chain, rng, 30) for chain in chains]
    whole, calls = engine._run, []

    def fails_later(*given):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no more")
        return whole(*given)

    monkeypatch.setattr(engine, "_run", fails_later)
    with pytest.raises(RuntimeError, match="no more"):
        session.score(grown)
    monkeypatch.setattr(engine, "_run", whole)
    assert_same([session.score(grown)], PlainEngine(llama, PLUS, MINUS).score([EncodedPrompt(PREFIX, tuple(grown))]))


def test_a_closed_session_holds_nothing_and_says_so():
    session = TransformersEngine(model(), PLUS, MINUS).open_session(PREFIX)
    session.score([start(random.Random(5))])
    session.close()
    session.close()
    assert session._latest is None  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="closed"):
        session.score([])


# ---------------------------------------------------------------- the session of MedPRM

STEPS = ["Step 1: Read the label.", "Step 2: The label says 5 mg.", "Step 3: So 5 mg. The answer is (A)"]
QUESTION, DOCUMENTS = "Which dose?\n\n(A) 5 mg\n(B) 9 mg", ["The label says 5 mg.", "Another label."]


@pytest.fixture(scope="module")
def prm() -> MedPRM:
    return MedPRM.from_model(random_llama(max_position_embeddings=2048), real_tokenizer())


def test_a_session_gives_what_score_gives_as_chains_grow(prm):
    ends = ["Step 3: Guess. The answer is (B)", " "]
    with prm.session(QUESTION, DOCUMENTS) as session:
        for count in (1, 2, 3):
            chains = [STEPS[:count], [*STEPS[: count - 1], ends[0]], " ".join(STEPS[:count]), ends[1]]
            with count_tokens(prm.engine._model) as run:
                ours = session.score(chains)
            assert sum(run) < 300 if count == 1 else sum(run) < 60
            anew = prm.score(QUESTION, chains, DOCUMENTS)
            assert [chain.error is None for chain in ours] == [True, True, True, False]
            assert [chain.answer for chain in ours] == [chain.answer for chain in anew]
            for one, two in zip(ours, anew, strict=True):
                assert one.step_rewards == pytest.approx(two.step_rewards, abs=1e-5)
        assert asyncio.run(session.ascore(chains)) == ours
        assert "mg" not in repr(session)
    with pytest.raises(InputError, match="closed"):
        session.score([STEPS])


def test_a_session_refuses_what_score_refuses(prm):
    for question, documents in ((" ", []), ("Q?", "text"), (None, [])):
        with pytest.raises(InputError):
            prm.session(question, documents)
    with pytest.raises(QuestionTooLongError):
        prm.session("word " * 3000)
    with prm.session("Q?") as session, pytest.raises(InputError, match="no candidates"):
        session.score([])


def test_sessions_and_calls_side_by_side(prm):
    alone = [c.step_rewards for c in prm.score(QUESTION, [STEPS], DOCUMENTS)]

    def work(_):
        with prm.session(QUESTION, DOCUMENTS) as session:
            for count in (1, 2, 3):
                rewards = [c.step_rewards for c in session.score([STEPS[:count]])]
                assert rewards == [pytest.approx(alone[0][:count], abs=1e-5)]
                assert prm.score(QUESTION, [STEPS], DOCUMENTS)[0].step_rewards == pytest.approx(alone[0], abs=1e-5)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


def test_an_engine_without_sessions_is_asked_anew(prm):
    class Server:
        name, max_tokens, fingerprint = "server", 2048, "server"

        def score(self, prompts):
            return prm.engine.score(prompts)

    with MedPRM(Server(), prm.encoder).session(QUESTION, DOCUMENTS) as session:
        (ours,) = session.score([STEPS])
        assert ours.step_rewards == prm.score(QUESTION, [STEPS], DOCUMENTS)[0].step_rewards
    with pytest.raises(InputError, match="closed"):
        session.score([STEPS])


def test_kept_values_are_shared_not_copied_per_candidate():
    llama, rng = model(), random.Random(6)
    session = TransformersEngine(llama, PLUS, MINUS).open_session(PREFIX)
    session.score([start(rng) for _ in range(8)])
    kept = session._latest.cache._by_span  # type: ignore[attr-defined]
    tokens = sum(part[0][0].shape[1] for parts in kept.values() for part in parts)
    assert tokens == len(PREFIX) + 8 * 9


@pytest.mark.parametrize("budget", [60, None])
def test_a_prefix_that_moves_keeps_what_it_begins_with(budget):
    llama, rng = model(), random.Random(7)
    engine, plain = TransformersEngine(llama, PLUS, MINUS, budget), PlainEngine(llama, PLUS, MINUS)
    session = engine.open_session(PREFIX)
    session.move(PREFIX)  # before anything was run
    chains = [start(rng) for _ in range(3)]
    session.score(chains)
    for end in ((11, 12, 13, *PREFIX[-20:]), (*PREFIX[-20:-9], 14), PREFIX[-20:], ()):
        moved = (*PREFIX[:-20], *end)
        session.move((*PREFIX[:-20], 49))
        session.move(moved)  # twice in a row: what both share with what was run
        chains = [grow(chain, rng) for chain in chains]
        with count_tokens(llama) as run:
            ours = session.score(chains)
        assert_same([ours], plain.score([EncodedPrompt(moved, tuple(chains))]))
        assert sum(run) == len(moved) - (len(PREFIX) - 20) + sum(len(chain.ids) for chain in chains)
    session.move((9, 9, 9))  # nothing in common
    assert_same([session.score(chains)], plain.score([EncodedPrompt((9, 9, 9), tuple(chains))]))


@pytest.mark.parametrize("cache", [None, 100])
def test_documents_that_are_added_are_read_as_if_they_had_been_there(demo, cache):
    prm = MedPRM(demo.engine, demo.encoder, cache=cache)
    chains = [["Step 1: Read the label."], ["Step 1: Guess."]]
    with prm.session("Which dose?", ["Label: dose Zoravine at 5 mg per kg."]) as session:
        session.score(chains)
        session.add_documents(["Label: halve the dose of Zoravine in children.", "Nothing."])
        found = session.score(chains)
        assert session.rank(chains).documents_used == 3
    documents = ["Label: dose Zoravine at 5 mg per kg.", "Label: halve the dose of Zoravine in children.", "Nothing."]
    for one, two in zip(found, prm.score("Which dose?", chains, documents), strict=True):
        assert one.step_rewards == pytest.approx(two.step_rewards, abs=1e-5)
