"""An attention that fails, at load or in the middle of service: the next best one, said once, and no other rewards."""

import warnings

import pytest
import torch

from medprm_scorer.errors import ModelError, ScoringError
from medprm_scorer.local import engine as engine_module
from medprm_scorer.local.attention import ATTENTIONS
from medprm_scorer.local.engine import PlainEngine, TransformersEngine
from medprm_scorer.local.loading import choose_dtype
from medprm_scorer.local.memory import MASK_TOKENS
from medprm_scorer.local.row import TILE
from tests.local.test_engine import MINUS, PLUS, assert_same, chain, model, prompt

ASKED = [prompt(*(chain(seed, 40, 3) for seed in range(1, 6)), prefix=100)]
FAILURES = [
    RuntimeError("Failed to find C compiler. Please specify via CC environment variable"),
    RuntimeError("fatal error: Python.h: No such file or directory"),
    ImportError("cannot import name 'varlen_attn'"),
    NotImplementedError("Could not run 'aten::_flash_attention_forward' with arguments from the 'MPS' backend"),
    torch._dynamo.exc.FailOnRecompileLimitHit("recompile_limit reached"),
]


@pytest.fixture
def like_cuda(monkeypatch):
    """An engine on the CPU that takes the ways of a GPU."""
    monkeypatch.setattr(engine_module, "choose_attention", lambda *_: ("cascade", "flex", "mask"))
    monkeypatch.setattr(engine_module, "fastest_on_cpu", lambda *_: ("cascade", TILE))
    return model()


def failing(error, after=0):
    calls = []

    def attend(*given):
        calls.append(1)
        if len(calls) > after:
            raise error
        return ATTENTIONS["mask"](*given)

    return attend


def use(monkeypatch, name, attend):
    monkeypatch.setitem(ATTENTIONS, name, attend)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_at_load_the_next_best_is_taken_and_said_once(error, like_cuda, monkeypatch):
    for name in ("cascade", "flex"):
        use(monkeypatch, name, failing(error))
    engine = TransformersEngine(like_cuda, PLUS, MINUS)
    with pytest.warns(RuntimeWarning, match="cannot be used on this cpu device") as said:
        engine.check_against_plain(ASKED[0])
    assert sum(one.category is RuntimeWarning for one in said) == 2  # from the first to the second, and to the last
    assert engine.attention == "mask"
    assert engine.max_batch_tokens <= MASK_TOKENS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(engine.score(ASKED), PlainEngine(like_cuda, PLUS, MINUS).score(ASKED))


@pytest.mark.parametrize("after", [1, 2, 4])
def test_in_the_middle_of_a_pass_the_row_is_run_again_another_way(after, like_cuda, monkeypatch):
    use(monkeypatch, "cascade", failing(RuntimeError("no kernel image is available"), after))
    engine = TransformersEngine(like_cuda, PLUS, MINUS, 64)
    with pytest.warns(RuntimeWarning, match="no kernel image is available"):
        found = engine.score(ASKED)
    assert engine.attention == "flex"
    assert engine.max_batch_tokens == 64  # it was asked for
    assert_same(found, PlainEngine(like_cuda, PLUS, MINUS).score(ASKED))


@pytest.mark.parametrize("factor", [1.5, torch.nan, torch.inf])
def test_wrong_numbers_at_load_are_a_failure_too(factor, like_cuda, monkeypatch):
    use(monkeypatch, "cascade", lambda *given: ATTENTIONS["mask"](*given) * factor)
    engine = TransformersEngine(like_cuda, PLUS, MINUS)
    with pytest.warns(RuntimeWarning, match="other rewards"):
        engine.check_against_plain(ASKED[0])
    assert engine.attention == "flex"


def test_if_no_way_is_left_the_error_is_the_last_ones(like_cuda, monkeypatch):
    for name in ("cascade", "flex", "mask"):
        use(monkeypatch, name, failing(RuntimeError(f"{name} is broken")))
    engine = TransformersEngine(like_cuda, PLUS, MINUS)
    with pytest.warns(RuntimeWarning), pytest.raises(RuntimeError, match="mask is broken"):
        engine.score(ASKED)
    with pytest.warns(RuntimeWarning), pytest.raises(ModelError, match="mask is broken"):
        TransformersEngine(like_cuda, PLUS, MINUS).check_against_plain(ASKED[0])


def test_lack_of_memory_is_no_failure_of_the_attention(like_cuda, monkeypatch):
    whole = ATTENTIONS["cascade"]

    def scarce(queries, *rest):
        if queries.shape[1] > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(queries, *rest)

    use(monkeypatch, "cascade", scarce)
    engine = TransformersEngine(like_cuda, PLUS, MINUS, 256)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = engine.score(ASKED)
    assert (engine.attention, engine.max_batch_tokens) == ("cascade", 64)
    assert_same(found, PlainEngine(like_cuda, PLUS, MINUS).score(ASKED))


def test_a_deterministic_engine_changes_its_way_at_load_only(like_cuda, monkeypatch):
    engine = TransformersEngine(like_cuda, PLUS, MINUS, deterministic=True)
    engine.check_against_plain(ASKED[0])
    use(monkeypatch, "cascade", failing(RuntimeError("no kernel image is available")))
    with pytest.raises(ScoringError, match="load the model again"):
        engine.score(ASKED)
    fresh = TransformersEngine(like_cuda, PLUS, MINUS, deterministic=True)
    with pytest.warns(RuntimeWarning):
        fresh.check_against_plain(ASKED[0])
    assert fresh.attention == "flex"


def test_layers_on_several_devices_are_refused():
    llama = model()
    llama.model.layers[1].to("meta")  # as device_map="auto" leaves what it has no place for
    with pytest.raises(ModelError, match=r"several devices \(cpu, meta\).*without device_map"):
        TransformersEngine(llama, PLUS, MINUS)


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_gpus_without_bfloat16_get_float16(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_dtype(None, torch.device("cuda")) == expected
    assert choose_dtype("bfloat16", torch.device("cuda")) == torch.bfloat16  # who asks for it gets it


def test_rewards_in_float16_are_read_in_float32():
    one = [prompt(*(chain(seed, 40, 3) for seed in range(1, 6)), prefix=100)]
    half = TransformersEngine(model(dtype=torch.float16), PLUS, MINUS, attention="cascade").score(one)
    exact = PlainEngine(model(), PLUS, MINUS).score(one)
    for mine, twin in zip(half[0], exact[0], strict=True):
        assert mine == pytest.approx(twin, abs=0.02)
        assert any(reward != torch.tensor(reward).half().item() for reward in mine)  # not rounded to half precision
