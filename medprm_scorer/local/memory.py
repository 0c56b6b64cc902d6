"""Memory: the token budget of a forward pass, recognizing out-of-memory errors, and the peak memory of some work."""

import ctypes
import gc
import re
from pathlib import Path
from typing import Any

import torch

_MOST_TOKENS = {"cpu": 4096, "cuda": 16384}  # more tokens per pass are no faster
_MOST_TOKENS_ELSEWHERE = 2048  # masks grow with the square of the pass size
MASK_TOKENS = 4096
"""Most tokens of a pass on a GPU if attention needs a mask, which grows with their square."""
_LEAST_TOKENS = 256
_SHARE = 0.25  # of the free memory, for what one pass holds besides the KV cache
# out-of-memory errors of MPS and of the CPU have no exception class
_OUT_OF_MEMORY = re.compile("MPS backend out of memory|can't allocate memory|not enough memory")
_MEMINFO, _STATUS, _CLEAR = Path("/proc/meminfo"), Path("/proc/self/status"), Path("/proc/self/clear_refs")
_CGROUP = Path("/sys/fs/cgroup")


def batch_tokens(config: Any, device: torch.device, dtype: torch.dtype) -> int:
    """The most tokens that a pass should have.

    Args:
        config: The model's configuration; its hidden and intermediate sizes determine the memory per token.
        device: Where it runs.
        dtype: The type of its activations.

    Returns:
        Enough for fast passes on this kind of device, or fewer if free memory is short.
    """
    most = most_tokens(device)
    free = free_memory(device)
    if free is None:
        return most
    return max(min(most, int(free * _SHARE / bytes_per_token(config, dtype))), _LEAST_TOKENS)


def most_tokens(device: torch.device) -> int:
    """Tokens of a fast pass on this kind of device, regardless of free memory."""
    return _MOST_TOKENS.get(device.type, _MOST_TOKENS_ELSEWHERE)


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """The most memory per token while a layer runs: hidden states, two of them in float32, and the MLP."""
    hidden = int(getattr(config, "hidden_size", 4096))
    inside = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    return dtype.itemsize * (6 * hidden + 4 * inside) + 2 * 4 * hidden


def free_memory(device: torch.device) -> int | None:
    """Free bytes of the device, within a container's limit; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    available = _kilobytes(_MEMINFO, "MemAvailable")  # without swapping; includes caches
    limit, used = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    left = None if limit is None or used is None else max(limit - used, 0)
    return min((one for one in (available, left) if one is not None), default=None)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory has run out."""
    return isinstance(error, torch.OutOfMemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


class PeakMemory:
    """`with PeakMemory(device) as peak: …`, then `peak.bytes`: the most memory that the work added.

    On a CPU this is the growth of the process's resident memory. None if it cannot be measured: on a CPU without Linux,
    or with a kernel that does not let a process reset its peak.

    Args:
        device: The device on which the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bytes: int | None = None
        self._before: int | None = None

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        elif self._device.type == "cpu" and _CLEAR.exists():
            ctypes.CDLL(None).malloc_trim(0)  # otherwise memory that is already free would hide some of the growth
            try:
                _CLEAR.write_text("5")  # resets VmHWM (proc(5))
            except OSError:
                return self
            self._before = _kilobytes(_STATUS, "VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            return
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device) - self._before
        elif (most := _kilobytes(_STATUS, "VmHWM")) is not None:
            self.bytes = max(most - self._before, 0)


def _kilobytes(file: Path, field: str) -> int | None:
    """A field `Name:  123 kB` of a file of Linux, in bytes."""
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        return int(lines[field].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
