"""The attention that PyTorch compiles, for GPUs that are not there: its code for each card, and its numbers."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from tests.support.simulated_cuda import can_simulate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton"),
    pytest.mark.skipif(not can_simulate(), reason="needs Linux, a recent PyTorch, and no GPU"),
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (9, 0)])
def test_the_attention_of_the_released_model_is_one_kernel_that_compiles_and_fits_the_card(capability, dtype):
    from tests.support.absent_gpu import SHARED_MEMORY, absent_gpu

    with absent_gpu(capability) as gpu:
        gpu.compile_flex(dtype, heads=32, kv_heads=8, head_dim=128, scale=128**-0.5)
        (kernel,) = gpu.kernels
        made = kernel.compile_for(capability)
    assert f".target sm_{capability[0]}{capability[1]}" in made.asm["ptx"]
    assert made.asm["cubin"].startswith(b"\x7fELF")
    assert 0 < made.metadata.shared <= SHARED_MEMORY[capability]
    assert "mma" in made.asm["ptx"]  # matrix units are used


@pytest.mark.parametrize(("dtype", "largest"), [("float32", 2e-6), ("float16", 0.01)])
def test_in_the_interpreter_its_kernel_gives_the_plain_twins_numbers(dtype, largest):
    """In a process of its own: Triton reads the variable when it is imported."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.interpreted_flex", dtype, "8", "0"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert len(found["kernels"]) == 1
    assert len(found["gaps"]) > 5
    assert all(gap <= largest for gap in found["gaps"].values()), found  # NaN, which is what was not written, is not
