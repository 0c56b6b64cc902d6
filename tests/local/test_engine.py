"""The transformers engine: budgets, memory, what it runs, what it refuses."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig

from medprm_scorer.cli.benchmark.baselines import useful_flops
from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.errors import InputError, ModelError, ScoringError
from medprm_scorer.local.attention import ATTENTIONS
from medprm_scorer.local.engine import PlainEngine, TransformersEngine
from medprm_scorer.local.kv_cache import KVCache
from medprm_scorer.local.masked import mask_attention
from medprm_scorer.local.reward_head import RewardHead
from medprm_scorer.local.row import Row
from tests.support.llama3 import random_llama

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


@contextmanager
def count_tokens(llama):
    """The number of tokens of each pass."""
    run: list[int] = []
    hook = llama.get_decoder().register_forward_pre_hook(
        lambda _, __, given: run.append(given["input_ids"].numel()), with_kwargs=True
    )
    yield run
    hook.remove()


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
    one, two = chain(1, 30, 3), chain(2, 25, 2)
    with count_tokens(llama) as run:
        engine.score([prompt(one, two, one, one, prefix=100)])
    assert sum(run) == 100 + 30 + 25  # the prefix once, identical candidates once
    assert max(run) <= 64


def test_leading_steps_that_candidates_share_are_run_once():
    llama = model()
    stem = chain(1, 60, 3)
    grown = [EncodedChain(stem.ids + chain(n, 20, 1).ids, (*stem.tags, 79)) for n in range(2, 7)]
    prompts = [prompt(stem, *grown, prefix=100)]
    with count_tokens(llama) as run:
        ours = TransformersEngine(llama, PLUS, MINUS).score(prompts)
    assert sum(run) == 100 + 60 + 5 * 20
    assert_same(ours, PlainEngine(llama, PLUS, MINUS).score(prompts))


def test_one_question_asked_twice_is_run_once_and_small_questions_share_a_pass():
    llama = model()
    engine = TransformersEngine(llama, PLUS, MINUS, 512)
    one, two = prompt(chain(1, 30, 3), chain(2, 25, 2)), prompt(chain(2, 25, 2), chain(3, 9, 1))
    with count_tokens(llama) as run:
        ours = engine.score([one, two, prompt(chain(4, 20, 2), prefix=60), one])
    assert run == [40 + 30 + 25 + 9 + 60 + 20]
    assert ours[0] == ours[3]
    assert ours[0][1] == ours[1][0]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("budget", [50, None])
def test_every_attention_gives_the_rewards_of_the_plain_engine(attention, budget):
    torch.compiler.reset()  # PyTorch 2.6 and 2.7 cannot give a compiled flex_attention another scale
    llama = model()
    prompts = [
        prompt(*(chain(seed, 5 + 9 * seed, 1 + seed % 4) for seed in range(1, 7)), prefix=40),
        prompt(chain(3, 30, 3), chain(3, 30, 3), prefix=200),
    ]
    engine = TransformersEngine(llama, PLUS, MINUS, budget, attention)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # flex_attention says that it is not compiled here
        assert_same(engine.score(prompts), PlainEngine(llama, PLUS, MINUS).score(prompts))
    with pytest.raises(InputError, match="paths"):
        TransformersEngine(llama, PLUS, MINUS, attention="best")


@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3", "Mistral", "Olmo2", "Gemma", "Granite"])
def test_models_like_llama_are_run_too(kind):
    """The attention is hooked where transformers offers it, so nothing here knows of Llama."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "head_dim": 16, "vocab_size": 50}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 0}
    config = getattr(transformers, f"{kind}Config")(**sizes, **heads, tie_word_embeddings=False, sliding_window=None)
    other = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    engine = TransformersEngine(other, PLUS, MINUS, 64)
    prompts = [prompt(*(chain(seed, 40, 3) for seed in range(1, 5)), prefix=100)]
    engine.check_against_plain(prompts[0])
    assert (engine.attention, engine._forward.last_layer_at_tags_only) == ("fused", True)
    assert_same(engine.score(prompts), PlainEngine(other, PLUS, MINUS).score(prompts))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_others_may_use_the_model_meanwhile_and_it_is_never_changed(implementation):
    llama = model()
    llama.set_attn_implementation(implementation)
    hooks = dict(llama.model.layers[-1]._forward_pre_hooks)
    ids = torch.arange(2, 50).view(2, 24)
    mask = torch.ones_like(ids)
    mask[0, :9] = 0  # padded, as generation in batches is
    with torch.inference_mode():
        expected = llama(ids, attention_mask=mask).logits
    engine, other = TransformersEngine(llama, PLUS, MINUS, 64), TransformersEngine(llama, MINUS, PLUS, 64)
    one = [prompt(*(chain(seed, 40, 3) for seed in range(1, 6)), prefix=100)]
    alone = engine.score(one), other.score(one)
    stop = threading.Event()
    found = []

    def use():
        while not stop.is_set():
            with torch.inference_mode():
                found.append((llama(ids, attention_mask=mask).logits - expected).abs().max().item())

    with ThreadPoolExecutor(3) as pool:
        using = pool.submit(use)
        try:
            for _ in range(10):
                calls = pool.submit(engine.score, one), pool.submit(other.score, one)
                assert tuple(call.result() for call in calls) == alone
        finally:
            stop.set()
        using.result()
    assert found
    assert max(found) < 1e-4
    with torch.inference_mode():
        assert torch.equal(llama(ids, attention_mask=mask).logits, expected)
    assert dict(llama.model.layers[-1]._forward_pre_hooks) == hooks


