"""An allocator with a limit: what tensors hold at a time is counted; beyond the limit PyTorch's own error is raised."""

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class ScarceMemory(TorchDispatchMode):
    """`with ScarceMemory(most) as memory: …`; of this thread, what is made inside counts, and only while it is held.

    Args:
        most: Limit in bytes.

    Attributes:
        peak: Most bytes that were held at a time.
        failures: How often there was no more.
    """

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__()
        self.most, self.peak, self.failures = most, 0, 0
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        self._held = {key: one for key, one in self._held.items() if not one[0].expired()}
        return sum(size for _, size in self._held.values())

    def __torch_dispatch__(self, operation: Any, _types: Any, given: Any = (), named: Any = None) -> Any:
        """Count what an operation makes."""
        before = {one.untyped_storage()._cdata for one in tree_leaves((given, named)) if isinstance(one, Tensor)}
        result = operation(*given, **(named or {}))
        for one in tree_leaves(result):
            if isinstance(one, Tensor) and one.untyped_storage()._cdata not in before:
                storage = one.untyped_storage()
                self._held[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        held = self.held
        self.peak = max(self.peak, held)
        if held > self.most:
            self.failures += 1
            raise torch.OutOfMemoryError("out of memory")
        return result
