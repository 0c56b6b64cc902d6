"""Attention of one row of a prefix tree: every token sees its own path, and nothing else.

Three ways to compute the same:

- `mask`   one call of PyTorch's scaled dot-product attention with a mask over all keys; the plain twin, for any device.
- `paths`  path by path, without a mask and without work on keys that are not seen. The keys and values of the path to
           the current tokens lie in a stack that is written by position, so they are contiguous whatever the tree, and
           those of the prefix are there once. Blocks of queries, with the heads that share keys folded together (GQA),
           meet the whole path in two matrix products around one softmax. On CPUs this uses the bfloat16 units, which
           PyTorch's own attention does not (200 against 90 GFLOP/s on one Zen 5 core).
- `flex`   PyTorch's `flex_attention`, compiled on a GPU, with a block mask made from the same two numbers per key.

In the shapes below `queries` are the tokens that ask, `tokens` those that the row runs, and `keys` all that they may
see: first the prefix's (the pieces that the row does not run), then the row's own. `kv_heads * heads_per_kv = heads`.
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
"""Keys and values, each of shape (kv_heads, tokens, head_dim)."""


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
        """For each key, the first token of the row that sees it, and one more than the last: two int32 of (keys,)."""
        prefix = [piece for piece in self.pieces if not piece.in_row]
        pieces = [*prefix, *(piece for piece in self.pieces if piece.in_row)]
        lengths = torch.tensor([piece.length for piece in pieces], device="cpu")  # (pieces,)
        first = torch.tensor([piece.start for piece in prefix], dtype=torch.int32, device="cpu")  # (prefix pieces,)
        first = first.repeat_interleave(lengths[: len(prefix)])  # (prefix keys,)
        first = torch.cat([first, torch.arange(self.tokens, dtype=torch.int32, device="cpu")])  # (keys,)
        end = torch.tensor([piece.end for piece in pieces], dtype=torch.int32, device="cpu")  # (pieces,)
        end = end.repeat_interleave(lengths)  # (keys,)
        return first.to(self.device), end.to(self.device)

    def visible(self, query_positions: Tensor) -> Tensor:
        """Which keys the tokens at these places of the row see: bools of shape (queries, keys)."""
        first, end = self.seen  # (keys,), (keys,)
        return (first <= query_positions[:, None]) & (query_positions[:, None] < end)  # (queries, keys)


Attend = Callable[[Tensor, KeysValues, Sequence[KeysValues], Row, Tensor | None, float], Tensor]
"""Attention of a row.

Args:
    queries: Of shape (heads, queries, head_dim).
    row_kv: Keys and values of the row's own tokens, each of shape (kv_heads, tokens, head_dim).
    prefix_kv: Keys and values of the pieces that the row sees and does not run, in order.
    row: The row.
    query_positions: Places in the row of the tokens that ask, ascending, of shape (queries,); None if all do.
    scale: Factor of the scores.

Returns:
    Shape (queries, heads, head_dim).
