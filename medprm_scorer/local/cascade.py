"""Attention of a row on NVIDIA GPUs, depth by depth of the tree, through PyTorch's `varlen_attn`: nothing is compiled.

Every token sees its own piece up to itself, and all of the pieces above. So one call of a variable-length kernel
computes the attention of all pieces to themselves. One more call for each depth of the tree computes the attention of
everything below the pieces of that depth to those pieces. A token's outputs from several calls are averaged, weighted
by their sums of exponentials ("cascade"; arXiv 2501.01005, section 2.2). A query is left out of calls in which it sees
no key, since the kernel's sum is then infinite. The few queries at tags of the last layer use masked attention.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from medprm_scorer.local.masked import mask_attention
from medprm_scorer.local.row import KeysValues, Level, Row, join

Kernel = Callable[[Tensor, Tensor, Tensor, Level, bool, float], tuple[Tensor, Tensor]]
"""Attention of each stretch of queries to its stretch of keys.

Args:
    queries: Shape (queries, heads, head_dim).
    keys: Shape (keys, kv_heads, head_dim).
    values: As `keys`.
    level: The stretches.
    causal: Whether a query sees no keys after its own position; queries and keys are then the same tokens.
    scale: Factor of the scores.

Returns:
    Attention outputs, shape (queries, heads, head_dim), and the logarithms of the sums of exponentials, float32 of
    shape (queries, heads).
"""


def cascade_attention(
    queries: Tensor,
    row_kv: KeysValues,
    prefix_kv: Sequence[KeysValues],
    row: Row,
    query_positions: Tensor | None,
    scale: float,
    kernel: Kernel | None = None,
) -> Tensor:
    """Attention depth by depth; see `attention.Attend`. The default kernel is PyTorch's own."""
    if query_positions is not None:
        return mask_attention(queries, row_kv, prefix_kv, row, query_positions, scale)
    kernel = kernel or varlen_kernel
    asking = queries.transpose(0, 1)  # (tokens, heads, head_dim)
    keys, values = (side.transpose(0, 1) for side in join(row_kv, prefix_kv))  # (keys, kv_heads, head_dim) each
    own, *above = row.levels
    answer, total = kernel(asking, _at(keys, own.keys), _at(values, own.keys), own, True, scale)
    if not above:
        return answer
    answer = answer.float()  # (tokens, heads, head_dim); rounded once, at the end
    for level in above:
        asked = _at(asking, level.queries)  # (queries, heads, head_dim)
        more, more_total = kernel(asked, _at(keys, level.keys), _at(values, level.keys), level, False, scale)
        before, before_total = _at(answer, level.queries), _at(total, level.queries)
        weight = torch.sigmoid(more_total - before_total)[..., None]  # (queries, heads, 1)
        _put(answer, level.queries, torch.lerp(before, more.float(), weight))
        _put(total, level.queries, torch.logaddexp(before_total, more_total))
    return answer.to(queries.dtype)


def varlen_kernel(
    queries: Tensor, keys: Tensor, values: Tensor, level: Level, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """PyTorch's `varlen_attn` (2.10 and newer, compute capability 8.0 and newer, half precision); see `Kernel`."""
    answer, total = _varlen(queries, keys, values, level, causal, scale)
    kind = (queries.device, queries.dtype, queries.shape[1], keys.shape[1], queries.shape[2])
    return answer, total if _sums_are_by_query(*kind) else total.transpose(0, 1)


def _varlen(queries: Tensor, keys: Tensor, values: Tensor, level: Level, causal: bool, scale: float) -> Any:
    from torch.nn.attention.varlen import AuxRequest, varlen_attn

    return varlen_attn(
        queries,
        keys,
        values,
        level.query_ends,
        level.key_ends,
        level.most_queries,
        level.most_keys,
        return_aux=AuxRequest(lse=True),
        scale=scale,
        window_size=(-1, 0 if causal else -1),
        enable_gqa=queries.shape[1] > keys.shape[1],
    )


@cache
def _sums_are_by_query(device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> bool:
    """Whether the kernel returns its sums as (queries, heads), as documented, and not as (heads, queries)."""
    tokens = heads + 1
    queries = torch.zeros(tokens, heads, head_dim, dtype=dtype, device=device)
    keys = torch.zeros(tokens, kv_heads, head_dim, dtype=dtype, device=device)
    ends = torch.tensor([0, tokens], dtype=torch.int32, device=device)
    _, total = _varlen(queries, keys, keys, Level(slice(None), slice(None), ends, ends, tokens, tokens), True, 1.0)
    return int(total.shape[0]) == tokens


def _at(whole: Tensor, places: slice | Tensor) -> Tensor:
    return whole[places] if isinstance(places, slice) else whole.index_select(0, places)


def _put(whole: Tensor, places: slice | Tensor, part: Tensor) -> None:
    if isinstance(places, slice):
        whole[places] = part
    else:
        whole.index_copy_(0, places.long(), part)
