"""A plain twin of PyTorch's `varlen_attn`: a loop over stretches, which refuses what the kernel would read wrongly."""

import torch
from torch import Tensor

from medprm_scorer.local.row import Level


def plain_varlen(
    queries: Tensor, keys: Tensor, values: Tensor, level: Level, causal: bool, scale: float, by_query: bool = False
) -> tuple[Tensor, Tensor]:
    """As `cascade._varlen`; takes float32, too.

    Args:
        queries: Shape (queries, heads, head_dim).
        keys: Shape (keys, kv_heads, head_dim).
        values: As `keys`.
        level: The stretches.
        causal: Whether the keys behind a query's own place are not seen.
        scale: Factor of the scores.
        by_query: Whether the sums come as (queries, heads), which is documented; PyTorch 2.13 gives (heads, queries).
    """
    assert {queries.dtype, keys.dtype} == {values.dtype}
    assert all(side.stride(-1) == 1 for side in (queries, keys, values))
    assert {level.query_ends.dtype, level.key_ends.dtype} == {torch.int32}
    query_lengths, key_lengths = (
        (ends[1:] - ends[:-1]).tolist() for ends in (level.query_ends.cpu(), level.key_ends.cpu())
    )
    assert [sum(query_lengths), sum(key_lengths)] == [len(queries), len(keys)]
    assert [max(query_lengths), max(key_lengths)] == [level.most_queries, level.most_keys]
    assert min(query_lengths + key_lengths) > 0  # the sum of no exponentials is infinite there
    answers, sums = [], []
    shared = queries.shape[1] // keys.shape[1]
    parts = (queries.split(query_lengths), keys.split(key_lengths), values.split(key_lengths))
    for asked, seen, given in zip(*parts, strict=True):
        asked = asked.transpose(0, 1).float()  # (heads, queries, head_dim)
        seen, given = (side.transpose(0, 1).float().repeat_interleave(shared, 0) for side in (seen, given))
        scores = asked @ seen.transpose(1, 2) * scale  # (heads, queries, keys)
        if causal:
            assert asked.shape == seen.shape
            unseen = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu(1)  # (queries, keys)
            scores = scores.masked_fill(unseen, -torch.inf)
        answers.append((scores.softmax(-1) @ given).transpose(0, 1))  # (queries, heads, head_dim)
        sums.append(scores.logsumexp(-1))  # (heads, queries)
    total = torch.cat(sums, 1)  # (heads, queries)
    return torch.cat(answers).to(queries.dtype), total.transpose(0, 1).contiguous() if by_query else total
