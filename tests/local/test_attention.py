"""The ways of attention give the same numbers, and those that a plain loop over tokens gives."""

import random
import warnings
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn.attention import flex_attention as module

from medprm_scorer.local import attention, cascade, flex
from medprm_scorer.local.attention import ATTENTIONS, choose_attention
from medprm_scorer.local.masked import mask_attention
from medprm_scorer.local.row import Level, Row
from medprm_scorer.local.token_tree import TokenTree, common_length
from tests.support.rows import HEADS, KEY_HEADS, ROWS, SCALE, SIZE, TREE, make
from tests.support.varlen import plain_varlen

REAL_VARLEN = cascade._varlen  # before it is replaced for each test


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


@pytest.mark.parametrize("name", ["paths", "fused", "cascade", "flex"])
def test_bfloat16_is_as_near_to_float32_as_the_plain_way(name):
    queries, own, before, row = make(100, 400)
    half = [tuple(side.bfloat16() for side in pair) for pair in (own, *before)]
    for asking in (None, torch.arange(5, 300, 7)):
        asked = queries if asking is None else queries[:, asking]
        exact = mask_attention(asked, own, before, row, asking, SCALE)

        def error(way, asking=asking, asked=asked, exact=exact):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = way(asked.bfloat16(), half[0], half[1:], row, asking, SCALE)
            return (got.float() - exact).square().mean().sqrt()

        assert error(ATTENTIONS[name]) < 1.5 * error(mask_attention)


def test_each_device_has_its_ways_the_plain_one_last():
    half, whole = torch.bfloat16, torch.float32
    assert choose_attention(torch.device("cpu"), half) == ("paths", "fused", "mask")
    assert choose_attention(torch.device("cpu"), whole) == ("fused", "paths", "mask")
    assert choose_attention(torch.device("cuda"), half) == ("cascade", "flex", "mask")
    assert choose_attention(torch.device("cuda"), whole) == ("flex", "mask")  # the kernel has no float32
    assert choose_attention(torch.device("mps"), half) == ("mask",)


@st.composite
def rows(draw) -> tuple[Row, int]:
    """Any row of any tree, a part of which may be known, and how many tokens it has."""
    rng = random.Random(draw(st.integers(0, 10**6)))
    stems = [tuple(rng.randrange(9) for _ in range(rng.randint(0, 40))) for _ in range(3)]
    groups, known = [], []
    for number in range(draw(st.integers(1, 3))):
        tails = {
            rng.choice(stems) + rng.choice(stems) + tuple(rng.randrange(9) for _ in range(rng.randint(1, 30)))
            for _ in range(rng.randint(1, 6))
        }
        prefix = (number, *(rng.randrange(9) for _ in range(rng.randint(0, 30))))
        groups.append((prefix, sorted(tails)))
        first = groups[-1][1][0][: draw(st.sampled_from([0, 25]))]  # known of one sequence, and so of those alike
        some = draw(st.booleans())
        known.append([len(prefix) + common_length(one, first) if some else 0 for one in groups[-1][1]])
    whole = TokenTree(groups, known)
    assume(whole.size)
    begin = draw(st.integers(0, whole.size - 1))
    stop = draw(st.integers(begin + 1, whole.size))
    return Row(whole.row(begin, stop), stop - begin, torch.device("cpu")), stop - begin


@settings(max_examples=100)
@given(rows(), st.sampled_from([1, 3, 64, 256]), st.sampled_from([0, 1, 2]), st.integers(0, 1000))
def test_tiles_and_stretches_show_each_token_of_any_row_what_it_sees(drawn, tile, joined, seed):
    row, tokens = drawn
    row = replace(row, tile=tile)
    torch.manual_seed(seed)
    queries = torch.randn(HEADS, tokens, SIZE)

    def pair(count):
        return torch.randn(KEY_HEADS, count, SIZE), torch.randn(KEY_HEADS, count, SIZE)

    own, before = pair(tokens), [pair(piece.length) for piece in row.pieces if not piece.in_row]
    some = torch.tensor(sorted(random.Random(seed).sample(range(tokens), min(tokens, 7))))
    with patch.object(attention, "_JOINED", joined):
        for asking in (None, some, None):  # the second None takes what the first has made
            asked = queries if asking is None else queries[:, asking]
            expected = mask_attention(asked, own, before, row, asking, SCALE)
            for way in (attention.path_attention, attention.fused_attention):
                assert torch.allclose(way(asked, own, before, row, asking, SCALE), expected, atol=2e-6)


@settings(max_examples=60)
@given(rows())
def test_the_levels_of_any_row_of_any_tree_show_each_token_what_it_sees_and_nothing_twice(drawn):
    row, tokens = drawn
    asking = torch.arange(tokens)
    seen = torch.zeros(tokens, len(row.seen[0]), dtype=torch.int)
    for depth, level in enumerate(row.levels):
        queries = asking[level.queries] if isinstance(level.queries, slice) else level.queries.long()
        keys = torch.arange(seen.shape[1])
        keys = keys[level.keys] if isinstance(level.keys, slice) else level.keys.long()
        lengths = [(ends[1:] - ends[:-1]).tolist() for ends in (level.query_ends, level.key_ends)]
        assert min(map(min, lengths)) > 0
        assert [level.most_queries, level.most_keys] == [max(some) for some in lengths]
        for some, others in zip(queries.split(lengths[0]), keys.split(lengths[1]), strict=True):
            for place, query in enumerate(some):
                seen[query, others if depth else others[: place + 1]] += 1
    assert torch.equal(seen, row.visible(asking).int())


