"""The KV cache: keys and values kept after the forward pass that computed them, for later rows or for a session."""

from collections.abc import Sequence

import torch

from medprm_scorer.local.row import KeysValues
from medprm_scorer.local.token_tree import Piece, TokenTree

LayersKV = dict[int, KeysValues]
"""Keys and values of some tokens, by layer; each of shape (kv_heads, tokens, head_dim)."""


class RowCollector:
    """Copies the keys and values that later rows will attend to, layer by layer, while a row runs.

    Args:
        pieces: The pieces that the row runs and whose keys and values are needed.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.by_span: list[tuple[int, LayersKV]] = [(piece.span, {}) for piece in pieces]
        """For each piece, the number of its span, and its keys and values."""
        self._pieces = pieces

    def take(self, layer: int, row_kv: KeysValues) -> None:
        """Copy what is needed from one layer, so that the row's own tensors can be freed."""
        for piece, (_, layers) in zip(self._pieces, self.by_span, strict=True):
            tokens = slice(piece.start, piece.start + piece.length)
            keys, values = (side[:, tokens].clone() for side in row_kv)  # (kv_heads, piece.length, head_dim)
            layers[layer] = keys, values


class KVCache:
    """Keys and values of a tree's tokens, by span.

    Args:
        tree: The tree.
        only_needed: Whether to keep only what later rows see, and only until they have run; otherwise everything is
            kept.
    """

    def __init__(self, tree: TokenTree, only_needed: bool = False) -> None:
        self._tree, self._only_needed = tree, only_needed
        self._by_span: dict[int, list[LayersKV]] = {}

    def collector(self, pieces: Sequence[Piece], end: int) -> RowCollector:
        """A collector for the keys and values of a row that later rows will attend to.

        Args:
            pieces: The row's pieces.
            end: Index of the first token after the row.
        """
        run = (piece for piece in pieces if piece.in_row)
        return RowCollector([one for one in run if not self._only_needed or self._tree.spans[one.span].end > end])

    def add(self, row: RowCollector, end: int) -> None:
        """Keep what a row has collected, and drop what no row from index `end` onwards will see."""
        for span, layers in row.by_span:
            self._by_span.setdefault(span, []).append(layers)
        if self._only_needed:
            self._by_span = {span: kv for span, kv in self._by_span.items() if self._tree.spans[span].end > end}

    def put(self, span: int, layers: LayersKV) -> None:
        """Keep the keys and values of a whole known span."""
        self._by_span[span] = [layers]

    def prefix_kv(self, pieces: Sequence[Piece]) -> list[LayersKV]:
        """Keys and values of the pieces that a row sees but does not run, in order."""
        return [self._whole(piece.span) for piece in pieces if not piece.in_row]

    def of_path(self, path: Sequence[int], start: int, end: int) -> LayersKV:
        """Keys and values of the tokens at the positions from `start` up to `end` of one path of spans."""
        found: list[LayersKV] = []
        for number in path:
            span = self._tree.spans[number]
            low, high = max(start - span.position, 0), min(end - span.position, span.length)
            if low < high:
                whole = self._whole(number)
                found.append({layer: (k[:, low:high], v[:, low:high]) for layer, (k, v) in whole.items()})
        return _joined(found)

    def _whole(self, span: int) -> LayersKV:
        """A span's parts as one; they are joined once, and then stay joined."""
        parts = self._by_span[span]
        if len(parts) > 1:
            parts[:] = [_joined(parts)]
        return parts[0]


def _joined(parts: Sequence[LayersKV]) -> LayersKV:
    if len(parts) == 1:
        return parts[0]
    joined: LayersKV = {}
    for layer in parts[0]:
        keys, values = (torch.cat([part[layer][side] for part in parts], 1) for side in (0, 1))
        joined[layer] = keys, values  # (kv_heads, tokens of all parts, head_dim)
    return joined
