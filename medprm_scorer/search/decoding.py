"""Next-token logits of chains after one prompt: with a KV cache that the chains share, and without one."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

_MOST_TOKENS = 16384  # in a cache; above this, tokens that no chain of the latest call sees are dropped
_NOISE = {torch.float32: 1e-3}  # largest difference of a probability; 0.05 in half precision


class Decoder(Protocol):
    """Chains after one prompt, as token ids."""

    def start(self, chains: Sequence[tuple[int, ...]], n: int) -> Tensor:
        """Begin `n` rows for each chain, in order; returns their next-token logits, shape (rows, vocabulary)."""
        ...

    def advance(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Continue some of the current rows, given by index, each with a new token; returns logits as `start` does."""
        ...

    def keep(self, row: int, chain: tuple[int, ...]) -> None:
        """Keep a current row, which is now this chain; the model has not run its last token yet."""
        ...


class PlainDecoder:
    """Recomputes everything, one row after the other.

    Args:
        model: The model.
        prompt: Token ids of the prompt.
    """

    def __init__(self, model: Any, prompt: tuple[int, ...]) -> None:
        self._model, self._prompt = model, prompt
        self._rows: list[tuple[int, ...]] = []

    def start(self, chains: Sequence[tuple[int, ...]], n: int) -> Tensor:
        """See `Decoder.start`."""
        self._rows = [chain for chain in chains for _ in range(n)]
        return self._logits()

    def advance(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """See `Decoder.advance`."""
        self._rows = [(*self._rows[row], token) for row, token in zip(rows, tokens, strict=True)]
        return self._logits()

    def keep(self, row: int, chain: tuple[int, ...]) -> None:
        """See `Decoder.keep`; nothing is kept."""

    def _logits(self) -> Tensor:
        found = []
        for row in self._rows:
            ids = torch.tensor([[*self._prompt, *row]], device=self._model.device)
            found.append(self._model(ids, use_cache=False).logits[0, -1])
        return torch.stack(found)


class CachedDecoder:
    """Runs each token once: the cache holds the tokens of all chains in one row, and a mask says what each sees.

    Args:
        model: The model, with full causal attention.
        prompt: Token ids of the prompt, at least one.
    """

    def __init__(self, model: Any, prompt: tuple[int, ...]) -> None:
        self._model, self._device = model, model.device
        self._cache = DynamicCache(config=model.config)
        self._last = prompt[-1]
        if len(prompt) > 1:
            ids = torch.tensor([prompt[:-1]], device=self._device)
            model(ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._size = len(prompt) - 1
        self._slots: dict[tuple[int, ...], Tensor] = {(): torch.arange(self._size, device=self._device)}
        self._seen = torch.zeros(0, self._size, dtype=torch.bool, device=self._device)

    def start(self, chains: Sequence[tuple[int, ...]], n: int) -> Tensor:
        """See `Decoder.start`."""
        if self._size > _MOST_TOKENS:
            self._forget(chains)
        seen = torch.zeros(len(chains), self._size, dtype=torch.bool, device=self._device)
        pending: list[tuple[int, ...]] = []
        for place, chain in enumerate(chains):
            slots = self._slots.get(chain)
            if slots is None:  # a chain that another policy wrote, or that was dropped
                slots, tail = self._slots[()], (self._last, *chain)
            else:
                tail = (chain[-1] if chain else self._last,)
            seen[place, slots] = True
            pending.append(tail)
        lengths = [len(tail) for tail in pending]
        owner = torch.repeat_interleave(torch.arange(len(chains)), torch.tensor(lengths)).to(self._device)
        own = (owner[:, None] == owner[None]).tril()
        logits = self._run([token for tail in pending for token in tail], seen[owner], own)
        last = torch.tensor(lengths).cumsum(0).to(self._device) - 1
        self._seen = torch.cat([seen, own[last]], 1).repeat_interleave(n, 0)
        return logits[last].repeat_interleave(n, 0)

    def advance(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """See `Decoder.advance`."""
        seen = self._seen[torch.tensor(rows, device=self._device)]
        own = torch.eye(len(rows), dtype=torch.bool, device=self._device)
        logits = self._run(tokens, seen, own)
        self._seen = torch.cat([seen, own], 1)
        return logits

    def keep(self, row: int, chain: tuple[int, ...]) -> None:
        """See `Decoder.keep`."""
        self._slots[chain] = self._seen[row].nonzero()[:, 0]

    def _run(self, tokens: Sequence[int], seen: Tensor, own: Tensor) -> Tensor:
        """Run tokens, which see cached tokens and each other as the two masks say; returns their logits."""
        visible = torch.cat([seen, own], 1)
        positions = visible.sum(1) - 1
        hidden = torch.finfo(self._model.dtype).min
        mask = torch.zeros(visible.shape, dtype=self._model.dtype, device=self._device).masked_fill(~visible, hidden)
        logits: Tensor = self._model(
            torch.tensor([list(tokens)], device=self._device),
            attention_mask=mask[None, None],
            position_ids=positions[None],
            past_key_values=self._cache,
            use_cache=True,
        ).logits[0]
        self._size += len(tokens)
        return logits

    def _forget(self, chains: Sequence[tuple[int, ...]]) -> None:
        """Drop cached tokens that none of these chains sees; other chains would have to be run again."""
        kept = {chain: self._slots[chain] for chain in [(), *chains] if chain in self._slots}
        seen = torch.zeros(self._size, dtype=torch.bool, device=self._device)
        seen[torch.cat(list(kept.values()))] = True
        slots = seen.nonzero()[:, 0]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[:, :, slots], layer.values[:, :, slots]
        self._slots = {chain: torch.searchsorted(slots, old) for chain, old in kept.items()}
        self._size = len(slots)


@torch.inference_mode()
def agree(model: Any) -> bool:
    """Whether a model gives the same probabilities with and without the shared cache, tried on a few tokens."""
    ids = [token % int(model.config.vocab_size) for token in range(11, 40)]
    prompt, chains = tuple(ids[:12]), [(), tuple(ids[12:15])]
    try:
        found = []
        for decoder in (PlainDecoder(model, prompt), CachedDecoder(model, prompt)):
            first = decoder.start(chains, 2)
            decoder.keep(2, (*chains[1], ids[17]))
            second = decoder.advance([0, 1, 3], ids[15:18])
            third = decoder.start([(*chains[1], ids[17]), (*chains[1], ids[18])], 1)
            found.append(torch.cat([first, second, third]).float().softmax(-1))
    except (AttributeError, TypeError, ValueError, IndexError, NotImplementedError, RuntimeError):
        return False
    return bool((found[0] - found[1]).abs().max() < _NOISE.get(model.dtype, 0.05))