@pytest.mark.parametrize(
    "modes",
    [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
        torch.enable_grad,
        torch.inference_mode,
        lambda: default_dtype(torch.float64),
    ],
    ids=["autocast", "default device", "grad", "inference", "default dtype"],
)
def test_what_a_caller_sets_for_itself_changes_no_reward(modes):
    llama = model()
    one = [prompt(*(chain(seed, 40, 3) for seed in range(1, 6)), prefix=100)]
    engine, plain = TransformersEngine(llama, PLUS, MINUS, 64), PlainEngine(llama, PLUS, MINUS)
    expected, twin = engine.score(one), plain.score(one)
    with modes():
        assert engine.score(one) == expected
        session = engine.open_session(one[0].prefix)
        assert_same([session.score(one[0].chains)], expected)
        assert plain.score(one) == twin


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def test_models_that_share_a_configuration_score_at_the_same_time():
    """The first pass ends while the second is in the middle, in another thread."""
    one = model()
    other = type(one)(one.config).eval()
    assert one.config is other.config
    asked = [prompt(*(chain(seed, 40, 3) for seed in range(1, 6)), prefix=100)]
    engines = [TransformersEngine(llama, PLUS, MINUS) for llama in (one, other)]
    expected = [engine.score(asked) for engine in engines]
    second_runs, first_done = threading.Event(), threading.Event()
    hooks = [
        one.model.layers[1].register_forward_pre_hook(lambda *_: assert_set(second_runs)),
        other.model.layers[1].register_forward_pre_hook(lambda *_: second_runs.set() or assert_set(first_done)),
    ]
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(engine.score, asked) for engine in engines)
        first.add_done_callback(lambda _: first_done.set())
        assert [first.result(30), second.result(30)] == expected
    for hook in hooks:
        hook.remove()


def assert_set(event):
    assert event.wait(20)


@pytest.mark.parametrize("shared", ["one number", "one layer", "the last layer"])
def test_layers_that_share_a_number_keep_their_own_keys_and_values(shared):
    llama = model(num_hidden_layers=4)
    if shared == "one number":
        for layer in llama.model.layers:
            layer.self_attn.layer_idx = 0
    else:
        llama.model.layers[1 if shared == "one layer" else 3] = llama.model.layers[0]
    prompts = [prompt(*(chain(seed, 40, 3) for seed in range(1, 6)), prefix=100)]
    expected = PlainEngine(llama, PLUS, MINUS).score(prompts)
    engine = TransformersEngine(llama, PLUS, MINUS, 32)
    assert_same(engine.score(prompts), expected)
    session = engine.open_session(prompts[0].prefix)
    first = [EncodedChain(one.ids[: one.tags[0] + 1], one.tags[:1]) for one in prompts[0].chains]
    session.score(first)
    assert_same([session.score(prompts[0].chains)], expected)


def test_weights_are_shared_with_the_model_not_copied():
    llama = model()
    engine = TransformersEngine(llama, PLUS, MINUS)
    ours = {weight.data_ptr() for weight in engine._forward._decoder.parameters()}
    assert ours == {weight.data_ptr() for weight in llama.get_decoder().parameters()}
    with torch.no_grad():
        for weight in llama.get_decoder().parameters():
            weight.mul_(1.2)
    one = [prompt(chain(1, 30, 3), chain(2, 25, 2))]
    assert_same(engine.score(one), PlainEngine(llama, PLUS, MINUS).score(one))


