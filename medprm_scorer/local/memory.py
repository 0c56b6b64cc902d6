"""How much work fits a device at once: free memory, tokens per pass, and what running out of memory looks like."""

import re
from pathlib import Path
from typing import Any

import torch

_MOST_TOKENS = {"cpu": 4096, "cuda": 16384}  # more tokens a pass make it no faster
_MOST_TOKENS_ELSEWHERE = 2048  # masks grow with the square of a pass
_LEAST_TOKENS = 256
_SHARE = 0.25  # of the free memory, for what one pass holds beside the keys and values that are kept
# errors of MPS and of the CPU that have no class of their own
_OUT_OF_MEMORY = re.compile("MPS backend out of memory|can't allocate memory|not enough memory")


def batch_tokens(config: Any, device: torch.device, dtype: torch.dtype) -> int:
    """Most tokens that a pass should have.

    Args:
        config: The model's; its hidden and intermediate sizes say what a token takes.
        device: Where it runs.
        dtype: In what it computes.

    Returns:
        As many as make passes fast on this kind of device, or less if the free memory is short.
    """
    most = _MOST_TOKENS.get(device.type, _MOST_TOKENS_ELSEWHERE)
    free = free_memory(device)
    if free is None:
        return most
    return max(min(most, int(free * _SHARE / bytes_per_token(config, dtype))), _LEAST_TOKENS)


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """What a token takes at most while a layer runs: hidden states, two of them in float32, and the MLP's inside."""
    hidden = int(getattr(config, "hidden_size", 4096))
    inside = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    return dtype.itemsize * (6 * hidden + 4 * inside) + 2 * 4 * hidden


def free_memory(device: torch.device) -> int | None:
    """Free bytes of the device, as far as it can be known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    found = [_available_memory()]
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:  # a container's limit
        found.append(max(limit - used, 0))
    known = [one for one in found if one is not None]
    return min(known) if known else None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory has run out."""
    return isinstance(error, torch.OutOfMemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def _available_memory() -> int | None:
    """What Linux could give without swapping, caches included."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