"""


def mask_attention(
    queries: Tensor,
    row_kv: KeysValues,
    prefix_kv: Sequence[KeysValues],
    row: Row,
    query_positions: Tensor | None,
    scale: float,
) -> Tensor:
    """The plain way; see `Attend`."""
    asking = torch.arange(row.tokens, device=queries.device) if query_positions is None else query_positions
    keys, values = _joined(row_kv, prefix_kv, len(queries) // len(row_kv[0]))  # (heads, keys, head_dim) each
    return nn.functional.scaled_dot_product_attention(
        queries[None], keys[None], values[None], attn_mask=row.visible(asking), scale=scale
    )[0].transpose(0, 1)  # (queries, heads, head_dim)


def path_attention(
    queries: Tensor,
    row_kv: KeysValues,
    prefix_kv: Sequence[KeysValues],
    row: Row,
    query_positions: Tensor | None,
    scale: float,
) -> Tensor:
    """Path by path; see `Attend`."""
    heads, asked, head_dim = queries.shape
    kv_heads = len(row_kv[0])
    asking = list(range(row.tokens)) if query_positions is None else query_positions.tolist()
    longest = max(piece.position + piece.length for piece in row.pieces)
    path_keys = queries.new_empty(kv_heads, longest, head_dim)  # (kv_heads, positions, head_dim)
    path_values = queries.new_empty(kv_heads, longest, head_dim)  # (kv_heads, positions, head_dim)
    result = queries.new_empty(asked, heads, head_dim)  # (queries, heads, head_dim)
    scratch = _Scratch(queries)
    given = iter(prefix_kv)
    done = 0  # queries that have their result: the order of the tree is the order of the row
    for piece in row.pieces:
        behind = piece.start + piece.length  # place in the row of the first token behind the piece
        positions = slice(piece.position, piece.position + piece.length)
        if not piece.in_row:
            path_keys[:, positions], path_values[:, positions] = next(given)  # (kv_heads, piece.length, head_dim)
            continue
        path_keys[:, positions] = row_kv[0][:, piece.start : behind]  # (kv_heads, piece.length, head_dim)
        path_values[:, positions] = row_kv[1][:, piece.start : behind]  # (kv_heads, piece.length, head_dim)
        while done < asked and asking[done] < behind:
            end = min(done + _TILE, asked)
            while asking[end - 1] >= behind:
                end -= 1
            ends = [place - piece.start + piece.position + 1 for place in asking[done:end]]  # keys that each one sees
            tile = queries[:, done:end]  # (heads, tile, head_dim)
            result[done:end] = _tile_attention(tile, path_keys, path_values, ends, scale, scratch).transpose(0, 1)
            done = end
    return result


def _tile_attention(
    tile: Tensor, path_keys: Tensor, path_values: Tensor, ends: Sequence[int], scale: float, scratch: "_Scratch"
) -> Tensor:
    """Attention of a few neighbouring queries of one path.

    Args:
        tile: Queries, of shape (heads, tile, head_dim).
        path_keys: Keys of the path by position, of shape (kv_heads, positions, head_dim).
        path_values: Values of the path, of the same shape.
        ends: For each query how many keys it sees, ascending.
        scale: Factor of the scores.
        scratch: Memory.

    Returns:
        Shape (heads, tile, head_dim).
    """
    heads, size, head_dim = tile.shape
    kv_heads = len(path_keys)
    heads_per_kv = heads // kv_heads
    seen_by_all, seen = ends[0], ends[-1]
    folded = tile.reshape(kv_heads, heads_per_kv * size, head_dim)  # (kv_heads, heads_per_kv * tile, head_dim)
    scores, weights = scratch.pair(kv_heads, heads_per_kv * size, seen)  # (kv_heads, heads_per_kv * tile, seen) each
    keys = path_keys[:, :seen].transpose(1, 2)  # (kv_heads, head_dim, seen)
    torch.baddbmm(scores, folded, keys, beta=0, alpha=scale, out=scores)  # (kv_heads, heads_per_kv * tile, seen)
    if seen > seen_by_all:
        last = torch.tensor(ends, device="cpu")[:, None]  # (tile, 1)
        masked = torch.arange(seen_by_all, seen, device="cpu") >= last  # (tile, seen - seen_by_all)
        by_head = scores.view(kv_heads, heads_per_kv, size, seen)  # (kv_heads, heads_per_kv, tile, seen)
        by_head[..., seen_by_all:].masked_fill_(masked.to(scores.device), -torch.inf)
    torch.softmax(scores, -1, out=weights)  # (kv_heads, heads_per_kv * tile, seen)
    answer = torch.bmm(weights, path_values[:, :seen])  # (kv_heads, heads_per_kv * tile, head_dim)
    return answer.view(heads, size, head_dim)  # (heads, tile, head_dim)


def flex_attention(
    queries: Tensor,
    row_kv: KeysValues,
    prefix_kv: Sequence[KeysValues],
    row: Row,
    query_positions: Tensor | None,
    scale: float,
) -> Tensor:
    """Through PyTorch's `flex_attention`; see `Attend`."""
    keys, values = _joined(row_kv, prefix_kv, 1)  # (kv_heads, keys, head_dim) each
    return _flex(queries.device.type)(  # type: ignore[no-any-return]
        queries[None],
        keys[None],
        values[None],
        block_mask=_block_mask(row, query_positions),
        scale=scale,
        enable_gqa=len(queries) > len(keys),
    )[0].transpose(0, 1)  # (queries, heads, head_dim)


