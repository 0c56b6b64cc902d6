"""Attention of one row of a token tree: every token sees its own path, and nothing else.

Three ways to compute the same:

- `mask`   one call of PyTorch's attention with a mask over all keys; the plain twin, for any device.
- `paths`  path by path, without a mask and without work on keys that are not seen. The keys and values of the path to
           the tokens at hand lie in a stack that is written by depth, so they are contiguous whatever the tree, and
           those of the prefix are there once. Blocks of queries, heads that share keys folded together, meet the whole
           path in two matrix products around one softmax. On CPUs this uses the bfloat16 units, which PyTorch's own
           attention does not (200 against 90 GFLOP/s on one Zen 5 core).
- `flex`   PyTorch's `flex_attention`, compiled on a GPU, with a block mask made from the same two numbers per key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from medprm_scorer.local.token_tree import Piece

_TILE = 64
"""Tokens whose queries meet their path at once: their scores should stay in a core's cache."""
_BLOCK = 128
"""Block size of `flex_attention`'s masks, the default of PyTorch."""

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each of shape (key heads, tokens, head size)."""


@dataclass(frozen=True)
class Row:
    """What attention needs to know of a row.

    Args:
        pieces: From `TokenTree.row`; keys come in two kinds: first those of the pieces that the row does not run, in
            this order, then those of the row's own tokens.
        tokens: Number of tokens that the row runs.
        device: Where the masks are wanted.
    """

    pieces: Sequence[Piece]
    tokens: int
    device: torch.device

    @cached_property
    def seen(self) -> tuple[Tensor, Tensor]:
        """For each key, the first token of the row that sees it, and one more than the last: two int32 vectors."""
        before = [piece for piece in self.pieces if not piece.own]
        own = [piece for piece in self.pieces if piece.own]
        lengths = torch.tensor([piece.length for piece in (*before, *own)])
        first = torch.tensor([piece.begin for piece in before], dtype=torch.int32)
        first = torch.cat([first.repeat_interleave(lengths[: len(before)]), torch.arange(self.tokens)])
        stop = torch.tensor([piece.stop for piece in (*before, *own)]).repeat_interleave(lengths)
        return first.int().to(self.device), stop.int().to(self.device)

    def visible(self, asking: Tensor) -> Tensor:
        """Which keys the tokens at these places of the row see: bools of shape (asking, keys)."""
        first, stop = self.seen
        return (first <= asking[:, None]) & (asking[:, None] < stop)


Attend = Callable[[Tensor, KeysValues, Sequence[KeysValues], Row, Tensor | None, float], Tensor]
"""Attention of a row.

Args:
    Queries, of shape (heads, asking, head size).
    Keys and values of the row's own tokens.
    Keys and values of the pieces that the row does not run, in order.
    The row.
    Places in the row of the tokens that ask, ascending; None if all do.
    Factor of the scores.

Returns:
    Shape (asking, heads, head size).
"""


def mask_attention(
    queries: Tensor, own: KeysValues, before: Sequence[KeysValues], row: Row, asking: Tensor | None, scale: float
) -> Tensor:
    """The plain way; see `Attend`."""
    places = torch.arange(row.tokens, device=queries.device) if asking is None else asking
    keys, values = _all(own, before, len(queries) // len(own[0]))
    return nn.functional.scaled_dot_product_attention(
        queries[None], keys[None], values[None], attn_mask=row.visible(places), scale=scale
    )[0].transpose(0, 1)


def path_attention(
    queries: Tensor, own: KeysValues, before: Sequence[KeysValues], row: Row, asking: Tensor | None, scale: float
) -> Tensor:
    """Path by path; see `Attend`."""
    heads, asked, size = queries.shape
    shared = len(own[0])  # heads of keys and values
    group = heads // shared
    places = list(range(row.tokens)) if asking is None else asking.tolist()
    deepest = max(piece.depth + piece.length for piece in row.pieces)
    keys, values = (queries.new_empty(shared, deepest, size) for _ in range(2))
    result = queries.new_empty(asked, heads, size)
    scratch = _Scratch(queries)
    known = iter(before)
    done = 0  # queries answered: tree order is row order
    for piece in row.pieces:
        end = piece.depth + piece.length
        source = tuple(t[:, piece.begin : piece.begin + piece.length] for t in own) if piece.own else next(known)
        keys[:, piece.depth : end], values[:, piece.depth : end] = source
        while piece.own and done < asked and places[done] < piece.begin + piece.length:
            stop = min(done + _TILE, asked)
            while places[stop - 1] >= piece.begin + piece.length:
                stop -= 1
            depths = [place - piece.begin + piece.depth for place in places[done:stop]]
            length, certain = depths[-1] + 1, depths[0] + 1  # keys that the last of them sees, and that all see
            tile = queries[:, done:stop].reshape(shared, group * (stop - done), size)
            scores, weights = scratch.tiles(shared, group * (stop - done), length)
            torch.baddbmm(scores, tile, keys[:, :length].transpose(1, 2), beta=0, alpha=scale, out=scores)
            if length > certain:
                hidden = torch.arange(certain, length) > torch.tensor(depths)[:, None]
                hidden = hidden.to(scores.device)
                scores.view(shared, group, stop - done, length)[..., certain:].masked_fill_(hidden, -torch.inf)
            torch.softmax(scores, -1, out=weights)
            answer = torch.bmm(weights, values[:, :length])
            result[done:stop] = answer.view(heads, stop - done, size).transpose(0, 1)
            done = stop
    return result


def flex_attention(
    queries: Tensor, own: KeysValues, before: Sequence[KeysValues], row: Row, asking: Tensor | None, scale: float
) -> Tensor:
    """Through PyTorch's `flex_attention`; see `Attend`."""
    keys, values = _all(own, before, 1)
    return _flex(queries.device.type)(  # type: ignore[no-any-return]
        queries[None],
        keys[None],
        values[None],
        block_mask=_block_mask(row, asking),
        scale=scale,
        enable_gqa=len(queries) > len(keys),
    )[0].transpose(0, 1)


