"""The plain reference for the transformers engine: no packing, no sharing, the model's own attention."""

import asyncio
from collections.abc import Sequence
from typing import Any

import torch

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.engine import Rewards
from medprm_scorer.local.loading import fingerprint
from medprm_scorer.local.numerics import fixed_numerics
from medprm_scorer.local.reward_head import RewardHead


class PlainEngine:
    """One candidate at a time, the whole prompt each time, nothing shared; see `Engine` for the protocol.

    For tests and for checking doubtful results; it reads the documents again for every candidate.
    """

    def __init__(self, model: Any, positive_id: int, negative_id: int) -> None:
        self._decoder = model.get_decoder()
        self._head = RewardHead(model, positive_id, negative_id)
        self._device, self._dtype = self._head.device, model.dtype
        self.max_tokens = int(model.config.max_position_embeddings)
        self.name = f"plain ({self._device.type}, {str(model.dtype).removeprefix('torch.')})"
        self.fingerprint = fingerprint(model)

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score every chain of every prompt; see `Engine.score`."""
        with fixed_numerics(self._device, self._dtype):
            return [[self._score_chain(prompt.prefix, chain) for chain in prompt.chains] for prompt in prompts]

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """`score`, in a worker thread, so that the event loop is not blocked."""
        return await asyncio.to_thread(self.score, prompts)

    def _score_chain(self, prefix: Sequence[int], chain: EncodedChain) -> list[float]:
        ids = torch.tensor([[*prefix, *chain.ids]], device=self._device)  # (1, tokens)
        hidden = self._decoder(input_ids=ids, use_cache=False).last_hidden_state[0]  # (tokens, hidden_size)
        rewards: list[float] = self._head(hidden[[len(prefix) + tag for tag in chain.tags]]).tolist()
        return rewards
