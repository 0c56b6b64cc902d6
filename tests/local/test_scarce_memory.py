"""With an allocator that has a limit: fewer tokens a pass, the same rewards, and nothing of a failed pass is kept."""

import gc
from functools import cache

import pytest
import torch

from medprm_scorer.errors import ScoringError
from medprm_scorer.local.engine import PlainEngine, TransformersEngine
from tests.local.test_engine import MINUS, PLUS, assert_same, chain, model, prompt
from tests.support.scarce_memory import ScarceMemory

ASKED = [prompt(*(chain(seed, 60, 3) for seed in range(1, 15)), prefix=200)]
GIVEN = 1024


def make(attention="paths"):
    llama = model(max_position_embeddings=2048, intermediate_size=2048)  # most of it while a layer runs, as in 8B
    return TransformersEngine(llama, PLUS, MINUS, GIVEN, attention), PlainEngine(llama, PLUS, MINUS)


@cache
def peak(attention):
    """Bytes that a call takes when there is enough of them."""
    engine, _ = make(attention)
    with ScarceMemory() as memory:
        engine.score(ASKED)
    assert engine.max_batch_tokens == GIVEN
    return memory.peak


@pytest.mark.parametrize("share", [0.9, 0.6, 0.4])
@pytest.mark.parametrize("attention", ["paths", "fused", "mask", "cascade"])
def test_with_less_memory_the_rewards_stay(share, attention):
    engine, plain = make(attention)
    with ScarceMemory(share * peak(attention)) as memory:
        found = engine.score(ASKED)
    assert_same(found, plain.score(ASKED))
    assert engine.max_batch_tokens < GIVEN
    assert engine.attention == attention
    assert memory.failures == (GIVEN // engine.max_batch_tokens).bit_length() - 1  # each halved it once
    assert memory.held < 1000


def test_a_session_keeps_what_it_knows_when_memory_runs_out():
    engine, plain = make()
    session, calm = (one.open_session(ASKED[0].prefix) for one in (engine, make()[0]))
    for chains in (ASKED[0].chains[:4], ASKED[0].chains):
        calm.score(chains)
    enough = peak("paths")
    with ScarceMemory() as memory:
        session.score(ASKED[0].chains[:4])
        known = memory.held
        memory.most = known + 0.4 * enough
        found = session.score(ASKED[0].chains)
    assert memory.failures
    assert_same([found], plain.score(ASKED))
    assert session.tokens_run == calm.tokens_run  # nothing of the first call was run again


def test_where_even_the_smallest_pass_does_not_fit_it_says_so_and_frees_everything():
    engine, plain = make()
    with ScarceMemory(20_000) as memory:
        with pytest.raises(ScoringError, match=r"out of memory even with 64 tokens a pass: use shorter documents"):
            engine.score(ASKED)
        gc.collect()  # the error holds what its traceback leads to
        assert memory.held < 1000
        assert engine.max_batch_tokens == GIVEN  # the next call begins with what was asked for
        memory.most = float("inf")
        assert_same(engine.score(ASKED), plain.score(ASKED))
    assert engine.max_batch_tokens == GIVEN


def test_the_limit_is_one():
    """Else the tests above could not fail."""
    with ScarceMemory(4000) as memory:
        some = torch.ones(900)
        same = some.view(30, 30)[:2]
        assert memory.held == 3600
        with pytest.raises(torch.OutOfMemoryError):
            some + 1
        del some
        assert memory.held == 3600
        del same
        assert memory.held == 0