ATTENTIONS: dict[str, Attend] = {"mask": mask_attention, "paths": path_attention, "flex": flex_attention}


def choose_attention(device: torch.device) -> str:
    """The way that suits a kind of device; see the module."""
    return {"cpu": "paths", "cuda": "flex"}.get(device.type, "mask")


class _Scratch:
    """Memory for the scores and weights of a tile, taken once, since fresh memory costs as much as the softmax."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._memory = [like.new_empty(0)] * 2

    def pair(self, *shape: int) -> tuple[Tensor, Tensor]:
        """Two uninitialized tensors of this shape."""
        count = shape[0] * shape[1] * shape[2]
        if len(self._memory[0]) < count:
            self._memory = [self._like.new_empty(count + count // 4) for _ in range(2)]  # (at least count,) each
        one, two = (memory[:count].view(shape) for memory in self._memory)
        return one, two


def _joined(row_kv: KeysValues, prefix_kv: Sequence[KeysValues], repeat: int) -> KeysValues:
    """All keys and values, (kv_heads * repeat, keys, head_dim) each: repeated for the query heads that share them."""
    keys, values = (torch.cat([*(pair[side] for pair in prefix_kv), row_kv[side]], 1) for side in (0, 1))
    return (keys.repeat_interleave(repeat, 0), values.repeat_interleave(repeat, 0)) if repeat > 1 else (keys, values)


@cache
def _flex(device: str) -> Any:
    """`flex_attention`, compiled where there is a compiler for the device: uncompiled it holds all scores at once."""
    from torch.nn.attention import flex_attention as module

    return torch.compile(module.flex_attention, dynamic=True) if device == "cuda" else module.flex_attention


def _block_mask(row: Row, query_positions: Tensor | None) -> Any:
    """The row's mask for `flex_attention`: from the bounds of blocks, without ever making the mask itself."""
    from torch.nn.attention.flex_attention import BlockMask

    first, end = row.seen  # (keys,), (keys,)
    device = first.device
    asking = torch.arange(row.tokens, device=device) if query_positions is None else query_positions  # (queries,)
    asked, seen = len(asking), len(first)
    # whole blocks, so that no kernel reads beyond the end: more of the last query, and keys that no token sees
    asking = torch.cat([asking, asking[-1:].expand(-asked % _BLOCK)]).int()  # (query blocks * _BLOCK,)
    first = nn.functional.pad(first, (0, -seen % _BLOCK), value=row.tokens)  # (key blocks * _BLOCK,)
    end = nn.functional.pad(end, (0, -seen % _BLOCK), value=0)  # (key blocks * _BLOCK,)
    by_block = asking.view(-1, _BLOCK)  # (query blocks, _BLOCK)
    low, high = by_block[:, :1], by_block[:, -1:]  # (query blocks, 1) each
    some = ((first <= high) & (end > low)).view(len(by_block), -1, _BLOCK).any(-1)  # (query blocks, key blocks)
    whole = ((first <= low) & (end > high)).view(len(by_block), -1, _BLOCK).all(-1)  # (query blocks, key blocks)

    def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (first[key] <= asking[query]) & (asking[query] < end[key])

    return BlockMask.from_kv_blocks(
        *_listed(some & ~whole), *_listed(whole), BLOCK_SIZE=_BLOCK, mask_mod=visible, seq_lengths=(asked, seen)
    )


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """For each block of queries how many blocks of keys are set, and which: these first, in ascending order."""
    counts = blocks.sum(-1, dtype=torch.int32)  # (query blocks,)
    order = (~blocks).to(torch.int8).argsort(dim=-1, stable=True).int()  # (query blocks, key blocks)
    return counts[None, None], order[None, None]
