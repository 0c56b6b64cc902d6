"""The ways of attention give the same numbers, and those that a plain loop over tokens gives."""

import random
import warnings

import pytest
import torch

from medprm_scorer.local.attention import ATTENTIONS, Row, choose_attention, mask_attention
from medprm_scorer.local.token_tree import TokenTree

HEADS, KEY_HEADS, SIZE, SCALE = 8, 2, 16, 0.3


def tree() -> TokenTree:
    rng = random.Random(0)

    def ids(count):
        return tuple(rng.randrange(100) for _ in range(count))

    groups = []
    for length in (1, 300, 131):
        stem, second = ids(40), ids(30)
        tails = [stem + ids(20), stem + second, stem + second + ids(5), stem + second + ids(90), ids(200), ids(3)]
        groups.append((ids(length), tails))
    return TokenTree(groups)


TREE = tree()
ROWS = [(0, TREE.size), (0, 100), (0, 1), (100, 400), (399, 401), (400, TREE.size), (TREE.size - 1, TREE.size)]


def make(begin, stop, dtype=torch.float32):
    torch.manual_seed(begin)
    pieces = TREE.row(begin, stop)
    queries = torch.randn(HEADS, stop - begin, SIZE, dtype=dtype)

    def pair(tokens):
        return tuple(torch.randn(KEY_HEADS, tokens, SIZE, dtype=dtype) for _ in range(2))

    before = [pair(piece.length) for piece in pieces if not piece.in_row]
    return queries, pair(stop - begin), before, Row(pieces, stop - begin, torch.device("cpu"))


def loop(queries, own, before, row, asking):
    """Token by token, from the definition: a token sees the tokens of its path up to itself."""
    keys, values = (torch.cat([*(pair[side] for pair in before), own[side]], 1) for side in (0, 1))
    offset, spans = 0, []
    for piece in (piece for piece in row.pieces if not piece.in_row):
        spans.append((offset, piece))
        offset += piece.length
    result = []
    for query, place in zip(queries.transpose(0, 1), asking, strict=True):
        seen = [at + i for at, piece in spans if piece.start <= place < piece.end for i in range(piece.length)]
        for piece in (piece for piece in row.pieces if piece.in_row):
            seen += [
                offset + piece.start + i
                for i in range(piece.length)
                if piece.start + i <= place < piece.end
            ]  # fmt: skip
        heads = []
        for head, one in enumerate(query):
            of = head // (HEADS // KEY_HEADS)
            weights = (keys[of, seen] @ one * SCALE).softmax(0)
            heads.append(weights @ values[of, seen])
        result.append(torch.stack(heads))
    return torch.stack(result)


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize(("begin", "stop"), ROWS)
def test_each_way_equals_a_loop_over_tokens(name, begin, stop):
    queries, own, before, row = make(begin, stop)
    rng = random.Random(1)
    some = torch.tensor(sorted(rng.sample(range(stop - begin), min(stop - begin, 40))))
    for asking in (some, None):
        asked = queries if asking is None else queries[:, asking]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # flex_attention says that it is not compiled here
            got = ATTENTIONS[name](asked, own, before, row, asking, SCALE)
        assert got.shape == (asked.shape[1], HEADS, SIZE)
        expected = loop(queries[:, some], own, before, row, some.tolist())
        assert torch.allclose(got if asking is not None else got[some], expected, atol=2e-6)


@pytest.mark.parametrize("name", ["paths", "flex"])
def test_bfloat16_is_as_near_to_float32_as_the_plain_way(name):
    queries, own, before, row = make(100, 400)
    exact = mask_attention(queries, own, before, row, None, SCALE)
    half = [tuple(side.bfloat16() for side in pair) for pair in (own, *before)]

    def error(way):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = way(queries.bfloat16(), half[0], half[1:], row, None, SCALE)
        return (got.float() - exact).square().mean().sqrt()

    assert error(ATTENTIONS[name]) < 1.5 * error(mask_attention)


def test_each_device_has_its_way():
    assert choose_attention(torch.device("cpu")) == "paths"
    assert choose_attention(torch.device("cuda")) == "flex"
    assert choose_attention(torch.device("mps")) == "mask"
