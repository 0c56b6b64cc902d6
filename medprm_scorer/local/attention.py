"""Attention of one row of a prefix tree: every token sees its own path, and nothing else.

Five ways to compute the same:

- `mask`   one call of PyTorch's scaled dot-product attention with a mask over all keys; the plain twin, for any device.
- `paths`  path by path, with masks within tiles of neighbouring tokens only. The keys and values of the path to the
           current tokens lie in a stack that is written by position, so they are contiguous whatever the tree, and
           those of the prefix are there once. Tiles of queries, with the heads that share keys folded together (GQA),
           meet the whole path in two matrix products around one softmax. On CPUs this uses the bfloat16 units, which
           PyTorch's own attention does not on all of them (200 against 90 GFLOP/s on one Zen 5 core).
- `fused`  depth by depth of the tree, through the kernel that PyTorch has for CPUs. See `fused`.
- `cascade`  depth by depth of the tree, merged by log-sum-exp; for NVIDIA GPUs. Nothing is compiled. See `cascade`.
- `flex`   PyTorch's `flex_attention`, compiled once, with a block mask; for GPUs where `cascade` cannot be had.

In the shapes below `queries` are the tokens that ask, `tokens` those that the row runs, and `keys` all that they may
see: first the prefix's (the pieces that the row does not run), then the row's own. `kv_heads * heads_per_kv = heads`.
"""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medprm_scorer.local.cascade import cascade_attention
from medprm_scorer.local.flex import flex_attention
from medprm_scorer.local.fused import fused_kernel
from medprm_scorer.local.masked import mask_attention
from medprm_scorer.local.row import KeysValues, Row
from medprm_scorer.local.token_tree import Piece

_JOINED = 2
"""Several short pieces share a tile if they have at most so many times a tile's tokens together."""

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
    tiles: list[_Tile | Piece] = row.memory.get("tiles", []) if query_positions is None else []
    tiles = tiles or _tiles(row, query_positions)
    if query_positions is None:  # the same in each layer but the last
        row.memory["tiles"] = tiles
    longest = max(tile.position + tile.length for tile in tiles)
    path_keys = queries.new_empty(kv_heads, longest, head_dim)  # (kv_heads, positions, head_dim)
    path_values = queries.new_empty(kv_heads, longest, head_dim)  # (kv_heads, positions, head_dim)
    result = queries.new_empty(asked, heads, head_dim)  # (queries, heads, head_dim)
    scratch = _Scratch(queries)
    given = iter(prefix_kv)
    for tile in tiles:
        positions = slice(tile.position, tile.position + tile.length)
        if isinstance(tile, Piece):
            path_keys[:, positions], path_values[:, positions] = next(given)  # (kv_heads, piece.length, head_dim)
            continue
        if tile.masked is not None:
            tokens = slice(tile.start, tile.start + tile.length)
            path_keys[:, positions] = row_kv[0][:, tokens]  # (kv_heads, tile.length, head_dim)
            path_values[:, positions] = row_kv[1][:, tokens]  # (kv_heads, tile.length, head_dim)
            seen = path_keys[:, : positions.stop], path_values[:, : positions.stop]
            answer = _tile_attention(queries[:, tile.queries], seen, tile.masked, scale, scratch)
            result[tile.queries] = answer.transpose(0, 1)  # (tile, heads, head_dim)
        for tokens, behind in tile.path:
            path_keys[:, behind] = row_kv[0][:, tokens]
            path_values[:, behind] = row_kv[1][:, tokens]
    return result


def fused_attention(
    queries: Tensor,
    row_kv: KeysValues,
    prefix_kv: Sequence[KeysValues],
    row: Row,
    query_positions: Tensor | None,
    scale: float,
) -> Tensor:
    """Depth by depth through the CPU's fused kernel; see `Attend`.

    In float32, tags and short pieces go path by path. In half precision, where this way is used if matrix products of
    it are slow, they do not.
    """
    pieces = sum(piece.in_row for piece in row.pieces)
    if queries.dtype == torch.float32 and (query_positions is not None or row.tokens < row.tile * pieces):
        return path_attention(queries, row_kv, prefix_kv, row, query_positions, scale)
    return cascade_attention(queries, row_kv, prefix_kv, row, query_positions, scale, fused_kernel)


@dataclass(frozen=True)
class _Tile:
    """Neighbouring tokens of a row that all see the path to the first of them, and of each other what a mask says.

    Args:
        start: Place in the row of the first token.
        position: Its position: all see so many keys of the path.
        length: Number of tokens, up to the last that asks.
        queries: Which of the queries are theirs.
        masked: Which of these tokens' keys each query does not see, of shape (queries, length); None if none asks.
        path: What tokens behind the tile see of it: places in the row, and positions in the path.
    """

    start: int
    position: int
    length: int
    queries: slice
    masked: Tensor | None
    path: Sequence[tuple[slice, slice]]