def test_an_interrupt_in_the_middle_of_a_pass_leaves_nothing_behind():
    llama = model()
    engine = TransformersEngine(llama, PLUS, MINUS, 64)
    session = engine.open_session(prompt(prefix=100).prefix)
    one = [prompt(*(chain(seed, 40, 3) for seed in range(1, 6)), prefix=100)]
    expected = engine.score(one)
    for layer in llama.model.layers:
        hook = layer.mlp.register_forward_pre_hook(interrupt)
        for work in (lambda: engine.score(one), lambda: session.score(one[0].chains)):
            with pytest.raises(KeyboardInterrupt):
                work()
        hook.remove()
        assert engine.score(one) == expected
    assert_same([session.score(one[0].chains)], expected)
    assert not engine._batcher._queue


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_model_with_attention_of_its_own_is_refused():
    class Own(torch.nn.Module):
        def forward(self, hidden_states, **_):
            return hidden_states, None

    llama = model()
    for layer in llama.model.layers:
        layer.self_attn = Own()
    engine = TransformersEngine(llama, PLUS, MINUS)
    with pytest.raises(ModelError, match="attention"):
        engine.check_against_plain(prompt(chain(1, 10, 2), chain(2, 12, 3)))


def test_the_work_is_that_of_the_unique_tokens():
    """The guard of the speed, which cannot flake: tokens and FLOPs are counted, not seconds."""
    llama = model(max_position_embeddings=4096, num_hidden_layers=4)
    prompts = [prompt(*(chain(seed, 60, 6) for seed in range(16)), prefix=600)]
    engine = TransformersEngine(llama, PLUS, MINUS, 400, "paths")  # of whose kernels all are counted
    with FlopCounterMode(display=False) as ours, count_tokens(llama) as run:
        engine.score(prompts)
    engine._forward.last_layer_at_tags_only = False
    with FlopCounterMode(display=False) as wide:
        engine.score(prompts)
    unique = 600 + 16 * 60
    assert sum(run) == unique
    assert len(run) == -(-unique // 400)
    useful = useful_flops(llama, prompts)
    assert useful <= ours.get_total_flops() < 1.15 * useful  # blocks of queries see a little more than they need
    assert wide.get_total_flops() > 1.15 * ours.get_total_flops()  # the last of four layers, at tags only


def test_prefix_keys_and_values_are_never_copied_per_candidate():
    """Memory above the weights does not grow with N times the prefix: what is kept between passes is counted."""
    llama = model(max_position_embeddings=4096)
    engine = TransformersEngine(llama, PLUS, MINUS, 256)
    kept = []
    whole = KVCache.add

    def add(cache, row, end):
        whole(cache, row, end)
        kept.append(sum(part[0][0].shape[1] for parts in cache._by_span.values() for part in parts))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KVCache, "add", add)
        engine.score([prompt(*(chain(seed, 60, 6) for seed in range(16)), prefix=600)])
    assert max(kept) <= 600 + 60  # the prefix once, and the part of one candidate that the next pass continues
    assert kept[-1] == 0


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
    prompts = [prompt(chain(1, 20, 2), chain(2, 300, 9), chain(3, 33, 1), chain(4, 20, 3), prefix=100)]
    with count_tokens(llama) as run:
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
    assert (engine.attention, engine._forward.last_layer_at_tags_only) == ("fused", True)


def test_a_last_layer_that_wants_every_token_is_run_whole():
    llama = model()
    one = prompt(chain(1, 10, 2), chain(2, 12, 3))
    whole = llama.model.layers[-1].mlp.forward

    def wants_every_token(hidden):
        if hidden.shape[1] < 20:  # those at tags only
            raise ValueError("not all tokens are here")
        return whole(hidden)

    llama.model.layers[-1].mlp.forward = wants_every_token
    engine = TransformersEngine(llama, PLUS, MINUS)
    engine.check_against_plain(one)
    assert (engine.attention, engine._forward.last_layer_at_tags_only) == ("fused", False)
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
    llama = model(dtype=torch.bfloat16)
    hidden = torch.randn(9, 64, dtype=torch.bfloat16)
    rows = llama.lm_head.weight[[PLUS, MINUS]].double()
    exact = (hidden.double() @ rows.T).softmax(-1)[:, 0].float()
    with FlopCounterMode(display=False) as counter:
        found = RewardHead(llama, PLUS, MINUS)(hidden)
    assert found.dtype == torch.float32
    assert torch.allclose(found, exact, atol=1e-6)
    assert counter.get_total_flops() == 0  # no matrix product: its precision is a setting of the process


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_the_gpu_gives_the_cpus_rewards(dtype, tolerance):
    prompts = [prompt(*(chain(seed, 40, 3) for seed in range(1, 9)), prefix=150)]
    expected = PlainEngine(model(), PLUS, MINUS).score(prompts)
    got = TransformersEngine(model(dtype=dtype).to("cuda"), PLUS, MINUS).score(prompts)
    for one, two in zip(got[0], expected[0], strict=True):
        assert one == pytest.approx(two, abs=tolerance)
