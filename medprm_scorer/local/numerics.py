"""Settings of the host application must not change rewards: autocast, gradients, the precision of products.

Autocast and the gradient mode belong to a thread, and are disabled while a pass runs. The precision of float32 products
is one setting for all threads: changing it would affect other threads, so a lower precision is refused.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from medprm_scorer.errors import ScoringError

_POSITIONS = 2**14  # more than a pass has


@contextmanager
def fixed_numerics(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Disable autocast and gradients, and refuse products of less than float32's precision for a float32 model.

    Otherwise one caller's settings would change the rewards of all callers that are served in the same batch.

    Args:
        device: The device of the computation.
        dtype: The dtype of the model.

    Raises:
        ScoringError: The process lets PyTorch compute float32 products in TF32 or bfloat16.
    """
    if not _float32_is_whole(device) and (dtype == torch.float32 or not _positions_are_exact(device)):
        raise ScoringError(
            "this process computes float32 products with less than float32 precision, which changes rewards: call "
            'torch.set_float32_matmul_precision("highest"), or load the model in bfloat16'
        )
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for kind in {"cpu", device.type}:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _float32_is_whole(device: torch.device) -> bool:
    """Whether float32 products on the device are computed in float32, which is PyTorch's default."""
    backend = torch.backends.cuda.matmul if device.type == "cuda" else getattr(torch.backends.mkldnn, "matmul", None)
    precision = getattr(backend, "fp32_precision", None)
    if precision is None:  # PyTorch before 2.9
        return torch.get_float32_matmul_precision() == "highest"
    return precision in ("none", "ieee")


def _positions_are_exact(device: torch.device) -> bool:
    """Whether positions stay exact in the one float32 product of a half-precision Llama, with frequencies."""
    positions = torch.arange(_POSITIONS, dtype=torch.float32, device=device)[None, None]  # (1, 1, positions)
    ones = torch.ones(1, 64, 1, dtype=torch.float32, device=device)  # (1, frequencies, 1)
    with torch.autocast(device.type, enabled=False):
        return bool((ones @ positions == positions).all())
