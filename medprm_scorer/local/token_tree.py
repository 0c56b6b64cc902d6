"""Token sequences as a tree, so that what several of them begin with is run once.

Each question's prefix is a root, and the candidates branch where they part. The tokens that must be run are numbered in
depth-first order. In that order the tokens below any run of tokens stand directly behind it, without a gap, so what a
token may see follows from two numbers per run: token q sees token k exactly if k <= q < stop(k), where stop(k) is the
end of everything below k. Any stretch of the order is a row that a model can run in one pass: `TokenTree.row` says what
the row needs of the tokens before it, and that is never more than the path to its first token.

A sequence may begin with tokens whose keys and values are known already. These have a place in the tree, not a number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

_WORTH_SHARING = 16
"""Least number of tokens that are split off to be shared: every split makes the attention's pieces smaller."""


@dataclass(frozen=True)
class Span:
    """A run of tokens that the same sequences pass through.

    Args:
        depth: Position of its first token in those sequences.
        length: Number of tokens, at least one.
        begin: Number of its first token; for known tokens, of the first token below them.
        stop: One more than the number of the last token below it.
        known: Whether its keys and values are known, so that it is not run.
        sequence: One of the sequences that pass through it.
    """

    depth: int
    length: int
    begin: int
    stop: int
    known: bool
    sequence: int


@dataclass(frozen=True)
class Piece:
    """The part of a span that a row runs, or that it needs from before.

    Args:
        span: Number of the span.
        depth: Position of the first token.
        length: Number of tokens.
        begin: Place in the row of the first token that sees it; if the row runs it, of its own first token.
        stop: One more than the place in the row of the last token that sees it.
        own: Whether the row runs it.
    """

    span: int
    depth: int
    length: int
    begin: int
    stop: int
    own: bool


class TokenTree:
    """The tree of several groups of sequences; the sequences of one group have the same beginning.

    Args:
        groups: For each group, what its sequences begin with (at least one token) and how each goes on: at least
            one, all different.
        known: For each group, for each of its sequences, how many of its first tokens are known; None if none are.
            Where sequences are the same, they are known alike.

    Attributes:
        spans: In depth-first order.
        paths: For each group, for each sequence, the numbers of the spans that it passes through.
        size: Number of tokens to run.

    Example:
        >>> tree = TokenTree([((7, 8), [(1,) * 20 + (2,), (1,) * 20 + (3, 4)])])
        >>> [(span.depth, span.length, span.begin, span.stop) for span in tree.spans]
        [(0, 2, 0, 25), (2, 20, 2, 25), (22, 1, 22, 23), (22, 2, 23, 25)]
        >>> tree.paths, tree.size
        ([[[0, 1, 2], [0, 1, 3]]], 25)
    """

    def __init__(
        self,
        groups: Sequence[tuple[tuple[int, ...], Sequence[tuple[int, ...]]]],
        known: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.spans: list[Span] = []
        self.paths: list[list[list[int]]] = []
        self.size = 0
        self.ids: list[int] = []
        """Token ids by number."""
        self.depths: list[int] = []
        """Positions by number."""
        for place, (prefix, tails) in enumerate(groups):
            self._add(prefix, tails, known[place] if known else [0] * len(tails))

    def number(self, group: int, sequence: int, depth: int) -> int | None:
        """The number of a sequence's token at a depth; None if the token is known."""
        for place in self.paths[group][sequence]:
            span = self.spans[place]
            if depth < span.depth + span.length:
                return None if span.known else span.begin + depth - span.depth
        raise IndexError(f"the sequence has no token at depth {depth}")

    def row(self, begin: int, stop: int) -> list[Piece]:
        """The pieces, in depth-first order, that the tokens from `begin` up to `stop` are or see.

        Where a piece stands in the list, all that its tokens see stands before it: a stack that is written by depth
        holds, at each piece, exactly its path.
        """
        pieces: list[Piece] = []
        for place, span in enumerate(self.spans):
            if span.stop <= begin or span.begin >= stop:
                continue
            end = min(span.stop, stop) - begin
            if span.known:
                pieces.append(Piece(place, span.depth, span.length, max(span.begin - begin, 0), end, False))
                continue
            before = min(max(begin - span.begin, 0), span.length)  # tokens of the span that an earlier row ran
            if before:
                pieces.append(Piece(place, span.depth, before, 0, end, False))
            own = min(span.length, stop - span.begin) - before
            if own > 0:
                first = span.begin + before - begin
                pieces.append(Piece(place, span.depth + before, own, first, end, True))
        return pieces

    def _add(self, prefix: tuple[int, ...], tails: Sequence[tuple[int, ...]], known: Sequence[int]) -> None:
        """Put one group into the tree."""
        order = sorted(range(len(tails)), key=tails.__getitem__)
        common = [0, *(common_length(tails[one], tails[two]) for one, two in pairwise(order))]
        self.paths.append([[] for _ in tails])
        open_: list[int] = []  # the spans above the one being made
        self._open(open_, prefix, tails, order, 0, len(prefix), known)
        todo = [(0, len(order), 0, len(open_))]  # sequences order[first:last] go on at a depth behind the prefix
        while todo:
            first, last, depth, level = todo.pop()
            self._close(open_, level)
            alone = last - first == 1
            end = len(tails[order[first]]) if alone else min(common[first + 1 : last])
            if end > depth and (alone or end >= depth + _WORTH_SHARING):
                self._open(open_, prefix, tails, order[first:last], len(prefix) + depth, len(prefix) + end, known)
                depth = end
            if not alone:
                runs = _runs(common, first, last, depth + _WORTH_SHARING)
                todo += [(low, high, depth, len(open_)) for low, high in reversed(list(runs))]
        self._close(open_, 0)

    def _open(
        self,
        open_: list[int],
        prefix: tuple[int, ...],
        tails: Sequence[tuple[int, ...]],
        sequences: Sequence[int],
        begin: int,
        end: int,
        known: Sequence[int],
    ) -> None:
        """Make the span of some sequences from depth `begin` to `end`; two, if the known part ends in between."""
        one = sequences[0]
        edge = min(max(known[one], begin), end)
        for low, high, is_known in ((begin, edge, True), (edge, end, False)):
            if low == high:
                continue
            for sequence in sequences:
                self.paths[-1][sequence].append(len(self.spans))
            open_.append(len(self.spans))
            self.spans.append(Span(low, high - low, self.size, self.size, is_known, one))
            if not is_known:
                self.ids += prefix[low:high]
                self.ids += tails[one][max(low - len(prefix), 0) : max(high - len(prefix), 0)]
                self.depths += range(low, high)
                self.size += high - low

    def _close(self, open_: list[int], level: int) -> None:
        """All but the first `level` open spans have nothing more below them."""
        for place in open_[level:]:
            self.spans[place] = replace(self.spans[place], stop=self.size)
        del open_[level:]


def _runs(common: Sequence[int], first: int, last: int, least: int) -> Iterator[tuple[int, int]]:
    """Cut first..last wherever neighbours have less than `least` tokens in common."""
    low = first
    for place in range(first + 1, last):
        if common[place] < least:
            yield low, place
            low = place
    yield low, last


def common_length(one: Sequence[int], two: Sequence[int]) -> int:
    """Number of tokens that two sequences begin with alike."""
    return next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
