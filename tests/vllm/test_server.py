"""Rewards of a real vLLM server are those of the transformers engine, by each endpoint; `make test-vllm` runs this."""

import random
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from benchmarks.vllm_server import vllm_server
from medprm_scorer import MedPRM
from medprm_scorer.local.loading import DEMO_MODEL
from medprm_scorer.results.request_parsing import read_request
from tests.support.llama3 import TAG_ID, random_llama, real_tokenizer
from tests.support.vllm_metrics import counted
from tests.test_exactness import requests

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1500)]

TOLERANCE = {"bfloat16": 0.03, "float32": 0.005}
SERVERS = {"generative_scoring": ("generative_scoring", "completions"), "classify": ("classify",)}
SERVERS |= {"step_pooling": ("step_pooling",)}
"""What a server is started for, and the endpoints to try on it."""
LLAMA = {"hidden_size": 256, "intermediate_size": 640, "num_attention_heads": 4, "head_dim": 64}
LLAMA |= {"initializer_range": 0.06}  # less than elsewhere: bfloat16's rounding is not what is tried here


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    random_llama(dtype=torch.bfloat16, **LLAMA).save_pretrained(folder)
    real_tokenizer().save_pretrained(folder)
    return folder


@cache
def formulary() -> list[tuple[str, list[str], list[str]]]:
    asked = [read_request(str(path)) for path in sorted(DEMO_MODEL.parent.glob("formulary_*.json"))]
    assert asked
    return [(request.question, list(request.documents), list(request.candidates)) for request in asked]


def compare(folder: Path, url: str, endpoints: tuple[str, ...], dtype: str, cases) -> None:
    """Hold rewards and rankings of each endpoint to those of the transformers engine in the same dtype."""
    ours = MedPRM.from_pretrained(folder, device="cpu", dtype=dtype)
    for name in endpoints:
        theirs = MedPRM.from_vllm(url, endpoint=name)
        assert theirs.engine.endpoint.name == name  # type: ignore[attr-defined]
        worst, spread = 0.0, []
        for question, documents, chains in cases:
            one, other = (prm.rank(question, chains, documents) for prm in (ours, theirs))
            by_index = {chain.index: chain.step_rewards for chain in other.chains}
            for chain in one.chains:
                assert by_index[chain.index] == pytest.approx(chain.step_rewards, abs=TOLERANCE[dtype]), name
                gaps = [abs(a - b) for a, b in zip(chain.step_rewards, by_index[chain.index], strict=True)]
                worst, spread = max([worst, *gaps]), spread + chain.step_rewards
            # the same ranking, save where the rewards themselves are nearer than the tolerance
            margin = one.chains[0].reward() - one.chains[1].reward()
            if one.strategy == "best_of_n":
                if margin > 2 * TOLERANCE[dtype]:
                    assert other.best.index == one.best.index
                continue
            weights = sorted((vote.weight for vote in one.votes), reverse=True)
            if len(weights) > 1 and weights[0] - weights[1] > 2 * TOLERANCE[dtype] * len(chains):
                assert other.answer == one.answer
        assert max(spread) - min(spread) > 0.2
        sys.stdout.write(f"{url} {name} {dtype}: largest difference {worst:.5f}\n")


@pytest.mark.parametrize("server", SERVERS)
def test_random_llama_weights_with_the_real_tokenizer_in_bfloat16(llama, server, tmp_path):
    with vllm_server(llama, server, TAG_ID, "bfloat16", tmp_path / "log") as url:
        best = MedPRM.from_vllm(url).engine.endpoint  # type: ignore[attr-defined]
        assert best.name == server
        compare(llama, url, SERVERS[server], "bfloat16", requests()[:6])


@pytest.mark.parametrize("server", SERVERS)
def test_the_demo_model_in_float32(server, tmp_path):
    tag_id = MedPRM.from_pretrained().encoder.tag_id
    with vllm_server(DEMO_MODEL, server, tag_id, "float32", tmp_path / "log") as url:
        compare(DEMO_MODEL, url, SERVERS[server], "float32", formulary())


def test_the_chosen_endpoint_runs_a_third_of_the_tokens_of_step_pooling_at_most(llama, tmp_path):
    """N = 16 candidates of six steps of 55 tokens, 3,000 document tokens; one server, then the other.

    Counted by the servers, over questions that they have not seen: tokens that a cache gave were not run.
    """
    rng = random.Random(8)
    words = [word for _, documents, _ in requests() for document in documents for word in document.split()]

    def text(start: str, tokens: int) -> str:
        while len(real_tokenizer()(start, add_special_tokens=False)["input_ids"]) < tokens:
            start += f" {rng.choice(words)}"
        return start

    run = {}
    for server in ("generative_scoring", "step_pooling"):
        with vllm_server(llama, server, TAG_ID, "float32", tmp_path / server) as url:
            prm = MedPRM.from_vllm(url)
            for number in range(2):
                chains = ["\n".join(text(f"Step {step}:", 54) for step in range(1, 7)) for _ in range(16)]
                documents = [text("", 300) for _ in range(10)]
                ranking = prm.rank(f"Question {number}: which?", chains, documents)
                assert ranking.documents_used == len(documents)
            run[server] = counted(url, "prompt_tokens") - counted(url, "prefix_cache_hits")
    sys.stdout.write(f"tokens run: {run}\n")
    assert run["step_pooling"] > 2 * 16 * 3000
    assert 0 < 3 * run["generative_scoring"] <= run["step_pooling"]
