"""Weights in 8 and 4 bits: the same chains win, the weights are smaller, and what cannot be read is refused."""

import pytest
import torch
from torchao.quantization import Float8WeightOnlyConfig
from transformers import AutoTokenizer, BitsAndBytesConfig, TorchAoConfig

from medprm_scorer import InputError, MedPRM, ModelError, ScoringError
from medprm_scorer.local import loading
from medprm_scorer.local.engine import TransformersEngine
from medprm_scorer.local.loading import DEMO_MODEL, QUANTIZATIONS, _parts, load
from tests.local.test_engine import MINUS, PLUS, prompt
from tests.local.test_engine import chain as make_chain
from tests.support.llama3 import random_llama
from tests.vllm.test_server import formulary

LARGEST = {"int8": 0.05, "int4": 0.15}
"""How far rewards of the demo model may be from float32's, but for one in a hundred."""


@pytest.fixture(scope="module", params=QUANTIZATIONS)
def quantized(request) -> tuple[str, MedPRM]:
    return request.param, MedPRM.from_pretrained(quantization=request.param)


def test_linear_layers_are_smaller_and_the_head_is_as_it_was(quantized):
    name, prm = quantized
    model = prm.engine._model
    exact, _ = load(DEMO_MODEL, device="cpu")
    small, large = (
        sum(part.nbytes for weight in one.get_decoder().layers.parameters() for part in _parts(weight))
        for one in (model, exact)
    )
    assert small < large * {"int8": 0.27, "int4": 0.16}[name]
    assert torch.equal(model.get_output_embeddings().weight.float(), exact.get_output_embeddings().weight.float())


def test_rewards_are_near_those_of_float32_and_the_same_chains_win(quantized, demo):
    name, prm = quantized
    gaps: list[float] = []
    for question, documents, chains in formulary():
        ours, exact = (one.rank(question, chains, documents) for one in (prm, demo))
        assert ours.answer == exact.answer
        by_index = {chain.index: chain.step_rewards for chain in exact.chains}
        for chain in ours.chains:
            gaps += [abs(a - b) for a, b in zip(chain.step_rewards, by_index[chain.index], strict=True)]
    assert len(gaps) > 200
    assert sum(gap > LARGEST[name] for gap in gaps) <= len(gaps) / 100


def test_rewards_do_not_depend_on_the_other_candidates(quantized):
    name, prm = quantized
    near = {"int8": 1e-5, "int4": 1e-3}[
        name
    ]  # with avx512, the 4-bit kernel rounds otherwise for other numbers of tokens
    question, documents, chains = formulary()[0]
    together = prm.score(question, chains, documents)
    for chain, text in zip(together, chains, strict=True):
        assert prm.score(question, [text], documents)[0].step_rewards == pytest.approx(chain.step_rewards, abs=near)


def test_other_weights_are_another_model_to_a_journal(quantized, demo):
    assert quantized[1].settings != demo.settings


@pytest.fixture(scope="module")
def fp8():
    """Weights in 8-bit floating point, by a configuration of transformers."""
    return TorchAoConfig(Float8WeightOnlyConfig(set_inductor_config=False))


def test_fp8_weights_are_the_nearest_numbers_and_rewards_those_of_weights_rounded_by_hand(fp8, tmp_path):
    """e4m3 has 3 bits behind the first one, is 448 at most and 2**-9 at least (arXiv 2209.05433)."""
    random_llama(seed=1, vocab_size=50).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(DEMO_MODEL, local_files_only=True).save_pretrained(tmp_path)
    small, exact = (load(tmp_path, "cpu", "float32", quantization=one)[0] for one in (fp8, None))
    asked = [prompt(*(make_chain(seed, 40, 3) for seed in range(1, 6)), prefix=100)]
    before = TransformersEngine(exact, PLUS, MINUS).score(asked)[0]
    for of_small, of_exact in zip(small.model.layers.modules(), exact.model.layers.modules(), strict=True):
        if isinstance(of_exact, torch.nn.Linear):
            weight = of_exact.weight.detach()
            scale = weight.abs().amax(1, keepdim=True) / 448  # (rows, 1)
            step = (weight / scale).abs().clamp(min=2**-6).log2().floor().exp2() / 8  # (rows, columns), in scales
            twin = (weight / scale).to(torch.float8_e4m3fn).float() * scale
            for rounded in (twin, of_small.weight.dequantize()):
                assert ((rounded - weight).abs() <= 0.501 * step * scale).all()  # half a step, and float32's rounding
            of_exact.weight.data.copy_(twin)
    ours, plain = (TransformersEngine(one, PLUS, MINUS).score(asked)[0] for one in (small, exact))
    for mine, twins, whole in zip(ours, plain, before, strict=True):
        assert mine == pytest.approx(twins, abs=1e-3)
        assert mine == pytest.approx(whole, abs=0.5)  # random weights, whose rewards are all over [0, 1]


def test_fp8_is_not_offered_by_name_since_it_makes_nan_of_a_row_of_zeros_and_the_model_is_then_refused(fp8):
    """Such rows are there: the demo model has them. If this fails, torchao has changed, and it may be offered."""
    with pytest.raises((ModelError, ScoringError), match="NaN"):
        MedPRM.from_pretrained(quantization=fp8).score("Which?", ["Step 1: this. The answer is (A)."], ["A text."])
    with pytest.raises(InputError, match="choose int8 or int4"):
        MedPRM.from_pretrained(quantization="fp8")


def test_quantized_weights_leave_the_compiler_of_the_process_alone():
    from torch._inductor import config

    before = config.coordinate_descent_tuning
    MedPRM.from_pretrained(quantization="int8")
    assert config.coordinate_descent_tuning == before is False


def test_a_configuration_of_transformers_is_taken():
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="fp4")
    prm = MedPRM.from_pretrained(quantization=config)
    assert prm.engine._model.config.quantization_config is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrong", ["int2", "", 8, {"load_in_8bit": True}])
def test_what_is_no_quantization_is_refused(wrong):
    with pytest.raises(InputError, match="choose int8 or int4"):
        MedPRM.from_pretrained(quantization=wrong)


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    for name in QUANTIZATIONS:
        with pytest.raises(ModelError, match=r'pip install "medprm\[quantized\]"'):
            MedPRM.from_pretrained(quantization=name)


def test_a_quantized_head_is_refused():
    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["embed_tokens"])
    with pytest.raises(ModelError, match="head is quantized"):
        MedPRM.from_pretrained(quantization=config)
