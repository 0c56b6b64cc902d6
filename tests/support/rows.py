"""Rows of a prefix tree of every kind, with random queries, keys and values."""

import random
from typing import Any

import torch

from medprm_scorer.local.row import Row
from medprm_scorer.local.token_tree import TokenTree

HEADS, KEY_HEADS, SIZE, SCALE = 8, 2, 16, 0.3


def tree() -> TokenTree:
    """Three questions, each with candidates that share leading steps."""
    rng = random.Random(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(100) for _ in range(count))

    groups = []
    for length in (1, 300, 131):
        stem, second = ids(40), ids(30)
        tails = [stem + ids(20), stem + second, stem + second + ids(5), stem + second + ids(90), ids(200), ids(3)]
        groups.append((ids(length), tails))
    return TokenTree(groups)


TREE = tree()
ROWS = [(0, TREE.size), (0, 100), (0, 1), (100, 400), (399, 401), (400, TREE.size), (TREE.size - 1, TREE.size)]
"""First tokens of rows, and those behind the last."""


def make(begin: int, stop: int, dtype: torch.dtype = torch.float32) -> tuple[Any, Any, Any, Row]:
    """Queries, keys and values of the row's own tokens, those of the pieces before it, and the row."""
    torch.manual_seed(begin)
    pieces = TREE.row(begin, stop)
    queries = torch.randn(HEADS, stop - begin, SIZE, dtype=dtype)

    def pair(tokens: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.randn(KEY_HEADS, tokens, SIZE, dtype=dtype) for _ in range(2))

    before = [pair(piece.length) for piece in pieces if not piece.in_row]
    return queries, pair(stop - begin), before, Row(pieces, stop - begin, torch.device("cpu"))
