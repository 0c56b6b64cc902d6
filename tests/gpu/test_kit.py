"""The kit for machines with a GPU: all of it runs here on the CPU, at the smallest size."""

import json
import subprocess
from contextlib import contextmanager

import pytest
import torch

from benchmarks.gpu import __main__ as kit
from benchmarks.gpu import agreement, served
from benchmarks.gpu.settings import Settings
from medprm_scorer import MedPRM
from medprm_scorer.cli.benchmark.workload import make_model, make_scorer
from medprm_scorer.local.attention import ATTENTIONS
from medprm_scorer.local.masked import mask_attention
from medprm_scorer.local.row import Row


def run(file, *options):
    return kit.main(["--device", "cpu", "--tiny", "--in-process", "--json", str(file), *options])


def test_every_part_runs_and_nothing_is_wrong(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(served, "vllm_python", lambda: None)  # it has tests of its own
    file = tmp_path / "gpu.json"
    assert run(file) == 0
    found = json.loads(file.read_text())["parts"]
    assert list(found) == list(kit.PARTS)
    assert not [part["error"] for part in found.values() if "error" in part]
    assert all(found["agreement"][f"float32 {way}"] < 1e-5 for way in ("fused", "paths"))
    assert found["agreement"]["wrong"] == []
    assert found["compilations"]["paths"]["later"] == 0
    assert [line["candidates"] for line in found["one_question"]["one_question"]] == [1, 2]
    assert all(found["quantized"][name]["gap"] < 0.2 for name in ("int8", "fp8"))
    assert found["vllm"]["skipped"].startswith("no vLLM")
    assert set(found["ways"]) == {"paths", "fused", "mask", "seconds"}
    table = capsys.readouterr().out
    assert all(f"| {name} |" in table for name in kit.PARTS)
    assert "could not run" not in table


def test_an_attention_that_sees_a_little_too_much_is_noticed_in_16_bits(monkeypatch):
    def sees_more(queries, own, before, row, asking, scale):
        visible = Row.visible
        with monkeypatch.context() as patch:
            patch.setattr(Row, "visible", lambda row, places: visible(row, (places + 3).clamp(max=row.tokens - 1)))
            return mask_attention(queries, own, before, row, asking, scale)

    monkeypatch.setitem(ATTENTIONS, "paths", sees_more)
    found = agreement.agreement(Settings("cpu", True))
    assert found["wrong"] == ["float32 paths", "bfloat16 paths"]


@pytest.mark.parametrize("seed", [0, 1])
def test_rewards_of_vllm_are_compared_with_those_of_the_same_weights(seed, monkeypatch):
    """All but the server: the weights that it would load are read from where it would load them."""

    @contextmanager
    def serve(_settings, folder):
        yield str(folder)

    def ask(url, tokenizer):
        assert url == tokenizer
        if not seed:
            return MedPRM.from_pretrained(url, device="cpu", dtype="bfloat16")
        return make_scorer(make_model("tiny", torch.device("cpu"), torch.bfloat16, seed))

    monkeypatch.setitem(agreement.LARGEST, "bfloat16", 1e-4)  # rewards of so small a model are all near 0.5
    monkeypatch.setattr(served, "vllm_python", lambda: "python")
    monkeypatch.setattr(served, "_server", serve)
    monkeypatch.setattr(MedPRM, "from_vllm", ask)
    found = served.vllm(Settings("cpu", True))
    assert (found["gap"] == 0) == (not seed)
    assert found["wrong"] == (["rewards against vLLM's"] if seed else [])
    assert min(found["ours seconds"], found["vLLM seconds"]) > 0


@pytest.mark.vllm
@pytest.mark.timeout(2400)
def test_the_part_runs_with_a_real_vllm():
    found = served.vllm(Settings("cpu", True))
    assert found["wrong"] == []
    assert found["gap"] < 0.05


@pytest.fixture
def parts(monkeypatch):
    """Two parts that say when they ran."""
    ran = []

    def first(_settings):
        ran.append("first")
        if ran == ["first"]:
            raise RuntimeError("the device is gone")
        return {"figure": 1.5}

    def second(_settings):
        ran.append("second")
        return {"wrong": ["some rewards"] if ran.count("first") > 1 else []}

    monkeypatch.setattr(kit, "PARTS", {"first": (first, 5), "second": (second, 5)})
    return ran


def test_a_part_that_fails_stops_no_other_and_is_run_again_alone(parts, tmp_path, capsys):
    file = tmp_path / "gpu.json"
    assert run(file) == 0
    assert parts == ["first", "second"]
    assert "| first | could not run | RuntimeError: the device is gone |" in capsys.readouterr().out
    assert run(file) == 0
    assert parts == ["first", "second", "first"]
    assert "| first | figure | 1.5 |" in capsys.readouterr().out


def test_when_its_time_is_over_it_starts_nothing_more_and_goes_on_when_called_again(parts, tmp_path, capsys):
    file = tmp_path / "gpu.json"
    assert run(file, "--minutes", "0") == 0
    assert parts == []
    assert "| second | could not run | no time was left: call it again |" in capsys.readouterr().out
    run(file)
    assert parts == ["first", "second"]


def test_wrong_rewards_are_the_exit_status(parts, tmp_path):
    parts.append("first")
    parts.append("first")
    assert run(tmp_path / "gpu.json") == 1


@pytest.mark.parametrize(
    "earlier", ["", "[]", '{"parts": 3}', '{"settings": {"device": "cuda"}, "parts": {"first": {}}}']
)
def test_figures_of_other_settings_or_of_no_sense_are_not_taken_over(earlier, parts, tmp_path):
    file = tmp_path / "gpu.json"
    file.write_text(earlier)
    run(file)
    assert parts == ["first", "second"]


def test_in_a_process_of_its_own_a_part_has_a_limit_of_time(parts, monkeypatch):
    def hangs(command, **options):
        assert command[-1] == "--tiny"
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hangs)
    assert kit._apart("first", Settings("cpu", True)) == {"error": "took longer than 5 s"}


@pytest.mark.slow
def test_in_a_process_of_its_own_a_part_gives_its_figures(monkeypatch):
    monkeypatch.setitem(kit.PARTS, "machine", (kit.machine, 500))  # a busy machine may take long to import PyTorch
    settings = Settings("cpu", True)
    assert kit._apart("machine", settings) == kit.machine(settings)


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert kit.main([]) == 2
    assert "no CUDA device" in capsys.readouterr().err
