"""Measures which attention is fastest on this processor, once for each kind of model in a process.

Names and instruction sets of processors do not tell. A row like that of one question is run in each way, on random
numbers: tokens of two short chains behind a long prefix. The usual way is kept unless another one is clearly faster, so
that noise seldom changes the last bits of rewards from one process to the next.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from medprm_scorer.local.attention import ATTENTIONS, choose_attention
from medprm_scorer.local.row import TILE, Row
from medprm_scorer.local.token_tree import TokenTree

Choice = tuple[str, int]
"""One of `ATTENTIONS`, and its `Row.tile`."""

_CHOICES: tuple[Choice, ...] = (("fused", TILE), ("paths", TILE), ("paths", 2 * TILE))
"""Larger tiles were slower wherever they were measured, and their scores take memory that no budget knows of."""

_TRIALS = (*_CHOICES[:2], *_CHOICES[:2], *_CHOICES, *_CHOICES)
_PREFIX, _CHAIN = 2048, 64  # tokens
_HOPELESS = 8  # times the least time, in two trials, since the first one is cold; no tile of such a way is tried then
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
    del threads  # the result depends on it
    return chosen(measured(workload(dtype, heads, kv_heads, head_dim)), usual_on_cpu(dtype))


def chosen(times: Mapping[Choice, float], usual: Choice) -> Choice:
    """The choice with the least time, or the usual one if none is clearly faster."""
    best = min(times, key=lambda choice: times[choice], default=usual)
    return best if times.get(best, 0.0) < _CLEARLY * times.get(usual, math.inf) else usual


def measured(work: Callable[[Choice], None], clock: Callable[[], float] = time.perf_counter) -> dict[Choice, float]:
    """The least seconds of each choice, in alternating trials. A way that fails or is hopeless is not tried again.

    Args:
        work: Runs attention in one way.
        clock: Seconds.
    """
    times: dict[Choice, float] = {}
    trials = Counter[Choice]()
    left_out: set[str] = set()
    for choice in _TRIALS:
        if choice[0] in left_out:
            continue
        start = clock()
        try:
            work(choice)
        except (RuntimeError, TypeError, ValueError):  # no such kernel: the engine says so if it has to do without
            left_out.add(choice[0])
            times.pop(choice, None)
            continue
        times[choice] = min(times.get(choice, math.inf), clock() - start)
        trials[choice] += 1
        least = min(times.values())
        left_out |= {one[0] for one in times if trials[one] > 1 and times[one] > _HOPELESS * least}
    return times


def workload(dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> Callable[[Choice], None]:
    """A function that computes the attention of one row of random numbers, in a given way."""
    prefix = tuple(range(_PREFIX))
    tree = TokenTree([(prefix, [(one, *prefix[1:_CHAIN]) for one in range(2)])])
    pieces = tree.row(_PREFIX, tree.size)
    tokens = tree.size - _PREFIX
    random = torch.Generator("cpu").manual_seed(0)

    def make(heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(heads, tokens, head_dim, generator=random, device="cpu").to(dtype)

    queries = make(heads, tokens)
    own = make(kv_heads, tokens), make(kv_heads, tokens)
    before = [(make(kv_heads, piece.length), make(kv_heads, piece.length)) for piece in pieces if not piece.in_row]

    def work(choice: Choice) -> None:
        way, tile = choice
        row = Row(pieces, tokens, torch.device("cpu"), tile=tile)
        with torch.inference_mode():
            ATTENTIONS[way](queries, own, before, row, None, head_dim**-0.5)

    return work
