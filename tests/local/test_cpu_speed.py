"""The attention of a CPU is chosen by a measurement, which noise does not decide; rewards change by rounding only."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import cpu_attention
from medprm_scorer.local import attention, cpu_speed
from medprm_scorer.local import engine as engine_module
from medprm_scorer.local.cpu_speed import chosen, fastest_on_cpu, measured, usual_on_cpu, workload
from medprm_scorer.local.engine import PlainEngine, TransformersEngine
from tests.local.test_engine import MINUS, PLUS, assert_same, chain, model, prompt

FUSED, PATHS, LARGER = (("fused", 64), ("paths", 64), ("paths", 128))
WIDE = SimpleNamespace(num_attention_heads=8, num_key_value_heads=2, head_dim=64)


class Machine:
    """A clock, and a processor on which each choice takes the given seconds, one after the other."""

    def __init__(self, seconds):
        self.seconds = {choice: iter(times) for choice, times in seconds.items()}
        self.now, self.tried = 0.0, []

    def clock(self):
        return self.now

    def work(self, choice):
        self.tried.append(choice)
        self.now += next(self.seconds[choice])

    def chosen(self, usual):
        return chosen(measured(self.work, self.clock), usual)


def test_the_clearly_fastest_is_taken_by_its_best_trial():
    machine = Machine({FUSED: [9, 5, 5, 5], PATHS: [5, 5, 5, 5], LARGER: [3, 2]})
    assert machine.chosen(PATHS) == LARGER
    assert len(machine.tried) == 10


@pytest.mark.parametrize("usual", [FUSED, PATHS])
def test_the_usual_one_stays_if_none_is_clearly_faster(usual):
    machine = Machine({FUSED: [1.0] * 4, PATHS: [1.05] * 4, LARGER: [0.96] * 2})
    assert machine.chosen(usual) == usual


@pytest.mark.parametrize("usual", [FUSED, PATHS])
def test_a_cold_first_trial_decides_nothing(usual):
    assert Machine({FUSED: [90, 5, 5, 5], PATHS: [10] * 4, LARGER: [10] * 2}).chosen(usual) == FUSED
    assert Machine({FUSED: [10] * 4, PATHS: [900, 5, 5, 5], LARGER: [10] * 2}).chosen(usual) == PATHS


def test_a_hopeless_way_is_tried_twice_whatever_its_tile():
    machine = Machine({FUSED: [1] * 4, PATHS: [25, 25]})
    assert machine.chosen(PATHS) == FUSED
    assert machine.tried == [FUSED, PATHS, FUSED, PATHS, FUSED, FUSED]


@pytest.mark.parametrize(("broken", "expected"), [(["fused"], PATHS), (["paths"], FUSED), (["fused", "paths"], PATHS)])
def test_a_way_that_fails_is_not_chosen(broken, expected):
    def work(choice):
        if choice[0] in broken:
            raise NotImplementedError("no kernel")

    clock = iter(range(100))
    assert chosen(measured(work, lambda: next(clock)), PATHS) == expected


def test_the_measurement_is_on_the_cpu_whatever_the_default_device(monkeypatch):
    devices = set()
    for way in ("fused", "paths"):
        monkeypatch.setitem(attention.ATTENTIONS, way, lambda queries, *_: devices.add(queries.device.type))
    with torch.device("meta"):
        measured(workload(torch.float32, 8, 2, 16))
    assert devices == {"cpu"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_wide_model_is_measured_once_in_a_process(dtype, monkeypatch):
    calls = []
    real = cpu_speed.chosen
    monkeypatch.setattr(cpu_speed, "chosen", lambda times, usual: calls.append(usual) or real(times, usual))
    cpu_speed._fastest.cache_clear()
    assert {fastest_on_cpu(WIDE, dtype) for _ in range(3)} < set(cpu_speed._CHOICES)
    assert calls == [usual_on_cpu(dtype)]


@pytest.mark.parametrize("config", [SimpleNamespace(), SimpleNamespace(num_attention_heads=4, hidden_size=256)])
def test_a_small_or_unknown_model_is_not_measured(config, monkeypatch):
    monkeypatch.setattr(cpu_speed, "chosen", None)
    assert fastest_on_cpu(config, torch.bfloat16) == ("paths", 64)
    assert fastest_on_cpu(config, torch.float32) == ("fused", 64)


@pytest.fixture(scope="module")
def wide():
    """A model that is wide enough to be measured."""
    return model(head_dim=64)


@pytest.mark.parametrize("choice", cpu_speed._CHOICES)
def test_the_engine_takes_the_measured_choice_and_gives_the_same_rewards(wide, choice, monkeypatch):
    monkeypatch.setattr(engine_module, "fastest_on_cpu", lambda *_: choice)
    seen = []
    way = attention.ATTENTIONS[choice[0]]
    monkeypatch.setitem(attention.ATTENTIONS, choice[0], lambda *given: seen.append(given[3].tile) or way(*given))
    engine = TransformersEngine(wide, PLUS, MINUS)
    prompts = [prompt(*(chain(seed, 40, 3) for seed in range(1, 5)), prefix=100)]
    assert_same(engine.score(prompts), PlainEngine(wide, PLUS, MINUS).score(prompts))
    assert (engine.attention, set(seen)) == (choice[0], {choice[1]})


@pytest.mark.parametrize("settings", [{"deterministic": True}, {"attention": "mask"}])
def test_no_timing_decides_where_the_caller_has_decided(wide, settings, monkeypatch):
    monkeypatch.setattr(engine_module, "fastest_on_cpu", None)
    engine = TransformersEngine(wide, PLUS, MINUS, **settings)
    assert (engine.attention, engine.tile) == (settings.get("attention", "fused"), 64)


def test_the_benchmark_prints_each_choice_and_the_chosen_one(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["cpu_attention", "--shape", "tiny", "--dtypes", "float32"])
    cpu_attention.main()
    said = capsys.readouterr().out
    assert said.startswith("tiny, float32, ")
    assert all(f"{way} {tile}: " in said for way, tile in (FUSED, PATHS))
    assert "; chosen: " in said
