"""The transformers engine: budgets, memory, what it runs, what it refuses."""

import pytest
import torch
from llama3 import random_llama
from transformers import LlamaConfig

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.errors import InputError, ModelError, ScoringError
from medprm_scorer.reward_head import RewardHead
from medprm_scorer.transformers_engine import PlainEngine, TransformersEngine
from medprm_scorer.tree_attention import ATTENTIONS, Row, mask_attention

PLUS, MINUS, TAG = 5, 6, 7


def model(**changes):
    return random_llama(seed=1, **{"vocab_size": 50, "max_position_embeddings": 512} | changes)


def chain(seed: int, length: int, steps: int) -> EncodedChain:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(8, 50, (length,), generator=generator).tolist()
    tags = sorted({length - 1, *torch.randint(0, length, (steps - 1,), generator=generator).tolist()})
    for tag in tags:
        ids[tag] = TAG
    return EncodedChain(tuple(ids), tuple(tags))


def prompt(*chains: EncodedChain, prefix: int = 40) -> EncodedPrompt:
    return EncodedPrompt(tuple(range(10, 10 + prefix % 40)) + (9,) * (prefix - prefix % 40), chains)


def assert_same(ours, plain):
    for one, two in zip(ours, plain, strict=True):
        for mine, twin in zip(one, two, strict=True):
            assert mine == pytest.approx(twin, abs=1e-5)


@pytest.mark.parametrize("budget", [1, 7, 40, 100, None])
def test_any_budget_gives_the_rewards_of_the_plain_engine(budget):
    llama = model()
    prompts = [
        prompt(*(chain(seed, 5 + 9 * seed, 1 + seed % 4) for seed in range(1, 7)), prefix=40),
        prompt(chain(9, 1, 1), prefix=1),
        prompt(),
        prompt(chain(3, 30, 3), chain(3, 30, 3), prefix=200),
    ]
    ours = TransformersEngine(llama, PLUS, MINUS, budget).score(prompts)
    assert_same(ours, PlainEngine(llama, PLUS, MINUS).score(prompts))


def test_each_unique_token_is_run_once():
    llama = model()
    engine = TransformersEngine(llama, PLUS, MINUS, 64)
    run: list[int] = []
    llama.get_decoder().register_forward_pre_hook(
        lambda _, __, given: run.append(given["input_ids"].numel()), with_kwargs=True
    )
    one, two = chain(1, 30, 3), chain(2, 25, 2)
    engine.score([prompt(one, two, one, one, prefix=100)])
    assert sum(run) == 100 + 30 + 25  # the prefix once, identical candidates once
    assert max(run) <= 64


def test_no_logits_of_the_whole_vocabulary(monkeypatch):
    llama = model()
    engine = TransformersEngine(llama, PLUS, MINUS)

    def refuse(*_, **__):
        raise AssertionError("the language-model head was run")

    monkeypatch.setattr(llama.lm_head, "forward", refuse)
    assert engine.score([prompt(chain(1, 10, 2))])


def test_running_out_of_memory_halves_the_budget_and_goes_on(monkeypatch):
    llama = model()
    prompts = [prompt(*(chain(seed, 40, 3) for seed in range(1, 9)), prefix=150)]
    expected = PlainEngine(llama, PLUS, MINUS).score(prompts)
    engine = TransformersEngine(llama, PLUS, MINUS, 1024)
    whole, failed = engine._run, []

    def scarce(ids, *rest):
        if len(ids) > 128:
            failed.append(len(ids))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(ids, *rest)

    monkeypatch.setattr(engine, "_run", scarce)
    assert_same(engine.score(prompts), expected)
    assert failed
    assert engine.max_batch_tokens == 128
    assert_same(engine.score(prompts), expected)  # and it stays usable, at the smaller budget


def test_memory_that_is_never_enough_is_an_error(monkeypatch):
    engine = TransformersEngine(model(), PLUS, MINUS, 1024)

    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine, "_run", never)
    with pytest.raises(ScoringError, match="out of memory"):
        engine.score([prompt(chain(1, 10, 1))])
    assert engine.max_batch_tokens == 1024  # the next request starts afresh


