"""Weights in 8 and 4 bits: the same chains win, the weights are smaller, and what cannot be read is refused."""

import pytest
import torch
from transformers import BitsAndBytesConfig

from medprm_scorer import InputError, MedPRM, ModelError
from medprm_scorer.local import loading
from medprm_scorer.local.loading import DEMO_MODEL, QUANTIZATIONS, _parts, load
from tests.vllm.test_server import formulary

LARGEST = {"int8": 0.05, "int4": 0.35}
"""How far a reward of the demo model may be from float32's."""


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
    for question, documents, chains in formulary():
        ours, exact = (one.rank(question, chains, documents) for one in (prm, demo))
        assert ours.answer == exact.answer
        by_index = {chain.index: chain.step_rewards for chain in exact.chains}
        for chain in ours.chains:
            assert chain.step_rewards == pytest.approx(by_index[chain.index], abs=LARGEST[name])


def test_rewards_do_not_depend_on_the_other_candidates(quantized):
    _, prm = quantized
    question, documents, chains = formulary()[0]
    together = prm.score(question, chains, documents)
    for chain, text in zip(together, chains, strict=True):
        assert prm.score(question, [text], documents)[0].step_rewards == pytest.approx(chain.step_rewards, abs=1e-5)


def test_other_weights_are_another_model_to_a_journal(quantized, demo):
    assert quantized[1].settings != demo.settings


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
