"""The whole engine on a CUDA device that is simulated: no mix-up of devices, no waiting inside a pass."""

import pytest
import torch

from medprm_scorer.local import engine as engine_module
from medprm_scorer.local import reward_head
from medprm_scorer.local.engine import PlainEngine, TransformersEngine
from tests.local.test_engine import MINUS, PLUS, assert_same, chain, model, prompt
from tests.support.simulated_cuda import OnDevice, can_simulate, simulated_cuda

pytestmark = pytest.mark.skipif(not can_simulate(), reason="needs Linux, a recent PyTorch, and no GPU")

ASKED = [prompt(*(chain(seed, 40, 3) for seed in range(1, 9)), prefix=150), prompt(chain(3, 30, 3), prefix=60)]
RUNS = {100: (6, 2), 2048: (1, 1)}  # passes and calls of the engine, by budget


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(engine_module, "batch_tokens", lambda *_: 2048)
    with simulated_cuda() as device, monkeypatch.context() as patch:
        patch.setattr(reward_head, "Tensor", OnDevice)  # which it would take for quantized weights
        yield device


@pytest.fixture(scope="module")
def exact():
    return PlainEngine(model(), PLUS, MINUS).score(ASKED)


@pytest.mark.parametrize("budget", RUNS)
@pytest.mark.parametrize("way", ["cascade", "mask"])
def test_rewards_are_the_cpus_with_one_copy_a_row_and_one_wait_a_pass(way, budget, exact, cuda):
    engine = TransformersEngine(cuda.move(model()), PLUS, MINUS, budget, way)
    assert engine.name.startswith("transformers (cuda")
    engine.score(ASKED)  # what is found out once is found out
    cuda.reset()
    assert_same(engine.score(ASKED), exact)
    copies = {line: count for line, count in cuda.copies.items() if not line.startswith("support/varlen")}
    waits = {line: count for line, count in cuda.waits.items() if not line.startswith("support/varlen")}
    assert copies == {"local/row.py:_copied": RUNS[budget][0]}
    assert waits == {"local/engine.py:run": RUNS[budget][1]}


def test_a_session_waits_once_for_each_call(exact, cuda):
    engine = TransformersEngine(cuda.move(model()), PLUS, MINUS, attention="cascade")
    session = engine.open_session(ASKED[0].prefix)
    session.score(ASKED[0].chains[:3])
    cuda.reset()
    found = session.score(ASKED[0].chains)
    assert_same([found], [exact[0]])
    assert sum(count for line, count in cuda.waits.items() if not line.startswith("support/varlen")) == 1


def test_more_layers_cost_launches_but_no_copies_and_no_waits(cuda):
    counted = []
    for layers in (2, 5):
        engine = TransformersEngine(cuda.move(model(num_hidden_layers=layers)), PLUS, MINUS, attention="mask")
        cuda.reset()
        engine.score(ASKED)
        counted.append((cuda.copies.total(), cuda.waits.total(), cuda.launches))
    (copies, waits, few), (more_copies, more_waits, many) = counted
    assert (copies, waits) == (more_copies, more_waits)
    assert few < many < few + 3 * 150


def test_the_device_refuses_what_cuda_refuses_and_counts_what_makes_it_wait(cuda):
    """Else the tests above could not fail."""
    here, there = torch.ones(3), torch.ones(3, device="cuda:0")
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    cuda.reset()
    assert there.sum().item() == 3
    assert (there > 0).nonzero().shape == (3, 1)
    assert there.cpu().tolist() == [1, 1, 1]
    assert there[there > 0].shape == (3,)
    assert cuda.waits.total() == 4
    torch.tensor([1, 2]).to("cuda:0")
    assert cuda.copies.total() == 1
    torch.tensor([1, 2], device="cuda:0")
    assert cuda.copies.total() == 2
    there[torch.tensor([0, 1])]
    assert cuda.copies.total() == 3
