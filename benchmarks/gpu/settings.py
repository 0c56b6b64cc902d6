"""What the kit measures with: the real shape on a GPU, a tiny one on a CPU, which shows that the kit itself works."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from medprm_scorer.local.loading import choose_dtype


@dataclass(frozen=True)
class Settings:
    """The settings of the measurements.

    Args:
        device: Such as `cuda` or `cpu`.
        tiny: Whether to take the smallest sizes: for the tests, and for machines without a GPU.
    """

    device: str = "cuda"
    tiny: bool = False

    @property
    def on(self) -> torch.device:
        """The device."""
        return torch.device(self.device)

    @property
    def dtype(self) -> str:
        """The 16-bit dtype that a GPU is given by default, in words; bfloat16 on a CPU."""
        default = choose_dtype(None, self.on)
        return str(torch.bfloat16 if default == torch.float32 else default).removeprefix("torch.")

    @property
    def shape(self) -> str:
        """The model that is timed: one of `workload.SHAPES`."""
        return "tiny" if self.tiny else "8b"

    @property
    def narrow(self) -> str:
        """The model for what would take too long at the whole size: two layers of the same width."""
        return "tiny" if self.tiny else "8b-2"

    @property
    def candidates(self) -> tuple[int, ...]:
        """Numbers of candidates N."""
        return (1, 2) if self.tiny else (1, 4, 16, 64)

    @property
    def document_tokens(self) -> int:
        """Tokens of documents of a question."""
        return 60 if self.tiny else 3000

    @property
    def requests(self) -> int:
        """Requests of random shapes."""
        return 3 if self.tiny else 500

    @property
    def rounds(self) -> int:
        """How often each method is timed."""
        return 1 if self.tiny else 3

    def named(self) -> dict[str, Any]:
        """For the JSON: results of other settings are not reused."""
        return asdict(self)
