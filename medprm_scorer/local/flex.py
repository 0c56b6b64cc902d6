"""Attention of a row through PyTorch's `flex_attention`, compiled once for an engine on a GPU: the second choice there.

The compiled graph takes any number of tokens. It is compiled with one set of artificial sizes before the first row,
since sizes that happen to be equal, or 1, would be compiled for just that case. For the same reason queries and keys
are padded to whole blocks, at least two. Without the padding and `FORCE_USE_FLEX_ATTENTION`, short rows would use a
separate kernel, which fails to compile for 33 to 127 queries (PyTorch 2.13).
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from medprm_scorer.local.row import KeysValues, Row, join

_BLOCK = 128
"""Block size of `flex_attention`'s masks, the default of PyTorch."""
_LEAST_BLOCKS = 2
_OPTIONS = {"FORCE_USE_FLEX_ATTENTION": True}
_WARM_UP = (3 * _BLOCK, 5 * _BLOCK)  # queries and keys: no two sizes of the graph are equal


def flex_attention(
    queries: Tensor,
    row_kv: KeysValues,
    prefix_kv: Sequence[KeysValues],
    row: Row,
    query_positions: Tensor | None,
    scale: float,
) -> Tensor:
    """Attention through PyTorch's `flex_attention`; see `attention.Attend`."""
    keys, values = join(row_kv, prefix_kv)  # (kv_heads, keys, head_dim) each
    kind = "all" if query_positions is None else "some"
    if kind not in row.memory:  # the same in every layer
        row.memory[kind] = _block_mask(row, query_positions)
    heads, asked, head_dim = queries.shape
    run = _compiled(queries.device.type)
    if queries.device.type != "cpu":
        _warm_up(run, queries.device, queries.dtype, heads, len(keys), head_dim, scale)
    return _run(run, queries, keys, values, row.memory[kind], scale)[:, :asked].transpose(0, 1)


def _run(
    run: Callable[..., Tensor], queries: Tensor, keys: Tensor, values: Tensor, block_mask: Any, scale: float
) -> Tensor:
    """Shape (heads, padded queries, head_dim)."""
    padded = [nn.functional.pad(side, (0, 0, 0, _whole(side.shape[1]) - side.shape[1])) for side in (keys, values)]
    asked = nn.functional.pad(queries, (0, 0, 0, _whole(queries.shape[1]) - queries.shape[1]))
    return run(
        asked[None],
        padded[0][None],
        padded[1][None],
        block_mask=block_mask,
        scale=scale,
        enable_gqa=len(queries) > len(keys),
        kernel_options=_OPTIONS,
    )[0]


@cache
def _compiled(device: str) -> Any:
    """`flex_attention`, compiled except on a CPU: uncompiled, it holds all scores in memory at once.

    It is compiled as a whole graph, so that a process that has compiled too many gets an exception.
    """
    from torch.nn.attention import flex_attention as module

    if device == "cpu":
        return module.flex_attention
    return torch.compile(module.flex_attention, dynamic=True, fullgraph=True)


@cache
def _warm_up(
    run: Callable[..., Tensor],
    device: torch.device,
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    head_dim: int,
    scale: float,
) -> None:
    """Compile the one graph of a kind of model."""
    asked, seen = _WARM_UP
    first = torch.zeros(seen, dtype=torch.int32, device=device)  # (keys,)
    asking = torch.arange(asked, dtype=torch.int32, device=device)  # (queries,)
    keys = torch.zeros(kv_heads, seen, head_dim, dtype=dtype, device=device)
    queries = torch.zeros(heads, asked, head_dim, dtype=dtype, device=device)
    _run(run, queries, keys, keys.clone(), _masked(first, first + asked, asking, asked, seen), scale)


def _whole(tokens: int) -> int:
    """A number of tokens rounded up to whole blocks."""
    return max(-(-tokens // _BLOCK), _LEAST_BLOCKS) * _BLOCK


def _block_mask(row: Row, query_positions: Tensor | None) -> Any:
    """The row's mask, padded with copies of the last query and with keys that no token sees."""
    first, end = row.seen  # (keys,), (keys,)
    device = first.device
    asking = torch.arange(row.tokens, device=device) if query_positions is None else query_positions  # (queries,)
    asked, seen = _whole(len(asking)), _whole(len(first))
    asking = torch.cat([asking, asking[-1:].expand(asked - len(asking))]).int()  # (padded queries,)
    first = nn.functional.pad(first, (0, seen - len(first)), value=row.tokens)  # (padded keys,)
    end = nn.functional.pad(end, (0, seen - len(end)), value=0)  # (padded keys,)
    return _masked(first, end, asking, asked, seen)


def _masked(first: Tensor, end: Tensor, asking: Tensor, asked: int, seen: int) -> Any:
    """A block mask from the bounds of blocks, without building the full mask."""
    from torch.nn.attention.flex_attention import BlockMask

    by_block = asking.view(-1, _BLOCK)  # (query blocks, _BLOCK)
    low, high = by_block[:, :1], by_block[:, -1:]  # (query blocks, 1) each
    some = ((first <= high) & (end > low)).view(len(by_block), -1, _BLOCK).any(-1)  # (query blocks, key blocks)
    whole = ((first <= low) & (end > high)).view(len(by_block), -1, _BLOCK).all(-1)  # (query blocks, key blocks)

    def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (first[key] <= asking[query]) & (asking[query] < end[key])

    make = BlockMask.from_kv_blocks
    newer = {"compute_q_blocks": False} if "compute_q_blocks" in inspect.signature(make).parameters else {}
    return make(
        *_listed(some & ~whole),
        *_listed(whole),
        BLOCK_SIZE=_BLOCK,
        mask_mod=visible,
        seq_lengths=(asked, seen),
        **newer,  # type: ignore[arg-type]
    )


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """For each query block, the number of key blocks that are set, and their indices first, in ascending order."""
    counts = blocks.sum(-1, dtype=torch.int32)  # (query blocks,)
    order = (~blocks).to(torch.int8).argsort(dim=-1, stable=True).int()  # (query blocks, key blocks)
    return counts[None, None], order[None, None]
