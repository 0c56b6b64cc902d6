"""The plain twin of the transformers engine: nothing packed, nothing shared, the model's own attention."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.engine import Rewards
from medprm_scorer.local.reward_head import RewardHead


class PlainEngine:
    """One candidate at a time, the whole prompt each time, nothing shared; see `Engine` for the protocol.

    For tests and for doubt; it reads the documents anew for every candidate.
    """

    def __init__(self, model: Any, positive_id: int, negative_id: int) -> None:
        self._decoder = model.get_decoder()
        self._head = RewardHead(model, positive_id, negative_id)
        self._device = self._head.device
        self.max_tokens = int(model.config.max_position_embeddings)
        self.name = f"plain ({self._device.type}, {str(model.dtype).removeprefix('torch.')})"
        self.fingerprint = fingerprint(model)

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score every chain of every prompt; see `Engine.score`."""
        with torch.inference_mode():
            return [[self._score_chain(prompt.prefix, chain) for chain in prompt.chains] for prompt in prompts]

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """As `score`, in a worker thread, so that the event loop stays free."""
        return await asyncio.to_thread(self.score, prompts)

    def _score_chain(self, prefix: Sequence[int], chain: EncodedChain) -> list[float]:
        ids = torch.tensor([[*prefix, *chain.ids]], device=self._device)
        hidden = self._decoder(input_ids=ids, use_cache=False).last_hidden_state[0]
        rewards: list[float] = self._head(hidden[[len(prefix) + tag for tag in chain.tags]]).tolist()
        return rewards


def fingerprint(model: Any) -> str:
    """A hash of the names, shapes and 64 spread-out numbers of every weight: any training moves some of them."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        for part in _parts(weight.detach()):
            flat = part.flatten()
            places = torch.linspace(0, len(flat) - 1, min(64, len(flat)), dtype=torch.float64).long()
            # in bfloat16 steps, so that float32 and bfloat16 copies of the released weights are one model
            sampled = flat[places.to(flat.device)].to(torch.bfloat16).float().cpu().tolist()
            digest.update(f"{name} {tuple(part.shape)} {sampled}".encode())
    return digest.hexdigest()[:16]


def _parts(weight: Any) -> Iterator[Tensor]:
    """The plain tensors that a weight consists of: several, numbers and their scales, if it is quantized."""
    if not hasattr(weight, "__tensor_flatten__"):  # PyTorch's protocol of tensors that are made of others
        yield weight
        return
    for name in weight.__tensor_flatten__()[0]:
        yield from _parts(getattr(weight, name))
