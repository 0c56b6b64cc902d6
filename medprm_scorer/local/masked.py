"""Attention of a row with a mask over all keys: the plain reference for the other implementations, on any device."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medprm_scorer.local.row import KeysValues, Row, join


def mask_attention(
    queries: Tensor,
    row_kv: KeysValues,
    prefix_kv: Sequence[KeysValues],
    row: Row,
    query_positions: Tensor | None,
    scale: float,
) -> Tensor:
    """One call of PyTorch's scaled dot-product attention; see `attention.Attend`."""
    asking = torch.arange(row.tokens, device=queries.device) if query_positions is None else query_positions
    keys, values = join(row_kv, prefix_kv, len(queries) // len(row_kv[0]))  # (heads, keys, head_dim) each
    return nn.functional.scaled_dot_product_attention(
        queries[None], keys[None], values[None], attn_mask=row.visible(asking), scale=scale
    )[0].transpose(0, 1)  # (queries, heads, head_dim)