@pytest.mark.parametrize(("begin", "stop"), ROWS)
def test_all_numbers_of_a_row_are_moved_in_one_copy(begin, stop, monkeypatch):
    copies = []
    whole = Tensor.to
    monkeypatch.setattr(Tensor, "to", lambda *given, **named: copies.append(1) or whole(*given, **named))
    row = Row(TREE.row(begin, stop), stop - begin, torch.device("cpu"), ([3, 4, 5], [], [7]))
    assert [one.tolist() for one in row.given] == [[3, 4, 5], [], [7]]
    assert row.seen
    assert row.levels
    assert len(copies) == 1


@pytest.mark.parametrize("by_query", [True, False], ids=["documented", "implemented"])
def test_both_orders_in_which_the_kernel_may_give_its_sums_are_read_right(by_query, monkeypatch):
    """PyTorch's documentation and its code name different ones; as many tokens as heads would hide a mix-up."""
    monkeypatch.setattr(cascade, "_varlen", partial(plain_varlen, by_query=by_query))
    cascade._sums_are_by_query.cache_clear()
    start = next(n for n in range(100, 400) if len(TREE.row(n, n + HEADS)) > 1)
    queries, own, before, row = make(start, start + HEADS)
    got = cascade.cascade_attention(queries, own, before, row, None, SCALE)
    cascade._sums_are_by_query.cache_clear()
    assert torch.allclose(got, mask_attention(queries, own, before, row, None, SCALE), atol=2e-6)


@pytest.mark.skipif(find_spec("torch.nn.attention.varlen") is None, reason="needs PyTorch 2.10")
@pytest.mark.parametrize("causal", [True, False])
def test_the_real_kernel_takes_what_it_is_given(causal):
    """Its signature, and the shapes that it says it returns; nothing is computed."""
    with FakeTensorMode():
        queries = torch.empty(9, HEADS, 64, dtype=torch.bfloat16, device="cuda")
        keys = torch.empty(KEY_HEADS, 9, 64, dtype=torch.bfloat16, device="cuda").transpose(0, 1)
        ends = torch.empty(3, dtype=torch.int32, device="cuda")
        level = Level(slice(0, 9), slice(0, 9), ends, ends, 5, 5)
        answer, total = REAL_VARLEN(queries, keys, keys, level, causal, SCALE)
    assert answer.shape == queries.shape
    assert sorted(total.shape) == sorted((HEADS, 9))


def counted(monkeypatch, run):
    """`flex_attention` compiled as on a GPU, by a compiler that counts its graphs, and takes `run` for their code."""
    made = []

    def count(graph, inputs):
        made.append(len(inputs))
        return run(graph)

    def compiled(device):
        return torch.compile(module.flex_attention, backend=count, dynamic=True, fullgraph=True)

    torch.compiler.reset()
    monkeypatch.setattr(flex, "_compiled", cache(compiled))
    flex._warm_up.cache_clear()
    flex._warm_up(flex._compiled("cuda"), torch.device("cpu"), torch.float32, HEADS, KEY_HEADS, SIZE, SCALE)
    assert len(made) == 1
    yield made
    flex._warm_up.cache_clear()
    torch.compiler.reset()


@pytest.fixture
def graphs(monkeypatch):
    """Graphs that are run as they are."""
    yield from counted(monkeypatch, lambda graph: graph.forward)


@pytest.fixture
def uncomputed(monkeypatch):
    """Graphs that give back their queries."""
    yield from counted(
        monkeypatch, lambda _: lambda *given: (next(one for one in given if getattr(one, "ndim", 0) == 4),)
    )


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="needs a newer PyTorch")
def test_after_the_first_row_nothing_is_compiled_whatever_the_shapes(graphs):
    """Very short rows, one key, as many queries as keys, one block exactly, few queries at tags."""
    rng = random.Random(0)
    rows = [*ROWS, (0, 128), (0, 129), (0, 256), (128, 256), (300, 428), (TREE.size - 300, TREE.size)]
    for begin, stop in rows:
        queries, own, before, row = make(begin, stop)
        some = torch.tensor(sorted(rng.sample(range(stop - begin), min(stop - begin, rng.choice([1, 4, 40, 128])))))
        for asking in (None, some):
            asked = queries if asking is None else queries[:, asking]
            got = flex.flex_attention(asked, own, before, row, asking, SCALE)
            assert torch.allclose(got, mask_attention(asked, own, before, row, asking, SCALE), atol=2e-6)
    assert len(graphs) == 1


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="needs a newer PyTorch")
def test_500_requests_of_random_shapes_need_no_other_graph_than_the_first(uncomputed):
    rng = random.Random(0)
    shapes = set()
    for number in range(500):
        groups = []
        for group in range(rng.randint(1, 3)):
            prefix, stem = (number, group, *range(rng.choice([0, 48, 126, 3000]))), range(rng.choice([0, 1, 30, 400]))
            groups.append((prefix, [(*stem, -1, *range(one)) for one in rng.choice([(0,), (5, 1), range(16)])]))
        whole = TokenTree(groups)
        length = min(rng.choice([1, 2, 127, 128, 129, 1000, 9999]), whole.size)
        begin = rng.randint(0, whole.size - length)
        pieces = whole.row(begin, begin + length)
        row = Row(pieces, length, torch.device("cpu"))
        before = [torch.zeros(KEY_HEADS, piece.length, SIZE) for piece in pieces if not piece.in_row]
        own, asked = torch.zeros(KEY_HEADS, length, SIZE), min(rng.choice([1, 6, 128, 9999]), length)
        asking = torch.arange(asked) if asked < length or rng.random() < 0.3 else None
        given = (own, own), [(one, one) for one in before], row, asking, SCALE
        assert flex.flex_attention(torch.zeros(HEADS, asked, SIZE), *given).shape == (asked, HEADS, SIZE)
        shapes.add((asked, length, len(row.seen[0])))
    assert len(shapes) > 200
    assert len(uncomputed) == 1
