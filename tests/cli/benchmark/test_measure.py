"""The benchmark: what it compares computes the same rewards, what it counts is there, and its figures add up."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from benchmarks.speed_parts import SpeedBench, SpeedPlan
from benchmarks.speed_report import other_lines, to_markdown
from medprm_scorer import cli
from medprm_scorer.cli.benchmark.baselines import card, padded, useful_flops
from medprm_scorer.cli.benchmark.measure import prompt_tokens
from medprm_scorer.cli.benchmark.report import cells, to_rich
from medprm_scorer.cli.benchmark.workload import SHAPES, STEPS, Requests, make_model, make_scorer
from medprm_scorer.local.memory import PeakMemory, batch_tokens, bytes_per_token, free_memory, is_out_of_memory
from medprm_scorer.local.reward_head import RewardHead
from tests.local.test_engine import count_tokens

CPU = torch.device("cpu")
PLAN = SpeedPlan("tiny", dtype="float32", candidates=(3,), rounds=1, questions=3, calls=3, session=2, errors=2,
                 document_tokens=120)  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    model = make_model("tiny", CPU, torch.float32)
    return model, make_scorer(model)


def test_shapes_are_those_of_llama():
    for name, least, most in (("300m", 280e6, 320e6), ("8b", 8.0e9, 8.1e9)):
        hidden, inside, layers, _ = SHAPES[name].values()
        layer = 2 * hidden * hidden + 2 * hidden * hidden // 4 + 3 * hidden * inside
        assert least < layers * layer + 2 * 128257 * hidden < most
    for size in SHAPES.values():
        assert size["intermediate_size"] / size["hidden_size"] == 3.5
        assert size["num_attention_heads"] % 4 == 0


def test_requests_have_the_size_that_is_asked_for(tiny):
    _, prm = tiny
    requests = Requests(prm)
    one, two = requests.make(4), requests.make(4)
    assert one != two
    assert one == Requests(prm).make(4)
    work = prm._requests.encode(one)
    assert work.prefix.documents_used == 10
    assert 2900 <= sum(prm.count_tokens(document) for document in one.documents) <= 3072
    for chain in work.prompt.chains:
        assert len(chain.tags) == STEPS
        assert STEPS * 44 <= len(chain.ids) <= STEPS * 66


def test_the_ways_that_are_compared_compute_the_same_rewards(tiny):
    model, prm = tiny
    encoder = prm.encoder
    labels = (encoder.positive_id, encoder.negative_id)
    request = Requests(prm, document_tokens=100).make(3)
    prompt = prm._requests.encode(request).prompt
    (ours,) = prm.engine.score([prompt])
    cards = [card(model, labels, prompt.prefix, chain) for chain in prompt.chains]
    batch = padded(model, RewardHead(model, *labels), prompt.prefix, prompt.chains)
    for one, two, three in zip(ours, cards, batch, strict=True):
        assert one == pytest.approx(two, abs=1e-5)
        assert three == pytest.approx(two, abs=1e-5)
    with count_tokens(model) as run:
        prm.engine.score([prompt])
    assert sum(run) <= prompt_tokens(prompt)
    assert useful_flops(model, [prompt]) > 0


def test_all_figures_are_there_and_can_be_printed(capsys):
    found = json.loads(json.dumps(SpeedBench(PLAN, lambda _: None).run()))
    (line,) = found["one_question"]
    assert line["tokens_run"] <= line["tokens_unique"] < line["tokens_card"]
    assert line["seconds"] > 0
    assert 0 < line["outside_model"] < 1
    assert 0 < line["share_of_matrix_rate"] < 1
    assert found["packed"]["many_over_large"] > 0
    assert found["packed"]["arank_over_rank_many"] > 0
    assert len(found["session"]["ratio_by_step"]) == STEPS
    assert found["errors"]["float32_against_plain"] < 1e-5
    Console(width=80).print(to_rich(found))
    text = capsys.readouterr().out
    assert "One question" in text
    assert max(map(len, text.splitlines())) <= 80
    for figure in cells(line):
        assert figure in text.split()
    markdown = to_markdown(found)
    assert f"| {' | '.join(cells(line))} |" in markdown
    assert "concurrent arank calls" in markdown


@pytest.mark.slow
def test_the_command(capsys):
    assert cli.main(["bench", "--shape", "small"]) == 2
    assert "tiny" in capsys.readouterr().err
    assert cli.main(["bench", "--shape", "tiny", "--n", "2", "--rounds", "1", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"]["candidates"] == [2]
    assert set(found) == {"machine", "plan", "one_question", "matrix_tflops"}


# ---------------------------------------------------------------- memory


@pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")
def test_peak_memory_sees_what_a_piece_of_work_takes():
    with PeakMemory(CPU) as peak:
        held = torch.ones(64, 1024, 1024)
        del held
    assert 0.9 * 2**28 < peak.bytes < 1.5 * 2**28


def test_the_budget_follows_the_free_memory(monkeypatch):
    config = SimpleNamespace(**SHAPES["300m"])
    each = bytes_per_token(config, torch.bfloat16)
    assert each > 2 * (768 + 2 * 2688)
    assert bytes_per_token(config, torch.float32) > each
    for free, expected in ((each * 10**6, 4096), (each * 4 * 1000, 1000), (0, 256), (None, 4096)):
        monkeypatch.setattr("medprm_scorer.local.memory.free_memory", lambda _, free=free: free)
        assert batch_tokens(config, CPU, torch.bfloat16) == expected
    assert batch_tokens(config, torch.device("cuda"), torch.bfloat16) == 16384
    assert batch_tokens(config, torch.device("mps"), torch.bfloat16) == 2048


def test_free_memory_is_known_on_linux():
    if sys.platform == "linux":
        assert free_memory(CPU) > 2**20
    assert free_memory(torch.device("mps")) is None


def test_what_running_out_of_memory_looks_like():
    for message in ("MPS backend out of memory (…)", "DefaultCPUAllocator: can't allocate memory: you tried", "x"):
        assert is_out_of_memory(RuntimeError(message)) == (message != "x")
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA"))


def test_two_layers_are_extrapolated_to_the_whole_depth_and_said_to_be(tiny):
    """31 layers run whole and one at tags, against one whole and one at tags."""
    model, prm = tiny
    bench = SpeedBench.__new__(SpeedBench)
    bench.plan, bench.model, bench.prm, bench.requests = PLAN, model, prm, Requests(prm, 0, 120)
    (found,) = bench._whole_depth([{"candidates": 2, "seconds": 1.0}])
    assert 25 < found["seconds"] < 31
    lines = other_lines({"plan": {}, "packed": None, "session": None, "errors": None, "whole_depth": [found]})
    assert lines[0].startswith("Extrapolated to 32 layers")
    assert model.config.num_hidden_layers == 2
