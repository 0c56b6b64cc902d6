"""Peak memory of a piece of work, above what was held before it."""

import ctypes
import gc
import sys
import threading
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """`with PeakMemory(device) as peak: …`, then `peak.bytes`; None where it cannot be known (a CPU outside Linux).

    On a CPU it is the growth of the process's resident memory, polled where the kernel keeps no resettable peak.

    Args:
        device: What the work runs on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bytes: int | None = None
        self._before = self._most = 0
        self._done = threading.Event()

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        elif self._device.type == "cpu" and sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # else memory that is free already would hide some of the growth
            self._before = _resident("VmRSS")
            try:
                _CLEAR.write_text("5")
                self._poller = None
            except OSError:
                self._poller = threading.Thread(target=self._poll, daemon=True)
                self._poller.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device) - self._before
        elif self._device.type == "cpu" and sys.platform == "linux":
            self._done.set()
            if self._poller is None:
                self._most = _resident("VmHWM")
            else:
                self._poller.join()
            self.bytes = max(self._most - self._before, 0)

    def _poll(self) -> None:
        while not self._done.wait(0.002):
            self._most = max(self._most, _resident("VmRSS"))


def _resident(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0
