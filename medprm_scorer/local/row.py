"""A row of a prefix tree in the form that attention needs: what each token sees, moved to the device in one copy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from medprm_scorer.local.token_tree import Piece

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each of shape (kv_heads, tokens, head_dim)."""

TILE = 64
"""The usual number of tokens whose queries meet their path at once: their scores should stay in a core's cache."""


@dataclass(frozen=True)
class Level:
    """Stretches of queries, each of which sees one stretch of keys; no query or key is in two stretches.

    Args:
        queries: Indices of the queries in the row, one stretch after the other: a slice, or int32 of shape (queries,).
        keys: Indices among all keys, in the same form.
        query_ends: 0, and the ends of the stretches among the queries: int32 of shape (stretches + 1,).
        key_ends: As `query_ends`, for keys.
        most_queries: Length of the longest stretch of queries.
        most_keys: Length of the longest stretch of keys.
    """

    queries: slice | Tensor
    keys: slice | Tensor
    query_ends: Tensor
    key_ends: Tensor
    most_queries: int
    most_keys: int


@dataclass(frozen=True)
class Row:
    """What attention needs to know about a row.

    Args:
        pieces: From `TokenTree.row`; keys come in two kinds: first those of the pieces that the row does not run, in
            this order, then those of the row's own tokens.
        tokens: Number of tokens that the row runs.
        device: The device on which attention runs.
        inputs: Other lists of numbers that the row needs on the device, such as token ids.
        tile: How many queries meet their path at once, where attention goes path by path.
    """

    pieces: Sequence[Piece]
    tokens: int
    device: torch.device
    inputs: Sequence[Sequence[int]] = ()
    tile: int = TILE

    @property
    def given(self) -> list[Tensor]:
        """The `inputs`, each int32 of shape (its length,)."""
        if self.device.type == "cpu":  # there is no copy to save, and not every attention needs the rest
            return [torch.tensor(one, dtype=torch.int32, device="cpu") for one in self.inputs]
        return self._moved[0]

    @property
    def seen(self) -> tuple[Tensor, Tensor]:
        """For each key, the first token of the row that sees it, and one more than the last: two int32 of (keys,)."""
        return self._moved[1]

    @property
    def levels(self) -> list[Level]:
        """What tokens see: first within their own piece, then, by depth in the tree, outside it.

        In the first level, every piece that the row runs sees itself, causally. In each further level, the tokens below
        the pieces of one depth see all of those pieces.
        """
        return self._moved[2]

    @cached_property
    def memory(self) -> dict[str, Any]:
        """Data that an attention has computed for this row, to be used again in the next layer."""
        return {}

    def visible(self, query_positions: Tensor) -> Tensor:
        """Which keys the tokens at these indices of the row see: bools of shape (queries, keys)."""
        first, end = self.seen  # (keys,), (keys,)
        return (first <= query_positions[:, None]) & (query_positions[:, None] < end)  # (queries, keys)

    @cached_property
    def _moved(self) -> tuple[list[Tensor], tuple[Tensor, Tensor], list[Level]]:
        columns = [tuple(zip(*stretches, strict=True)) for stretches in self._by_level()]
        numbers = [*self.inputs, *(one for level in columns for one in _numbers(*level))]
        here = [torch.tensor(one, dtype=torch.int32, device="cpu") for one in numbers]  # one-dimensional
        there = _copied([*self._seen(), *here], self.device)
        given = there[2 : 2 + len(self.inputs)]
        rest = iter(there[2 + len(self.inputs) :])
        made = [
            Level(
                queries=_place(next(rest), query_starts, query_lengths),
                keys=_place(next(rest), key_starts, key_lengths),
                query_ends=next(rest),
                key_ends=next(rest),
                most_queries=max(query_lengths),
                most_keys=max(key_lengths),
            )
            for query_starts, query_lengths, key_starts, key_lengths in columns
        ]
        return given, (there[0], there[1]), made

    def _seen(self) -> tuple[Tensor, Tensor]:
        prefix = [piece for piece in self.pieces if not piece.in_row]
        pieces = [*prefix, *(piece for piece in self.pieces if piece.in_row)]
        lengths = torch.tensor([piece.length for piece in pieces], device="cpu")  # (pieces,)
        first = torch.tensor([piece.start for piece in prefix], dtype=torch.int32, device="cpu")  # (prefix pieces,)
        first = first.repeat_interleave(lengths[: len(prefix)])  # (prefix keys,)
        first = torch.cat([first, torch.arange(self.tokens, dtype=torch.int32, device="cpu")])  # (keys,)
        end = torch.tensor([piece.end for piece in pieces], dtype=torch.int32, device="cpu")  # (pieces,)
        return first, end.repeat_interleave(lengths)  # (keys,) each

    def _by_level(self) -> list[list[tuple[int, int, int, int]]]:
        """The stretches of each level: start and length of the queries, start and length of the keys."""
        before = sum(piece.length for piece in self.pieces if not piece.in_row)  # keys
        own: list[tuple[int, int, int, int]] = []
        by_depth: list[list[tuple[int, int, int, int]]] = []
        path: list[int] = []  # positions at which the pieces above begin
        known = 0
        for piece in self.pieces:
            while path and path[-1] >= piece.position:
                path.pop()
            if piece.in_row:
                keys, below = before + piece.start, piece.start + piece.length
                own.append((piece.start, piece.length, keys, piece.length))
            else:
                keys, below = known, piece.start
                known += piece.length
            if len(path) == len(by_depth):
                by_depth.append([])
            if piece.end > below:
                by_depth[len(path)].append((below, piece.end - below, keys, piece.length))
            path.append(piece.position)
        return [own, *filter(None, by_depth)]


def join(row_kv: KeysValues, prefix_kv: Sequence[KeysValues], repeat: int = 1) -> KeysValues:
    """All keys and values, (kv_heads * repeat, keys, head_dim) each: repeated for the query heads that share them."""
    keys, values = (torch.cat([*(pair[side] for pair in prefix_kv), row_kv[side]], 1) for side in (0, 1))
    return (keys.repeat_interleave(repeat, 0), values.repeat_interleave(repeat, 0)) if repeat > 1 else (keys, values)


def _copied(parts: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """One-dimensional tensors of one dtype, moved to the device in one copy from pinned memory, without waiting."""
    joined = torch.cat(list(parts))
    pinned = device.type == "cuda" and torch.cuda.is_available()
    if pinned:
        joined = joined.pin_memory()
    return list(joined.to(device, non_blocking=pinned).split_with_sizes([len(part) for part in parts]))


def _numbers(
    query_starts: Sequence[int], query_lengths: Sequence[int], key_starts: Sequence[int], key_lengths: Sequence[int]
) -> tuple[list[int], ...]:
    """Indices of the queries and of the keys (none if a slice describes them), and the ends of their stretches."""
    places = (
        []
        if _is_gapless(starts, lengths)
        else [start + i for start, length in zip(starts, lengths, strict=True) for i in range(length)]
        for starts, lengths in ((query_starts, query_lengths), (key_starts, key_lengths))
    )
    return *places, [0, *accumulate(query_lengths)], [0, *accumulate(key_lengths)]


def _place(places: Tensor, starts: Sequence[int], lengths: Sequence[int]) -> slice | Tensor:
    return slice(starts[0], starts[-1] + lengths[-1]) if _is_gapless(starts, lengths) else places


def _is_gapless(starts: Sequence[int], lengths: Sequence[int]) -> bool:
    return all(start == starts[0] + done for start, done in zip(starts, accumulate(lengths, initial=0), strict=False))
