"""Next-token logits of chains after one prompt: with a KV cache that the chains share, and without one."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

_MOST_TOKENS = 16384  # of kept chains; above this, those that were not used for the longest time are dropped
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
    """Runs each token once, and attends only to tokens that a chain of the call sees.

    The keys and values of each kept chain's latest tokens are stored beside those of the prompt. A call joins what its
    chains need to one row, where a mask says what each sees.

    Args:
        model: The model, with full causal attention.
        prompt: Token ids of the prompt, at least one.
    """

    def __init__(self, model: Any, prompt: tuple[int, ...]) -> None:
        self._model, self._device = model, model.device
        self._last = prompt[-1]
        self._cache = DynamicCache(config=model.config)
        if len(prompt) > 1:
            ids = torch.tensor([prompt[:-1]], device=self._device)
            model(ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._prompt = _Piece((), len(prompt) - 1, self._kv(slice(None)) if len(prompt) > 1 else [])
        self._pieces: OrderedDict[tuple[int, ...], _Piece] = OrderedDict()  # the least recently used first
        self._base = 0  # cached tokens when the latest call began
        self._chains: list[tuple[int, ...]] = []  # of each current row: the kept chain that it continues
        self._seen = torch.zeros(0, 0, dtype=torch.bool, device=self._device)

    def start(self, chains: Sequence[tuple[int, ...]], n: int) -> Tensor:
        """See `Decoder.start`."""
        # a chain that another policy wrote, or that was dropped, begins at the prompt
        kept = [self._path(chain) for chain in chains]
        pending = [chain[-1:] if path else (self._last, *chain) for chain, path in zip(chains, kept, strict=True)]
        seen = self._join(kept)
        lengths = [len(tail) for tail in pending]
        owner = torch.repeat_interleave(torch.arange(len(chains)), torch.tensor(lengths)).to(self._device)
        own = (owner[:, None] == owner[None]).tril()
        logits = self._run([token for tail in pending for token in tail], seen[owner], own)
        last = torch.tensor(lengths).cumsum(0).to(self._device) - 1
        self._seen = torch.cat([seen, own[last]], 1).repeat_interleave(n, 0)
        self._chains = [chain if path else () for chain, path in zip(chains, kept, strict=True) for _ in range(n)]
        return logits[last].repeat_interleave(n, 0)

    def advance(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """See `Decoder.advance`."""
        seen = self._seen[torch.tensor(rows, device=self._device)]
        own = torch.eye(len(rows), dtype=torch.bool, device=self._device)
        logits = self._run(tokens, seen, own)
        self._seen = torch.cat([seen, own], 1)
        self._chains = [self._chains[row] for row in rows]
        return logits

    def keep(self, row: int, chain: tuple[int, ...]) -> None:
        """See `Decoder.keep`."""
        slots = self._base + self._seen[row, self._base :].nonzero()[:, 0]
        self._pieces[chain] = _Piece(self._chains[row], len(slots), self._kv(slots))
        self._touch(self._path(chain))

    def _path(self, chain: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The kept chains that make up a chain, the longest first; empty if one of them was dropped."""
        path: list[tuple[int, ...]] = []
        while chain:
            piece = self._pieces.get(chain)
            if piece is None:
                return []
            path.append(chain)
            chain = piece.before
        return path

    def _touch(self, path: Sequence[tuple[int, ...]]) -> None:
        """Mark kept chains as used; one that is continued is dropped after those that continue it."""
        for chain in path:
            self._pieces.move_to_end(chain)

    def _join(self, paths: Sequence[Sequence[tuple[int, ...]]]) -> Tensor:
        """Make the cache of what some chains need; returns which of its tokens each of them sees."""
        needed = dict.fromkeys(chain for path in paths for chain in path)
        for path in paths:
            self._touch(path)
        while len(self._pieces) > len(needed) and sum(one.tokens for one in self._pieces.values()) > _MOST_TOKENS:
            self._pieces.popitem(last=False)
        pieces = [self._prompt, *(self._pieces[chain] for chain in needed)]
        self._cache = DynamicCache(config=self._model.config)
        for layer, sides in enumerate(zip(*(piece.kv for piece in pieces if piece.tokens), strict=True)):
            keys, values = (torch.cat([kv[side] for kv in sides], 2) for side in (0, 1))
            self._cache.update(keys, values, layer)
        self._base = sum(piece.tokens for piece in pieces)
        seen = torch.zeros(len(paths), self._base, dtype=torch.bool, device=self._device)
        seen[:, : self._prompt.tokens] = True
        start = self._prompt.tokens
        for chain in needed:
            end = start + self._pieces[chain].tokens
            seen[[place for place, path in enumerate(paths) if chain in path], start:end] = True
            start = end
        return seen

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
        return logits

    def _kv(self, slots: slice | Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of some cached tokens, by layer."""
        return [(layer.keys[:, :, slots], layer.values[:, :, slots]) for layer in self._cache.layers]


@dataclass(frozen=True)
class _Piece:
    """The tokens that a kept chain adds to another one."""

    before: tuple[int, ...]  # the chain that is continued; empty at the prompt
    tokens: int
    kv: list[tuple[Tensor, Tensor]]  # by layer, each of shape (1, kv_heads, tokens, head_dim)


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
