"""Attention of one row of a prefix tree: every token sees its own path, and nothing else.

Four ways to compute the same:

- `mask`   one call of PyTorch's scaled dot-product attention with a mask over all keys; the plain twin, for any device.
- `paths`  path by path, without a mask and without work on keys that are not seen. The keys and values of the path to
           the current tokens lie in a stack that is written by position, so they are contiguous whatever the tree, and
           those of the prefix are there once. Blocks of queries, with the heads that share keys folded together (GQA),
           meet the whole path in two matrix products around one softmax. On CPUs this uses the bfloat16 units, which
           PyTorch's own attention does not (200 against 90 GFLOP/s on one Zen 5 core).
- `cascade`  depth by depth of the tree, merged by log-sum-exp; for NVIDIA GPUs. Nothing is compiled. See `cascade`.
- `flex`   PyTorch's `flex_attention`, compiled once, with a block mask; for GPUs where `cascade` cannot be had.

In the shapes below `queries` are the tokens that ask, `tokens` those that the row runs, and `keys` all that they may
see: first the prefix's (the pieces that the row does not run), then the row's own. `kv_heads * heads_per_kv = heads`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from medprm_scorer.local.cascade import cascade_attention
from medprm_scorer.local.flex import flex_attention
from medprm_scorer.local.masked import mask_attention
from medprm_scorer.local.row import KeysValues, Row

_TILE = 64
"""Tokens whose queries meet their path at once: their scores should stay in a core's cache."""

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


ATTENTIONS: dict[str, Attend] = {
    "mask": mask_attention,
    "paths": path_attention,
    "cascade": cascade_attention,
    "flex": flex_attention,
}


def choose_attention(device: torch.device, dtype: torch.dtype) -> tuple[str, ...]:
    """The ways that suit a kind of device, the best first; the next one is for where one fails."""
    if device.type == "cuda":
        return ("flex", "mask") if dtype == torch.float32 else ("cascade", "flex", "mask")
    return ("paths", "mask") if device.type == "cpu" else ("mask",)


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
