"""A CUDA device that is not there: tensors that say `cuda:0`, compute on the CPU, and refuse what CUDA refuses.

    with simulated_cuda() as device:
        model = device.move(model)
        ...
    device.waits, device.copies, device.launches

Operations between devices are refused as PyTorch refuses them. Whatever makes the host wait for the device, whatever is
copied between them, and every other operation is counted, with the line that asked for it. Of the real thing it shows
neither speed, nor memory, nor kernels. Write `cuda:0`, never `cuda`: PyTorch asks a guard for a number that is left
out, and here that guard is the CPU's.
"""

import ctypes
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

_CUDA, _CPU = 1, 0  # c10::DeviceType
_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"  # c10::impl::device_guard_impl_registry
aten = torch.ops.aten
_READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default}
"""Operations whose result, or its size, the host has to wait for."""


class OnDevice(Tensor):
    """A tensor that says it is on a CUDA device; `on_cpu` has its numbers."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, real: Tensor, device: torch.device) -> "OnDevice":
        made: OnDevice = Tensor._make_wrapper_subclass(
            cls, real.size(), strides=real.stride(), storage_offset=real.storage_offset(), dtype=real.dtype,
            device=device,
        )  # fmt: skip
        made.on_cpu = real
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.device}, {tuple(self.shape)})"

    def __tensor_flatten__(self) -> Any:
        raise NotImplementedError

    def tolist(self) -> Any:
        """As of any tensor; it waits for the device."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, _types: Any, given: Any = (), named: Any = None) -> Any:
        """Outside the mode nothing is known of the device."""
        raise AssertionError(f"{operation} on a simulated device outside simulated_cuda()")


class SimulatedCuda(TorchDispatchMode):
    """The device; see the module.

    Attributes:
        waits: How often the host waited for the device, by line.
        copies: Copies from the host to the device, by line.
        launches: All operations on the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.launches = 0

    def reset(self) -> None:
        """Count from nothing again."""
        self.waits, self.copies, self.launches = Counter(), Counter(), 0

    def move(self, module: nn.Module, device: str = "cuda:0") -> Any:
        """Put a module's weights and buffers onto the device, as tensors of inference mode, where their views are."""
        with torch.inference_mode():
            return self._move(module, torch.device(device))

    def _move(self, module: nn.Module, device: torch.device) -> Any:
        for one in module.modules():
            for name, weight in list(one._parameters.items()):
                if weight is not None:
                    one._parameters[name] = nn.Parameter(OnDevice(weight.data, device), False)
            for name, buffer in list(one._buffers.items()):
                if buffer is not None:
                    one._buffers[name] = OnDevice(buffer, device)
        return module

    def __torch_dispatch__(self, operation: Any, _types: Any, given: Any = (), named: Any = None) -> Any:
        """Run an operation on the real numbers, if a CUDA device would."""
        named = dict(named or {})
        tensors = [one for one in tree_flatten((given, named))[0] if isinstance(one, Tensor)]
        there = [one for one in tensors if isinstance(one, OnDevice)]
        composite = torch._C._dispatch_has_kernel_for_dispatch_key(operation.name(), "CompositeImplicitAutograd")
        if (
            composite and operation is not aten.scaled_dot_product_attention.default
        ):  # in inference mode such operations come whole
            with self:
                result = operation.decompose(*given, **named)
            if result is not NotImplemented:
                return result
        wanted = torch.device(named["device"]) if named.get("device") is not None else None
        if wanted is not None and wanted.type == "cuda" and wanted.index is None:
            wanted = torch.device("cuda:0")
        copying = operation in (aten._to_copy.default, aten.copy_.default)
        if there and not copying:
            devices = {one.device for one in tensors if one.dim() or isinstance(one, OnDevice)}
            if len(devices) > 1 and operation not in (aten.index.Tensor, aten.index_put_.default):
                raise RuntimeError(f"Expected all tensors to be on the same device, but found {devices} ({operation})")
            if len(devices) > 1:  # indices may lie on the host: they are copied
                self.copies[_line()] += 1
        target = wanted or (there[0].device if there else None)
        if copying:
            source, target = given[0 if operation is aten._to_copy.default else 1], target or given[0].device
            if operation is aten.copy_.default:
                target = given[0].device
            self._count_copy(source.device, target)
        if operation in _READS and there:
            self.waits[_line()] += 1
        if operation is aten.index.Tensor and any(
            isinstance(one, OnDevice) and one.dtype == torch.bool for one in given[1]
        ):
            self.waits[_line()] += 1
        if "device" in named:
            named["device"] = torch.device("cpu")
        named.pop("pin_memory", None)
        real = tree_map(lambda one: one.on_cpu if isinstance(one, OnDevice) else one, (given, named))
        result = operation(*real[0], **real[1])
        if target is None or target.type != "cuda":
            return result
        self.launches += 1
        by_real = {id(one.on_cpu): one for one in there}  # operations in place give back what they were given

        def wrap(one: Any) -> Any:
            if not isinstance(one, Tensor):
                return one
            return by_real[id(one)] if id(one) in by_real else OnDevice(one, target)

        return tree_map(wrap, result)

    def _count_copy(self, source: torch.device, target: torch.device) -> None:
        if source.type == "cuda" and target.type == "cpu":
            self.waits[_line()] += 1
        if source.type == "cpu" and target.type == "cuda":
            self.copies[_line()] += 1


@contextmanager
def simulated_cuda() -> Iterator[SimulatedCuda]:
    """The device, while the `with` lasts."""
    lifts, start = torch._C._only_lift_cpu_tensors(), torch.cuda._lazy_init
    torch.cuda._lazy_init = lambda: None
    torch._C._set_only_lift_cpu_tensors(True)  # so that torch.tensor(…, device="cuda") goes through the mode
    try:
        with cpu_guard(), SimulatedCuda() as device:
            yield device
    finally:
        torch._C._set_only_lift_cpu_tensors(lifts)
        torch.cuda._lazy_init = start


@contextmanager
def cpu_guard() -> Iterator[None]:
    """Let the CPU's device guard serve CUDA, too, where PyTorch was built without any; only tensors without memory."""
    registry = (ctypes.c_void_p * 32).in_dll(_core(), _REGISTRY)
    before, registry[_CUDA] = registry[_CUDA], registry[_CPU] if registry[_CUDA] is None else registry[_CUDA]
    try:
        yield
    finally:
        registry[_CUDA] = before


def _core() -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))


def can_simulate() -> bool:
    """Whether this build of PyTorch can: on Linux, without a CUDA device of its own."""
    return sys.platform == "linux" and not torch.cuda.is_available() and hasattr(torch._C, "_only_lift_cpu_tensors")


def _line() -> str:
    """The innermost line outside PyTorch and this file."""
    for frame in reversed(traceback.extract_stack()):
        if "/torch/" not in frame.filename and frame.filename != __file__:
            return f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.name}"
    return "?"
