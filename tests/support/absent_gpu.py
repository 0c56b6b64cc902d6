"""An NVIDIA GPU that is not there: PyTorch makes its code of `flex_attention`, which is then compiled, or interpreted.

    with absent_gpu((8, 0)) as gpu:
        graph = gpu.compile_flex(torch.bfloat16, heads=32, kv_heads=8, head_dim=128, scale=0.09)
    gpu.kernels[0].compile_for((8, 0))

The shapes are the engine's own: its warm-up is what is compiled. In a process that has TRITON_INTERPRET=1 from its
start, what was compiled takes CPU tensors, and Triton's interpreter runs its kernels. It needs Triton, which brings
NVIDIA's assembler (ptxas), and of a GPU shows neither speed, nor races, nor what the driver does.
"""

import importlib.util
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from medprm_scorer.local import flex
from tests.support.simulated_cuda import cpu_guard

SHARED_MEMORY = {(8, 0): 166_912, (8, 6): 101_376, (9, 0): 232_448}
"""Bytes of shared memory that a block of threads may have, by compute capability (CUDA's programming guide)."""
_NUMBERS = itertools.count()


@dataclass
class Kernel:
    """A kernel's Triton code as PyTorch has made it.

    Args:
        name: Its name.
        source: A Python module.
    """

    name: str
    source: str

    def compile_for(self, capability: tuple[int, int]) -> Any:
        """To machine code; gives what Triton gives: `asm["cubin"]`, `metadata.shared`."""
        import triton
        from torch._inductor.runtime import triton_heuristics
        from triton.backends.compiler import GPUTarget

        with patch.object(triton_heuristics, "template", lambda **settings: lambda function: (function, settings)):
            function, settings = getattr(self._module(), self.name)
        made = settings["triton_meta"]
        source = triton.compiler.ASTSource(function, made["signature"], made["constants"], made["configs"][0])
        options = {name: settings[name] for name in ("num_warps", "num_stages")}
        return triton.compile(source, target=GPUTarget("cuda", 10 * capability[0] + capability[1], 32), options=options)

    def run(self, *given: Any, stream: Any) -> None:
        """In Triton's interpreter; as PyTorch's own launcher. The last three are the grid."""
        del stream
        *given, x, y, z = given  # type: ignore[assignment]
        if any(isinstance(one, torch._subclasses.FakeTensor) for one in given):
            return  # numbers are not there yet
        from torch._inductor.runtime import triton_heuristics

        with patch.object(triton_heuristics, "template", lambda **_: lambda function: function):
            getattr(self._module(), self.name)[x, y, z](*given)

    def _module(self) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"kernel_{next(_NUMBERS)}.py"
            file.write_text(self.source, encoding="utf-8")
            spec = importlib.util.spec_from_file_location(file.stem, file)
            assert spec is not None
            module = importlib.util.module_from_spec(spec)
            assert spec.loader is not None
            spec.loader.exec_module(module)
        return module


@dataclass
class AbsentGpu:
    """See the module.

    Attributes:
        kernels: All that were made so far.
    """

    kernels: list[Kernel] = field(default_factory=list)

    def compile_flex(
        self, dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int, scale: float
    ) -> Callable[..., Any]:
        """What the engine compiles before its first pass; gives the one graph."""
        from torch._inductor.compile_fx import compile_fx
        from torch.nn.attention import flex_attention as module

        made: list[Any] = []

        def compiler(graph: Any, inputs: Any) -> Any:
            made.append(compile_fx(graph, inputs))
            return made[-1]

        torch.compiler.reset()
        run = torch.compile(module.flex_attention, backend=compiler, dynamic=True, fullgraph=True)
        with FakeTensorMode():
            flex._warm_up.__wrapped__(run, torch.device("cuda:0"), dtype, heads, kv_heads, head_dim, scale)
        (graph,) = made
        return graph  # type: ignore[no-any-return]


@contextmanager
def absent_gpu(capability: tuple[int, int]) -> Iterator[AbsentGpu]:
    """The GPU, while the `with` lasts, for PyTorch's compiler. Nothing that it compiles is kept."""
    import torch._inductor.scheduler as scheduler
    import triton
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor import config
    from torch._inductor.async_compile import AsyncCompile
    from torch._inductor.runtime.hints import DeviceProperties
    from triton.backends.compiler import GPUTarget

    gpu = AbsentGpu()
    major, minor = capability
    properties = SimpleNamespace(
        major=major, minor=minor, multi_processor_count=100, regs_per_multiprocessor=65536, warp_size=32,
        max_threads_per_multi_processor=2048, max_threads_per_block=1024, total_memory=80 << 30,
        shared_memory_per_block_optin=SHARED_MEMORY[capability], gcnArchName="", name="absent",
    )  # fmt: skip
    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 10 * major + minor, 32), get_current_device=lambda: 0
    )

    def keep(_compiler: Any, name: str, source: str, device_str: str = "cuda") -> Kernel:
        assert device_str == "cuda"
        gpu.kernels.append(Kernel(name, source))
        return gpu.kernels[-1]

    def take_memory(size: Any, stride: Any, dtype: torch.dtype) -> Tensor:
        """As of a GPU: of any content, so that what a kernel leaves out is seen."""
        taken = torch.empty_strided(size, stride, dtype=dtype, device="cpu")
        return taken.fill_(torch.nan) if dtype.is_floating_point else taken

    replaced = [
        (torch.cuda, "_lazy_init", lambda: None),
        (torch.cuda, "get_device_capability", lambda *_: capability),
        (torch.cuda, "get_device_properties", lambda *_: properties),
        (torch.cuda, "current_device", lambda: 0),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "set_device", lambda _: None),
        (torch.cuda, "_DeviceGuard", lambda _: nullcontext()),
        (torch._C, "_cuda_getCurrentRawStream", lambda _: 0),
        (torch._C._dynamo.guards, "_empty_strided_cuda", take_memory),
        (CudaInterface, "get_device_properties", lambda *_: properties),
        (CudaInterface, "is_bf16_supported", lambda *_, **__: True),
        (scheduler, "has_triton", lambda: True),
        (triton.runtime.driver, "_active", driver),
        (AsyncCompile, "triton", keep),
    ]
    DeviceProperties.create.cache_clear()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        kept = {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": folder}
        stack.enter_context(patch.dict(os.environ, kept))
        stack.enter_context(config.patch(compile_threads=1, force_disable_caches=True))
        stack.enter_context(cpu_guard())
        for where, name, value in replaced:
            made = staticmethod(value) if where is CudaInterface else value
            stack.enter_context(patch.object(where, name, made, create=name == "_cuda_getCurrentRawStream"))
        yield gpu
    DeviceProperties.create.cache_clear()
