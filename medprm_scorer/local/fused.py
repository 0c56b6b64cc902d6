"""Attention of a row on CPUs, depth by depth of the tree, through PyTorch's fused kernel, which holds no scores.

As `cascade` does on GPUs, with a kernel for one stretch of queries and keys at a time. The query heads that share keys
are a dimension along which the keys do not move, so that nothing is copied. In float32 the kernel does about 1.7 times
as many products a second as the two matrix products and the softmax of `paths`. In bfloat16 it depends on the
processor: with `avx512_bf16`, `paths` is more than twice as fast; without instructions for bfloat16, this is more than
twenty times as fast. `cpu_speed` measures it.
"""

from itertools import pairwise

import torch
from torch import Tensor

from medprm_scorer.local.row import Level


def fused_kernel(
    queries: Tensor, keys: Tensor, values: Tensor, level: Level, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """Stretch by stretch through the kernel behind `scaled_dot_product_attention` on CPUs; see `cascade.Kernel`."""
    asked, heads, head_dim = queries.shape
    kv_heads = keys.shape[1]
    shared = heads // kv_heads
    by_head = queries.view(asked, kv_heads, shared, head_dim).movedim(0, 2)  # (kv_heads, shared, queries, head_dim)
    keys, values = (  # (kv_heads, shared, keys, head_dim) each
        side.transpose(0, 1)[:, None].expand(-1, shared, -1, -1) for side in (keys, values)
    )
    answer = queries.new_empty(asked, heads, head_dim)
    total = queries.new_empty(asked, heads, dtype=torch.float32)
    for mine, theirs in zip(_stretches(level.query_ends), _stretches(level.key_ends), strict=True):
        one, one_total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            by_head[:, :, mine], keys[:, :, theirs], values[:, :, theirs], 0.0, causal, scale=scale
        )  # (kv_heads, shared, stretch, head_dim), (kv_heads, shared, stretch)
        answer[mine] = one.permute(2, 0, 1, 3).flatten(1, 2)  # (stretch, heads, head_dim)
        total[mine] = one_total.permute(2, 0, 1).flatten(1, 2)  # (stretch, heads)
    return answer, total


def _stretches(ends: Tensor) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(ends.tolist())]
