"""`deterministic=True`: a chain's rewards are the same to the last bit alone and beside any others, in any way."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer import MedPRM
from medprm_scorer.encoding import EncodedPrompt
from medprm_scorer.errors import ScoringError
from medprm_scorer.local.engine import PlainEngine, TransformersEngine
from tests.local.test_engine import MINUS, PLUS, assert_same, chain, count_tokens, model, prompt
from tests.support.llama3 import random_llama, real_tokenizer
from tests.support.properties import examples

SIZES = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3}  # rounding shows in matrices like these
DTYPES = (torch.float32, torch.bfloat16)
WAY = "mask"  # the attention whose rounding depends most on what is beside: by up to 0.014 here in bfloat16
LLAMAS = {dtype: model(dtype=dtype, **SIZES) for dtype in DTYPES}
CHAINS = [chain(seed, 3 + 11 * seed % 97, 1 + seed % 4) for seed in range(12)]
STEM = chain(50, 60, 3)
CHAINS += [type(STEM)(STEM.ids + one.ids, (*STEM.tags, *(60 + tag for tag in one.tags))) for one in CHAINS[:4]]


def engine(dtype: torch.dtype, budget: int | None = None) -> TransformersEngine:
    return TransformersEngine(LLAMAS[dtype], PLUS, MINUS, budget, WAY, deterministic=True)


ENGINES = {dtype: engine(dtype) for dtype in DTYPES}
places = st.lists(st.integers(0, len(CHAINS) - 1), min_size=1, max_size=9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_alone_and_among_others_a_chain_has_the_same_bits(dtype):
    alone = {
        (place, prefix): ENGINES[dtype].score([prompt(one, prefix=prefix)])[0][0]
        for place, one in enumerate(CHAINS)
        for prefix in (1, 90, 300)
    }

    @settings(max_examples=examples(25))
    @given(st.lists(st.tuples(places, st.sampled_from([1, 90, 300])), min_size=1, max_size=4))
    def holds(asked):
        prompts = [prompt(*(CHAINS[place] for place in some), prefix=prefix) for some, prefix in asked]
        found = ENGINES[dtype].score(prompts)
        assert found == [[alone[place, prefix] for place in some] for some, prefix in asked]

    holds()


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_it_bits_do_depend_on_the_neighbours(dtype):
    """Else the test above could not fail."""
    packed = TransformersEngine(LLAMAS[dtype], PLUS, MINUS, None, WAY)
    together = packed.score([prompt(*CHAINS, prefix=300)])[0]
    assert together != [packed.score([prompt(one, prefix=300)])[0][0] for one in CHAINS]


def test_threads_tasks_and_sessions_get_the_same_bits():
    one = ENGINES[torch.bfloat16]
    asked = [prompt(*CHAINS[start : start + 4], prefix=90) for start in (0, 3, 6, 9)]
    alone = [one.score([request])[0] for request in asked]

    async def tasks():
        return await asyncio.gather(*(one.ascore([request]) for request in asked))

    with ThreadPoolExecutor(4) as pool:
        assert [found[0] for found in pool.map(lambda request: one.score([request]), asked)] == alone
    assert [found[0] for found in asyncio.run(tasks())] == alone
    session = one.open_session(asked[0].prefix)
    assert session.score(asked[0].chains[:2]) == alone[0][:2]
    assert session.score(asked[0].chains) == alone[0]


@pytest.mark.parametrize("budget", [7, 40, None])
def test_the_rewards_are_those_of_the_plain_engine(budget):
    prompts = [prompt(*CHAINS, prefix=90), prompt(prefix=3), prompt(CHAINS[0], CHAINS[0], prefix=1)]
    expected = PlainEngine(LLAMAS[torch.float32], PLUS, MINUS).score(prompts)
    assert_same(engine(torch.float32, budget).score(prompts), expected)


def test_the_prefix_is_run_once_and_each_chain_in_a_pass_of_its_own():
    with count_tokens(LLAMAS[torch.float32]) as run:
        ENGINES[torch.float32].score([prompt(CHAINS[1], CHAINS[2], CHAINS[1], prefix=300)])
    assert run == [300, len(CHAINS[1].ids), len(CHAINS[2].ids)]


def test_memory_that_runs_out_is_an_error_and_no_smaller_budget(monkeypatch):
    one = engine(torch.float32, 512)

    def fails(*_):
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(one, "_run", fails)
    with pytest.raises(ScoringError, match="set a smaller max_batch_tokens"):
        one.score([prompt(CHAINS[0], prefix=90)])
    assert one.max_batch_tokens == 512


def test_the_budget_depends_on_no_free_memory(monkeypatch):
    monkeypatch.setattr("medprm_scorer.local.memory.free_memory", lambda _: 0)
    assert engine(torch.float32).max_batch_tokens == 4096
    assert TransformersEngine(LLAMAS[torch.float32], PLUS, MINUS).max_batch_tokens == 256


def test_a_request_gets_the_same_bits_in_rank_score_and_rank_many():
    llama = random_llama(dtype=torch.bfloat16, max_position_embeddings=2048)
    prm = MedPRM.from_model(llama, real_tokenizer(), deterministic=True)
    assert prm.settings["deterministic"] == "yes"
    chains = [f"Step 1: Read {n} mg.\n\nStep 2: {'So ' * n}the answer is ({'AB'[n % 2]})" for n in range(1, 8)]
    asked = [{"question": "Which?\n\n(A) 1\n(B) 2", "candidates": chains[start:]} for start in range(4)]
    alone = {chain: prm.score(asked[0]["question"], [chain])[0].step_rewards for chain in chains}
    found = [*prm.rank_many(asked), prm.rank(**asked[0])]
    for ranking in found:
        assert {one.text: one.step_rewards for one in ranking.chains}.items() <= alone.items()
    with prm.session(asked[0]["question"]) as session:
        assert [one.step_rewards for one in session.score(chains)] == list(alone.values())


def test_an_empty_call_is_answered():
    assert ENGINES[torch.float32].score([]) == []
    assert ENGINES[torch.float32].score([EncodedPrompt((1, 2), ())]) == [[]]
