"""Measures which attention is fastest on this processor, once for each kind of model in a process.

Names and instruction sets of processors do not tell. A row like that of one question is run in each way, on random
numbers: tokens of two short chains behind a long prefix. The usual way is kept unless another one is clearly faster, so
that noise does not change the last bits of rewards from one process to the next.
"""

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from medprm_scorer.local.attention import ATTENTIONS, choose_attention
from medprm_scorer.local.row import TILE, Row
from medprm_scorer.local.token_tree import TokenTree

Choice = tuple[str, int]
"""One of `ATTENTIONS`, and its `Row.tile`."""

_CHOICES: tuple[Choice, ...] = (("fused", TILE), ("paths", TILE), ("paths", 2 * TILE), ("paths", 4 * TILE))
_PREFIX, _CHAIN = 2048, 128  # tokens
_ROUNDS = 3
_HOPELESS = 8  # times the least time so far; such a way is not tried again, with any tile
_CLEARLY = 0.9  # of the usual choice's time
_SMALLEST = 512  # width of all heads together; in smaller models attention takes little time


def fastest_on_cpu(config: Any, dtype: torch.dtype) -> Choice:
    """The fastest attention for a model on this processor.

    Args:
        config: The model's configuration.
        dtype: The type of its activations.

    Returns:
        The way and its tile. For a small model, and for one whose heads are unknown, the usual ones, unmeasured.
    """
    heads = getattr(config, "num_attention_heads", None) or 0
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or (getattr(config, "hidden_size", 0) // heads if heads else 0)
    if heads * head_dim < _SMALLEST:
        return usual_on_cpu(dtype)
    return _fastest(dtype, heads, kv_heads, head_dim, torch.get_num_threads())


def usual_on_cpu(dtype: torch.dtype) -> Choice:
    """The choice that suits most processors."""
    return choose_attention(torch.device("cpu"), dtype)[0], TILE


@cache
def _fastest(dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int, threads: int) -> Choice:
    del threads  # a part of the key: other threads share the caches otherwise
    return chosen(measured(workload(dtype, heads, kv_heads, head_dim)), usual_on_cpu(dtype))


def chosen(times: Mapping[Choice, float], usual: Choice) -> Choice:
    """The choice with the least time, or the usual one if none is clearly faster."""
    best = min(times, key=lambda choice: times[choice])
    return best if times[best] < _CLEARLY * times[usual] else usual


def measured(work: Callable[[Choice], None], clock: Callable[[], float] = time.perf_counter) -> dict[Choice, float]:
    """The least seconds of each choice, in alternating rounds. Larger tiles of a hopeless way are left out.

    Args:
        work: Runs attention in one way.
        clock: Seconds.
    """
    times: dict[Choice, float] = {}
    for choice in _CHOICES * _ROUNDS:
        if any(way == choice[0] and times[way, tile] > _HOPELESS * min(times.values()) for way, tile in times):
            continue
        start = clock()
        work(choice)
        times[choice] = min(times.get(choice, float("inf")), clock() - start)
    return times


def workload(dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> Callable[[Choice], None]:
    """A function that computes the attention of one row of random numbers, in a given way."""
    prefix = tuple(range(_PREFIX))
    tree = TokenTree([(prefix, [(one, *prefix[1:_CHAIN]) for one in range(2)])])
    pieces = tree.row(_PREFIX, tree.size)
    tokens = tree.size - _PREFIX
    random = torch.Generator().manual_seed(0)

    def make(heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(heads, tokens, head_dim, generator=random).to(dtype)

    queries = make(heads, tokens)
    own = make(kv_heads, tokens), make(kv_heads, tokens)
    before = [(make(kv_heads, piece.length), make(kv_heads, piece.length)) for piece in pieces if not piece.in_row]

    def work(choice: Choice) -> None:
        way, tile = choice
        row = Row(pieces, tokens, torch.device("cpu"), tile=tile)
        with torch.inference_mode():
            ATTENTIONS[way](queries, own, before, row, None, head_dim**-0.5)

    return work
