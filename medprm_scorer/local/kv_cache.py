"""Keys and values that outlive the pass that computed them: for later rows of the same tree, or for a session."""

from collections.abc import Sequence

import torch

from medprm_scorer.local.attention import KeysValues
from medprm_scorer.local.token_tree import Piece, TokenTree

Layers = dict[int, KeysValues]
"""Keys and values of some tokens, by layer."""


class KeptRow:
    """Takes what is to be kept of one row, layer by layer, while the row runs.

    Args:
        pieces: Pieces that the row runs and whose keys and values are to be kept.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.parts: list[tuple[int, Layers]] = [(piece.span, {}) for piece in pieces]
        """For each piece the number of its span, and its keys and values."""
        self._pieces = pieces

    def take(self, layer: int, own: KeysValues) -> None:
        """Copy what is needed of a layer's keys and values, so that the row's own can be let go."""
        for piece, (_, layers) in zip(self._pieces, self.parts, strict=True):
            keys, values = (side[:, piece.begin : piece.begin + piece.length].clone() for side in own)
            layers[layer] = keys, values


class KeptValues:
    """Keys and values of a tree's tokens, by span.

    Args:
        tree: The tree.
        only_needed: Whether to keep only what later rows see, and only until they have run; else everything is kept.
    """

    def __init__(self, tree: TokenTree, only_needed: bool = False) -> None:
        self._tree, self._only_needed = tree, only_needed
        self._parts: dict[int, list[Layers]] = {}

    def keeper(self, pieces: Sequence[Piece], stop: int) -> KeptRow:
        """Something to take what is to be kept of a row with these pieces that ends at the token `stop`."""
        wanted = (piece for piece in pieces if piece.own)
        return KeptRow([one for one in wanted if not self._only_needed or self._tree.spans[one.span].stop > stop])

    def add(self, row: KeptRow, stop: int) -> None:
        """Keep what a row has left; it ended at the token `stop`."""
        for span, layers in row.parts:
            self._parts.setdefault(span, []).append(layers)
        if self._only_needed:
            self._parts = {span: parts for span, parts in self._parts.items() if self._tree.spans[span].stop > stop}

    def put(self, span: int, layers: Layers) -> None:
        """Keep the keys and values of a known span, all of it."""
        self._parts[span] = [layers]

    def before(self, pieces: Sequence[Piece]) -> list[Layers]:
        """Keys and values of the pieces that a row does not run, in order."""
        return [self._whole(piece.span) for piece in pieces if not piece.own]

    def of_path(self, path: Sequence[int], begin: int, stop: int) -> Layers:
        """Keys and values of the tokens at the depths from `begin` up to `stop` of one path of spans."""
        found: list[Layers] = []
        for place in path:
            span = self._tree.spans[place]
            low, high = max(begin - span.depth, 0), min(stop - span.depth, span.length)
            if low < high:
                whole = self._whole(place)
                found.append({layer: (k[:, low:high], v[:, low:high]) for layer, (k, v) in whole.items()})
        return _joined(found)

    def _whole(self, span: int) -> Layers:
        """A span's parts in one; joined once, and then kept so."""
        parts = self._parts[span]
        if len(parts) > 1:
            parts[:] = [_joined(parts)]
        return parts[0]


def _joined(parts: Sequence[Layers]) -> Layers:
    if len(parts) == 1:
        return parts[0]
    joined: Layers = {}
    for layer in parts[0]:
        keys, values = (torch.cat([part[layer][side] for part in parts], 1) for side in (0, 1))
        joined[layer] = keys, values
    return joined
