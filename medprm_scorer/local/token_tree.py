"""A prefix tree of token sequences, so that shared prefixes are run once.

Each question's prefix is a root, and the candidates branch where they differ. The tokens that must be run are numbered
in depth-first order; such a number is called an index here. In that order the tokens below any run of tokens follow
directly, without a gap, so what a token may see follows from two numbers per run: token q sees token k exactly if k <=
q < end(k), where end(k) is the end of everything below k. Any stretch of the order is a row that a model can run in one
forward pass: `TokenTree.row` says what the row needs from the tokens before it, which is never more than the path to
its first token.

A sequence may begin with tokens whose keys and values are already known. These have a position in the tree, but no
index.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

_WORTH_SHARING = 8
"""The smallest number of tokens for which a shared span is split off: every split makes the pieces smaller."""


@dataclass(frozen=True)
class Span:
    """A run of consecutive tokens that the same sequences pass through.

    Args:
        position: Position of its first token in those sequences.
        length: Number of tokens, at least one.
        start: Index of its first token; for known tokens, of the first token below them.
        end: One more than the index of the last token below it.
        known: Whether its keys and values are known, so that it is not run.
        sequence: One of the sequences that pass through it.
    """

    position: int
    length: int
    start: int
    end: int
    known: bool
    sequence: int


@dataclass(frozen=True)
class Piece:
    """The part of a span that a row runs, or that it needs from earlier rows.

    Args:
        span: Number of the span.
        position: Position of the first token.
        length: Number of tokens.
        start: Index in the row of the first token that sees it; if the row runs it, of its own first token.
        end: One more than the index in the row of the last token that sees it.
        in_row: Whether the row runs it.
    """

    span: int
    position: int
    length: int
    start: int
    end: int
    in_row: bool


class TokenTree:
    """The prefix tree of several groups of sequences; the sequences of one group have the same beginning.

    Args:
        groups: For each group, the common prefix of its sequences (at least one token) and their continuations: at
            least one, all different.
        known: For each group, for each of its sequences, how many of its first tokens are known; None if none are.
            Where sequences are identical, the same tokens must be known.

    Attributes:
        spans: The spans, in depth-first order.
        paths: For each group, for each sequence, the numbers of the spans that it passes through.
        size: Number of tokens to run.
        ids: Token ids by index.
        positions: Positions by index.

    Example:
        >>> tree = TokenTree([((7, 8), [(1,) * 20 + (2,), (1,) * 20 + (3, 4)])])
        >>> [(span.position, span.length, span.start, span.end) for span in tree.spans]
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
        self.positions: list[int] = []
        for group, (prefix, tails) in enumerate(groups):
            self._add(prefix, tails, known[group] if known else [0] * len(tails))

    def index(self, group: int, sequence: int, position: int) -> int | None:
        """The index of a sequence's token; None if the token is known.

        Raises:
            IndexError: The sequence is not that long.
        """
        for number in self.paths[group][sequence]:
            span = self.spans[number]
            if position < span.position + span.length:
                return None if span.known else span.start + position - span.position
        raise IndexError(f"the sequence has no token at position {position}")

    def row(self, start: int, end: int) -> list[Piece]:
        """The pieces, in depth-first order, that the tokens from `start` up to `end` run or see.

        A piece comes after everything that its tokens see: a stack indexed by position holds exactly the path of each
        piece.
        """
        pieces: list[Piece] = []
        for number, span in enumerate(self.spans):
            if span.end <= start or span.start >= end:
                continue
            seen_until = min(span.end, end) - start
            if span.known:
                first = max(span.start - start, 0)
                pieces.append(Piece(number, span.position, span.length, first, seen_until, False))
                continue
            earlier = min(max(start - span.start, 0), span.length)  # tokens of the span that an earlier row ran
            if earlier:
                pieces.append(Piece(number, span.position, earlier, 0, seen_until, False))
            length = min(span.length, end - span.start) - earlier
            if length > 0:
                first = span.start + earlier - start
                pieces.append(Piece(number, span.position + earlier, length, first, seen_until, True))
        return pieces

    def _add(self, prefix: tuple[int, ...], tails: Sequence[tuple[int, ...]], known: Sequence[int]) -> None:
        """Add one group to the tree."""
        order = sorted(range(len(tails)), key=tails.__getitem__)
        common = [0, *(common_length(tails[one], tails[two]) for one, two in pairwise(order))]
        self.paths.append([[] for _ in tails])
        open_: list[int] = []  # the spans above the one being made
        self._open(open_, prefix, tails, order, 0, len(prefix), known)
        todo = [(0, len(order), 0, len(open_))]  # order[first:last] are identical up to this position after the prefix
        while todo:
            first, last, place, level = todo.pop()
            self._close(open_, level)
            alone = last - first == 1
            end = len(tails[order[first]]) if alone else min(common[first + 1 : last])
            if end > place and (alone or end >= place + _WORTH_SHARING):
                self._open(open_, prefix, tails, order[first:last], len(prefix) + place, len(prefix) + end, known)
                place = end
            if not alone:
                runs = _runs(common, first, last, place + _WORTH_SHARING)
                todo += [(low, high, place, len(open_)) for low, high in reversed(list(runs))]
        self._close(open_, 0)

    def _open(
        self,
        open_: list[int],
        prefix: tuple[int, ...],
        tails: Sequence[tuple[int, ...]],
        sequences: Sequence[int],
        start: int,
        end: int,
        known: Sequence[int],
    ) -> None:
        """Make the span of some sequences from position `start` to `end`; two, if the known part ends in between."""
        one = sequences[0]
        edge = min(max(known[one], start), end)
        for low, high, is_known in ((start, edge, True), (edge, end, False)):
            if low == high:
                continue
            for sequence in sequences:
                self.paths[-1][sequence].append(len(self.spans))
            open_.append(len(self.spans))
            self.spans.append(Span(low, high - low, self.size, self.size, is_known, one))
            if not is_known:
                self.ids += prefix[low:high]
                self.ids += tails[one][max(low - len(prefix), 0) : max(high - len(prefix), 0)]
                self.positions += range(low, high)
                self.size += high - low

    def _close(self, open_: list[int], level: int) -> None:
        """Close all open spans except the first `level`: nothing more comes below them."""
        for number in open_[level:]:
            self.spans[number] = replace(self.spans[number], end=self.size)
        del open_[level:]


def _runs(common: Sequence[int], first: int, last: int, least: int) -> Iterator[tuple[int, int]]:
    """Split first..last wherever neighbours share fewer than `least` tokens."""
    low = first
    for place in range(first + 1, last):
        if common[place] < least:
            yield low, place
            low = place
    yield low, last


def indices_to_run(indices: Iterable[Iterable[int | None]]) -> list[int]:
    """The indices of those tokens that are run: ascending, each once.

    Example:
        >>> indices_to_run([[4, None], [2, 4]])
        [2, 4]
    """
    return sorted({index for some in indices for index in some if index is not None})


def common_length(one: Sequence[int], two: Sequence[int]) -> int:
    """Length of the common prefix of two sequences."""
    return next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
