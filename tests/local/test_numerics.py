"""Settings of the whole process: the same rewards, or a clear refusal."""

import warnings
from contextlib import contextmanager

import pytest
import torch

from medprm_scorer import MedPRM
from medprm_scorer.errors import ModelError, ScoringError
from medprm_scorer.local import numerics
from medprm_scorer.local.engine import PlainEngine, TransformersEngine
from medprm_scorer.local.numerics import fixed_numerics
from tests.local.test_engine import MINUS, PLUS, assert_same, chain, model, prompt
from tests.support.llama3 import random_llama, real_tokenizer

ASKED = [prompt(*(chain(seed, 40, 3) for seed in range(1, 6)), prefix=100)]
CPU = torch.device("cpu")


@contextmanager
def precision(name):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", ["high", "medium"])
def test_float32_products_of_less_than_float32_are_refused(name):
    llama = model()
    engine, plain = TransformersEngine(llama, PLUS, MINUS), PlainEngine(llama, PLUS, MINUS)
    expected = engine.score(ASKED)
    with precision(name):
        session = engine.open_session(ASKED[0].prefix)
        for work in (engine.score, plain.score, lambda asked: session.score(asked[0].chains)):
            with pytest.raises(ScoringError, match="set_float32_matmul_precision"):
                work(ASKED)
        with pytest.raises(ScoringError, match="or load the model in bfloat16"):
            MedPRM.from_model(random_llama(), real_tokenizer())
    assert engine.score(ASKED) == expected


@pytest.mark.parametrize("name", ["high", "medium"])
def test_a_model_in_bfloat16_has_no_such_products(name):
    engine = TransformersEngine(model(dtype=torch.bfloat16), PLUS, MINUS)
    expected = engine.score(ASKED)
    with precision(name):
        assert engine.score(ASKED) == expected


def test_but_positions_that_come_out_wrong_are_refused(monkeypatch):
    monkeypatch.setattr(numerics, "_positions_are_exact", lambda device: False)
    with fixed_numerics(CPU, torch.bfloat16):
        pass
    with precision("high"), pytest.raises(ScoringError), fixed_numerics(CPU, torch.bfloat16):
        pass


def test_positions_are_exact_where_products_are_whole():
    assert numerics._positions_are_exact(CPU)


def test_deterministic_algorithms_change_no_reward():
    engine = TransformersEngine(model(), PLUS, MINUS, 64)
    expected = engine.score(ASKED)
    torch.use_deterministic_algorithms(True)
    try:
        assert engine.score(ASKED) == expected
    finally:
        torch.use_deterministic_algorithms(False)


def cast(dtype):
    return lambda llama: llama.to(dtype)


@pytest.mark.parametrize(
    "move",
    [cast(torch.bfloat16), cast(torch.float16), cast(torch.float64), lambda llama: llama.to("meta")],
    ids=["bfloat16", "float16", "float64", "meta"],
)
def test_a_model_that_is_moved_or_cast_afterwards_is_refused(move):
    llama = model()
    engine = TransformersEngine(llama, PLUS, MINUS)
    session = engine.open_session(ASKED[0].prefix)
    expected = engine.score(ASKED)
    move(llama)
    for work in (engine.score, lambda asked: session.score(asked[0].chains)):
        with pytest.raises(ModelError, match="wrap it again"):
            work(ASKED)
    if llama.device.type != "meta":
        assert_near(TransformersEngine(llama, PLUS, MINUS).score(ASKED), expected)


def assert_near(found, expected):
    for one, two in zip(found[0], expected[0], strict=True):
        assert one == pytest.approx(two, abs=0.1)


def test_weights_that_are_trained_afterwards_count_those_of_the_head_too():
    llama = model()
    engine = TransformersEngine(llama, PLUS, MINUS)
    before, name = engine.score(ASKED), engine.fingerprint
    with torch.no_grad():
        for weight in llama.parameters():
            weight.mul_(1.3)
    expected = PlainEngine(llama, PLUS, MINUS).score(ASKED)
    assert_same(engine.score(ASKED), expected)
    assert engine.score(ASKED) != before
    assert engine.fingerprint != name
    assert engine.fingerprint == TransformersEngine(llama, PLUS, MINUS).fingerprint


def whole(llama):
    llama.compile(backend="eager")


def decoder(llama):
    llama.model.compile(backend="eager")


def each_layer(llama):
    for layer in llama.model.layers:
        layer.compile(backend="eager")


def forward(llama):
    llama.forward = torch.compile(llama.forward, backend="eager")


def replaced_layers(llama):
    for place, layer in enumerate(llama.model.layers):
        llama.model.layers[place] = torch.compile(layer, backend="eager")


@pytest.mark.parametrize(
    "way", [whole, decoder, each_layer, forward, pytest.param(replaced_layers, marks=pytest.mark.slow)]
)
def test_a_compiled_model_gives_the_same_rewards(way):
    llama = model()
    expected = TransformersEngine(llama, PLUS, MINUS, 64).score(ASKED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        way(llama)
        engine = TransformersEngine(llama, PLUS, MINUS, 64)
        engine.check_against_plain(ASKED[0])
        assert_same(engine.score(ASKED), expected)
    torch.compiler.reset()


def test_a_compiled_wrapper_is_refused_by_name():
    with pytest.raises(ModelError, match="must be a transformers model, not OptimizedModule"):
        MedPRM.from_model(torch.compile(random_llama(), backend="eager"), real_tokenizer())
