"""The engine that runs a transformers causal language model in this process.

Each question's prefix (system prompt, documents, question) is computed once. Its candidates are then laid one behind
the other in a single row, without padding: every candidate starts again at the position where the prefix ended, and a
mask lets it see the prefix and itself only. So the model runs each unique token once, and each reward is the one that
the candidate would have alone. `PlainEngine` is the simple twin that tests hold this to.
"""

import asyncio
import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.engine import Rewards
from medprm_scorer.errors import InputError, ModelError, ScoringError
from medprm_scorer.reward_head import RewardHead

_DEFAULT_BATCH_TOKENS = {"cpu": 2048}  # a row's attention mask grows with its square: short rows waste less
_DEFAULT_BATCH_TOKENS_GPU = 8192
_SMALLEST_BATCH = 64
# errors of MPS and of the CPU that have no class of their own
_OUT_OF_MEMORY = re.compile("MPS backend out of memory|can't allocate memory|not enough memory")
_NOISE = {torch.float32: 1e-3}  # 0.1 in half precision: far above rounding, far below a wrong mask
_Result = TypeVar("_Result")


class TransformersEngine:
    """Scores prompts with a transformers model; see `Engine` for the protocol.

    Safe to call from many threads: calls take turns on the model.

    Args:
        model: A causal language model with full causal attention (Llama and its like), on its device, in its dtype.
        positive_id: Id of the label " +".
        negative_id: Id of the label " -".
        max_batch_tokens: Most tokens in one pass; a longer candidate runs alone, in pieces. None chooses by device.
            When memory runs out the budget is halved, for the engine's lifetime, and the pass is done again.

    Raises:
        ModelError: The model cannot be used this way.
        InputError: `max_batch_tokens` is not positive.
    """

    def __init__(self, model: Any, positive_id: int, negative_id: int, max_batch_tokens: int | None = None) -> None:
        if max_batch_tokens is not None and not (isinstance(max_batch_tokens, int) and max_batch_tokens >= 1):
            raise InputError("max_batch_tokens must be a whole number of at least 1")
        _check_attention(model.config)
        self._model, self._label_ids = model, (positive_id, negative_id)
        self._decoder = model.get_decoder()
        self._config = model.config
        self._head = RewardHead(model, positive_id, negative_id)
        self._device = self._head.device
        self._dtype: torch.dtype = model.dtype
        self._lock = threading.Lock()
        self.max_batch_tokens = max_batch_tokens or _DEFAULT_BATCH_TOKENS.get(
            self._device.type, _DEFAULT_BATCH_TOKENS_GPU
        )
        self.max_tokens = int(model.config.max_position_embeddings)
        self.name = f"transformers ({self._device.type}, {str(self._dtype).removeprefix('torch.')})"
        self.fingerprint = _fingerprint(model)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def check_against_plain(self, prompt: EncodedPrompt) -> None:
        """Hold the shared prefix to the plain way on one prompt, so that no unsuited model gives out rewards.

        Raises:
            ModelError: The rewards differ by more than the dtype's noise, or the model cannot be run like this.
        """
        plain = PlainEngine(self._model, *self._label_ids)
        try:
            ours, twin = self.score([prompt])[0], plain.score([prompt])[0]
        except (AttributeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            raise ModelError(f"this kind of model cannot share a prefix among candidates ({error})") from error
        gap = max(abs(a - b) for one, two in zip(ours, twin, strict=True) for a, b in zip(one, two, strict=True))
        if gap > _NOISE.get(self._dtype, 0.1):
            raise ModelError(f"this kind of model gives other rewards when candidates share a prefix (by {gap:.3f})")

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score every chain of every prompt; see `Engine.score`."""
        with self._lock, torch.inference_mode():
            return [self._score_prompt(prompt) for prompt in prompts]

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """As `score`, in a worker thread, so that the event loop stays free."""
        return await asyncio.to_thread(self.score, prompts)

    def _score_prompt(self, prompt: EncodedPrompt) -> list[list[float]]:
        if not prompt.chains:
            return []
        distinct = list(dict.fromkeys(prompt.chains))  # identical candidates are run once
        prefix = self._within_memory(partial(self._run_prefix, prompt.prefix))
        rewards: dict[EncodedChain, list[float]] = {}
        while len(rewards) < len(distinct):
            work = partial(self._run_chains, distinct[len(rewards) :], prefix, len(prompt.prefix))
            rewards.update(self._within_memory(work))
        return [rewards[chain] for chain in prompt.chains]

    def _run_prefix(self, ids: Sequence[int]) -> "_SharedPrefix":
        """Keys and values of the prefix, computed in pieces that respect the budget."""
        cache = DynamicCache(config=self._config)
        for done in range(0, len(ids), self.max_batch_tokens):
            piece = ids[done : done + self.max_batch_tokens]
            mask = self._mask(done, [len(piece)]) if done else None
            self._run(piece, torch.arange(done, done + len(piece)), mask, cache)
        return _SharedPrefix(cache, self._config)

    def _run_chains(
        self, chains: Sequence[EncodedChain], prefix: "_SharedPrefix", start: int
    ) -> dict[EncodedChain, list[float]]:
        """Rewards of the first chains, as many as fit the budget, laid one behind the other after the prefix."""
        chains = _take(chains, self.max_batch_tokens)
        if len(chains[0].ids) > self.max_batch_tokens:
            return {chains[0]: self._run_long_chain(chains[0], prefix, start)}
        lengths = [len(chain.ids) for chain in chains]
        ids = [id_ for chain in chains for id_ in chain.ids]
        positions = torch.cat([torch.arange(start, start + length) for length in lengths])
        hidden = self._run(ids, positions, self._mask(start, lengths), prefix)
        offsets = [sum(lengths[:place]) for place in range(len(chains))]
        places = [offset + tag for offset, chain in zip(offsets, chains, strict=True) for tag in chain.tags]
        flat = iter(self._head(hidden[torch.tensor(places, device=self._device)]).tolist())
        return {chain: [next(flat) for _ in chain.tags] for chain in chains}

    def _run_long_chain(self, chain: EncodedChain, prefix: "_SharedPrefix", start: int) -> list[float]:
        """Rewards of one chain that is longer than the budget, computed in pieces behind a copy of the prefix."""
        cache = DynamicCache(config=self._config)
        for place, layer in enumerate(prefix.layers):
            cache.update(layer.keys, layer.values, place)
        rewards: list[float] = []
        for done in range(0, len(chain.ids), self.max_batch_tokens):
            piece = chain.ids[done : done + self.max_batch_tokens]
            positions = torch.arange(start + done, start + done + len(piece))
            hidden = self._run(piece, positions, self._mask(start + done, [len(piece)]), cache)
            places = [tag - done for tag in chain.tags if done <= tag < done + len(piece)]
            rewards += self._head(hidden[torch.tensor(places, dtype=torch.long, device=self._device)]).tolist()
        return rewards

    def _run(self, ids: Sequence[int], positions: Tensor, mask: Tensor | None, cache: DynamicCache) -> Tensor:
        """Final hidden states, shape (tokens, hidden size), of one row of tokens; the cache grows by them."""
        output = self._decoder(
            input_ids=torch.tensor([ids], device=self._device),
            position_ids=positions[None].to(self._device),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def _mask(self, start: int, lengths: Sequence[int]) -> Tensor:
        """What each token of a row may see: the first `start` places, and the tokens up to it in its own piece.

        Returns:
            Additive mask in the model's dtype, shape (1, 1, tokens, start + tokens): 0, or the lowest number to hide.
        """
        total = sum(lengths)
        owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(self._device)
        places = torch.arange(total, device=self._device)
        seen = (owner[:, None] == owner[None, :]) & (places[:, None] >= places[None, :])
        mask = torch.zeros(total, start + total, dtype=self._dtype, device=self._device)
        mask[:, start:].masked_fill_(~seen, torch.finfo(self._dtype).min)
        return mask[None, None]

    def _within_memory(self, work: Callable[[], _Result]) -> _Result:
        """Do the work; whenever memory runs out, halve the budget and do it again."""
        given = self.max_batch_tokens
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and not _OUT_OF_MEMORY.search(str(error)):
                    raise
                if self.max_batch_tokens <= _SMALLEST_BATCH:
                    smallest, self.max_batch_tokens = self.max_batch_tokens, given
                    raise ScoringError(
                        f"the {self._device.type} device ran out of memory even with {smallest} tokens a "
                        "pass: use shorter documents, a smaller dtype or a larger device"
                    ) from None
            self.max_batch_tokens //= 2
            if self._device.type == "cuda":
                torch.cuda.empty_cache()


class _SharedPrefix(DynamicCache):  # type: ignore[misc]
    """The prefix's keys and values, read by every pass and changed by none."""

    def __init__(self, computed: DynamicCache, config: Any) -> None:
        super().__init__(config=config)
        self.layers = computed.layers

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """The layer's keys and values with the row's own behind them; nothing is kept."""
        held = self.layers[layer]
        return torch.cat([held.keys, keys], -2), torch.cat([held.values, values], -2)


class PlainEngine:
    """The plain twin of `TransformersEngine`: one candidate at a time, the whole prompt each time, nothing shared.

    For tests and for doubt; it reads the documents anew for every candidate.
    """

    def __init__(self, model: Any, positive_id: int, negative_id: int) -> None:
        self._decoder = model.get_decoder()
        self._head = RewardHead(model, positive_id, negative_id)
        self._device = self._head.device
        self.max_tokens = int(model.config.max_position_embeddings)
        self.name = f"plain ({self._device.type}, {str(model.dtype).removeprefix('torch.')})"
        self.fingerprint = _fingerprint(model)

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score every chain of every prompt; see `Engine.score`."""
        with torch.inference_mode():
            return [[self._score_chain(prompt.prefix, chain) for chain in prompt.chains] for prompt in prompts]

    def _score_chain(self, prefix: Sequence[int], chain: EncodedChain) -> list[float]:
        ids = torch.tensor([[*prefix, *chain.ids]], device=self._device)
        hidden = self._decoder(input_ids=ids, use_cache=False).last_hidden_state[0]
        rewards: list[float] = self._head(hidden[[len(prefix) + tag for tag in chain.tags]]).tolist()
        return rewards


def _fingerprint(model: Any) -> str:
    """A hash of the names, shapes and 64 spread-out numbers of every weight: any training moves some of them."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        flat = weight.detach().flatten()
        places = torch.linspace(0, len(flat) - 1, min(64, len(flat)), dtype=torch.float64).long()
        # in bfloat16 steps, so that float32 and bfloat16 copies of the released weights are one model
        sampled = flat[places.to(flat.device)].to(torch.bfloat16).float().cpu().tolist()
        digest.update(f"{name} {tuple(weight.shape)} {sampled}".encode())
    return digest.hexdigest()[:16]


def _take(chains: Sequence[EncodedChain], budget: int) -> list[EncodedChain]:
    """The first chains that fit the budget together; at least one."""
    taken: list[EncodedChain] = []
    for chain in chains:
        budget -= len(chain.ids)
        if budget < 0 and taken:
            break
        taken.append(chain)
    return taken


def _check_attention(config: Any) -> None:
    """Refuse models whose attention or positions depend on more than what a token may see and where it stands."""
    kinds: Sequence[str] = getattr(config, "layer_types", None) or ()
    if getattr(config, "sliding_window", None) or any(kind != "full_attention" for kind in kinds):
        raise ModelError("the model does not use full attention in every layer, which the shared prefix needs")
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3", "yarn"):
        raise ModelError(f"the model's positions ({rope['rope_type']}) change with the length of the text")
