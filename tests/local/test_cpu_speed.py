"""The attention of a CPU is chosen by a measurement, which noise does not decide; rewards change by rounding only."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import cpu_attention
from medprm_scorer.local import attention, cpu_speed
from medprm_scorer.local import engine as engine_module
from medprm_scorer.local.cpu_speed import chosen, fastest_on_cpu, measured, usual_on_cpu
from medprm_scorer.local.engine import PlainEngine, TransformersEngine
from tests.local.test_engine import MINUS, PLUS, assert_same, chain, model, prompt

FUSED, PATHS, LARGER, LARGEST = (("fused", 64), ("paths", 64), ("paths", 128), ("paths", 256))
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


def test_the_clearly_fastest_is_taken_by_its_best_round():
    machine = Machine({FUSED: [9, 5, 5], PATHS: [5, 5, 5], LARGER: [30, 2, 3], LARGEST: [5, 5, 5]})
    assert machine.chosen(PATHS) == LARGER
    assert len(machine.tried) == 12


@pytest.mark.parametrize("usual", [FUSED, PATHS])
def test_the_usual_one_stays_if_none_is_clearly_faster(usual):
    machine = Machine({FUSED: [1.0] * 3, PATHS: [1.05] * 3, LARGER: [0.96] * 3, LARGEST: [2.0] * 3})
    assert machine.chosen(usual) == usual


def test_a_hopeless_way_is_tried_once_whatever_its_tile():
    machine = Machine({FUSED: [1, 1, 1], PATHS: [25]})
    assert machine.chosen(PATHS) == FUSED
    assert machine.tried == [FUSED, PATHS, FUSED, FUSED]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_wide_model_is_measured_once_in_a_process(dtype, monkeypatch):
    calls = []
    real = cpu_speed.chosen
    monkeypatch.setattr(cpu_speed, "chosen", lambda times, usual: calls.append(usual) or real(times, usual))
    cpu_speed._fastest.cache_clear()
    found = [fastest_on_cpu(WIDE, dtype) for _ in range(3)]
    assert found[0] in cpu_speed._CHOICES
    assert found[0] == found[1] == found[2]
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