def _tiles(row: Row, query_positions: Tensor | None) -> list[_Tile | Piece]:
    """The row as tiles, and between them the pieces that it does not run, in the order in which the path grows."""
    asking = list(range(row.tokens)) if query_positions is None else query_positions.tolist()
    made: list[_Tile | Piece] = []
    pieces: list[Piece] = []  # of the tile that is being made
    start = position = first = 0

    def close(end: int) -> None:
        nonlocal first
        if not pieces:
            return
        last = bisect.bisect_left(asking, end, first)
        length, masked = 0, None
        if last > first:
            length = asking[last - 1] + 1 - start
            places = torch.tensor(asking[first:last], device="cpu")[:, None]  # (queries, 1)
            tokens = torch.arange(start, start + length, device="cpu")  # (length,)
            ends = torch.tensor([one.end for one in pieces], device="cpu")  # (pieces,)
            counts = torch.tensor(
                [min(one.start + one.length, end) - max(one.start, start) for one in pieces], device="cpu"
            )
            ends = ends.repeat_interleave(counts)[:length]  # (length,)
            masked = ((tokens > places) | (places >= ends)).to(row.device)  # (queries, length)
        path = []
        for one in pieces:
            low, high = max(one.start, start), min(one.start + one.length, end)
            if one.end > end:
                ahead = one.position - one.start
                path.append((slice(low, high), slice(low + ahead, high + ahead)))
        made.append(_Tile(start, position, length, slice(first, last), masked, path))
        first = last
        pieces.clear()

    for piece in row.pieces:
        if not piece.in_row:
            close(piece.start)
            made.append(piece)
            continue
        place, behind = piece.start, piece.start + piece.length
        if pieces and (piece.position < position or behind - start > _JOINED * row.tile):
            close(place)
        while place < behind:
            if not pieces:
                start, position = place, piece.position + place - piece.start
            full = asking[first + row.tile] if first + row.tile < len(asking) else row.tokens
            end = min(behind, full)
            if end > place:
                pieces.append(piece)
                place = end
            if end == full:
                close(end)
    close(row.tokens)
    return made


def _tile_attention(tile: Tensor, seen: KeysValues, masked: Tensor, scale: float, scratch: "_Scratch") -> Tensor:
    """Attention of a tile.

    Args:
        tile: Queries, of shape (heads, tile, head_dim).
        seen: Keys and values that one of them sees, of shape (kv_heads, seen, head_dim) each.
        masked: Which of the last of these each query does not see, of shape (tile, some of the keys).
        scale: Factor of the scores.
        scratch: Memory.

    Returns:
        Shape (heads, tile, head_dim).
    """
    heads, size, head_dim = tile.shape
    keys, values = seen
    kv_heads, count, _ = keys.shape
    heads_per_kv = heads // kv_heads
    folded = tile.reshape(kv_heads, heads_per_kv * size, head_dim)  # (kv_heads, heads_per_kv * tile, head_dim)
    scores, weights = scratch.pair(kv_heads, heads_per_kv * size, count)  # (kv_heads, heads_per_kv * tile, seen) each
    torch.baddbmm(scores, folded, keys.transpose(1, 2), beta=0, alpha=scale, out=scores)
    by_head = scores.view(kv_heads, heads_per_kv, size, count)  # (kv_heads, heads_per_kv, tile, seen)
    by_head[..., count - masked.shape[1] :].masked_fill_(masked, -torch.inf)
    torch.softmax(scores, -1, out=weights)  # (kv_heads, heads_per_kv * tile, seen)
    return torch.bmm(weights, values).view(heads, size, head_dim)  # (heads, tile, head_dim)


ATTENTIONS: dict[str, Attend] = {
    "mask": mask_attention,
    "paths": path_attention,
    "fused": fused_attention,
    "cascade": cascade_attention,
    "flex": flex_attention,
}


def choose_attention(device: torch.device, dtype: torch.dtype) -> tuple[str, ...]:
    """The ways that suit a kind of device, the usually best first; the next one is for where one fails."""
    if device.type == "cuda":
        return ("flex", "mask") if dtype == torch.float32 else ("cascade", "flex", "mask")
    if device.type == "cpu":
        return ("fused", "paths", "mask") if dtype == torch.float32 else ("paths", "fused", "mask")
    return ("mask",)


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