def test_a_chain_longer_than_the_budget_is_run_in_pieces():
    llama = model()
    engine = TransformersEngine(llama, PLUS, MINUS, 32)
    run: list[int] = []
    llama.get_decoder().register_forward_pre_hook(
        lambda _, __, given: run.append(given["input_ids"].numel()), with_kwargs=True
    )
    prompts = [prompt(chain(1, 20, 2), chain(2, 300, 9), chain(3, 33, 1), chain(4, 20, 3), prefix=100)]
    ours = engine.score(prompts)
    assert max(run) <= 32
    assert sum(run) == 100 + 20 + 300 + 33 + 20
    assert_same(ours, PlainEngine(llama, PLUS, MINUS).score(prompts))


def test_other_errors_are_not_taken_for_memory(monkeypatch):
    engine = TransformersEngine(model(), PLUS, MINUS, 1024)

    def broken(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(engine, "_run", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        engine.score([prompt(chain(1, 10, 1))])
    assert engine.max_batch_tokens == 1024


@pytest.mark.parametrize("budget", [0, -5, 2.5, "5"])
def test_a_budget_that_is_no_number_of_tokens_is_refused(budget):
    with pytest.raises(InputError, match="max_batch_tokens"):
        TransformersEngine(model(), PLUS, MINUS, budget)


def test_a_model_that_cannot_share_a_prefix_is_refused(monkeypatch):
    engine = TransformersEngine(model(), PLUS, MINUS)
    one = prompt(chain(1, 10, 2), chain(2, 12, 3))
    engine.check_against_plain(one)
    visible = Row.visible
    monkeypatch.setattr(Row, "visible", lambda row, asking: torch.ones_like(visible(row, asking)))  # every token
    for name in ATTENTIONS:
        monkeypatch.setitem(ATTENTIONS, name, mask_attention)
    with pytest.raises(ModelError, match="other rewards"):
        engine.check_against_plain(one)
    assert (engine.attention, engine._pass.narrow) == ("paths", True)


def test_a_model_whose_last_layer_cannot_be_narrowed_is_run_whole():
    llama = model()
    engine = TransformersEngine(llama, PLUS, MINUS)
    one = prompt(chain(1, 10, 2), chain(2, 12, 3))
    whole = llama.model.layers[-1].mlp.forward

    def wants_every_token(hidden):
        if hidden.shape[1] < 20:  # those at tags only
            raise ValueError("not all tokens are here")
        return whole(hidden)

    llama.model.layers[-1].mlp.forward = wants_every_token
    engine.check_against_plain(one)
    assert (engine.attention, engine._pass.narrow) == ("paths", False)
    assert_same(engine.score([one]), PlainEngine(llama, PLUS, MINUS).score([one]))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("sliding_window", 64, "full attention"),
        ("layer_types", ["full_attention", "sliding_attention", "full_attention"], "full attention"),
        ("rope_parameters", {"rope_type": "dynamic", "rope_theta": 1e4}, "dynamic"),
        ("final_logit_softcapping", 30.0, "logits"),
        ("logits_scaling", 8.0, "logits"),
    ],
)
def test_models_that_would_give_other_rewards_are_refused(setting, value, message):
    llama = model()
    llama.config = LlamaConfig(**llama.config.to_dict())
    setattr(llama.config, setting, value)
    with pytest.raises(ModelError, match=message):
        TransformersEngine(llama, PLUS, MINUS)


def test_labels_beyond_the_vocabulary_are_refused():
    with pytest.raises(ModelError, match="vocabulary"):
        RewardHead(model(), PLUS, 50)


def test_the_head_keeps_float32_and_two_rows():
    head = RewardHead(model(dtype=torch.bfloat16), PLUS, MINUS)
    assert head._weight.dtype == torch.float32
    assert head._weight.shape == (2, 64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_the_gpu_gives_the_cpus_rewards(dtype, tolerance):
    prompts = [prompt(*(chain(seed, 40, 3) for seed in range(1, 9)), prefix=150)]
    expected = PlainEngine(model(), PLUS, MINUS).score(prompts)
    got = TransformersEngine(model(dtype=dtype).to("cuda"), PLUS, MINUS).score(prompts)
    for one, two in zip(got[0], expected[0], strict=True):
        assert one == pytest.approx(two, abs=tolerance)