ATTENTIONS: dict[str, Attend] = {"mask": mask_attention, "paths": path_attention, "flex": flex_attention}


def choose_attention(device: torch.device) -> str:
    """The way that suits a kind of device; see the module."""
    return {"cpu": "paths", "cuda": "flex"}.get(device.type, "mask")


class _Scratch:
    """Memory for the scores and weights of a tile, taken once, since fresh memory costs as much as the softmax."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._memory = [like.new_empty(0)] * 2

    def tiles(self, *shape: int) -> tuple[Tensor, Tensor]:
        """Two uninitialized tensors."""
        count = shape[0] * shape[1] * shape[2]
        if len(self._memory[0]) < count:
            self._memory = [self._like.new_empty(count + count // 4) for _ in range(2)]
        one, two = (memory[:count].view(shape) for memory in self._memory)
        return one, two


def _all(own: KeysValues, before: Sequence[KeysValues], repeat: int) -> KeysValues:
    """All keys and values in one tensor each, repeated for the query heads that share them."""
    keys, values = (torch.cat([*(pair[side] for pair in before), own[side]], 1) for side in (0, 1))
    return (keys.repeat_interleave(repeat, 0), values.repeat_interleave(repeat, 0)) if repeat > 1 else (keys, values)


@cache
def _flex(device: str) -> Any:
    """`flex_attention`, compiled where there is a compiler for the device: uncompiled it holds all scores at once."""
    from torch.nn.attention import flex_attention as module

    return torch.compile(module.flex_attention, dynamic=True) if device == "cuda" else module.flex_attention


def _block_mask(row: Row, asking: Tensor | None) -> Any:
    """The row's mask for `flex_attention`: from the bounds of blocks, without ever making the mask itself."""
    from torch.nn.attention.flex_attention import BlockMask

    first, stop = row.seen
    places = torch.arange(row.tokens, device=first.device, dtype=torch.int32) if asking is None else asking.int()
    asked, seen = len(places), len(first)
    # whole blocks, so that no kernel reads beyond the end: more of the last query, and keys that no token sees
    places = torch.cat([places, places[-1:].expand(-asked % _BLOCK)])
    first = nn.functional.pad(first, (0, -seen % _BLOCK), value=row.tokens)
    stop = nn.functional.pad(stop, (0, -seen % _BLOCK), value=0)
    by_block = places.view(-1, _BLOCK)
    low, high = by_block[:, :1], by_block[:, -1:]
    some = ((first <= high) & (stop > low)).view(len(by_block), -1, _BLOCK).any(-1)
    whole = ((first <= low) & (stop > high)).view(len(by_block), -1, _BLOCK).all(-1)

    def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (first[key] <= places[query]) & (places[query] < stop[key])

    return BlockMask.from_kv_blocks(
        *_listed(some & ~whole), *_listed(whole), BLOCK_SIZE=_BLOCK, mask_mod=visible, seq_lengths=(asked, seen)
    )


def _listed(blocks: Tensor) -> KeysValues:
    """For each block of queries how many blocks of keys are set, and which: these first, in ascending order."""
    counts = blocks.sum(-1, dtype=torch.int32)
    order = (~blocks).to(torch.int8).argsort(dim=-1, stable=True).int()
    return counts[None, None], order[None, None]
