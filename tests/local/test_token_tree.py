"""The token tree: every token once, each sees exactly its path, and every row knows what it needs from before."""

from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.local.token_tree import TokenTree
from tests.support.properties import examples

tails = st.lists(
    st.lists(st.sampled_from([0, 0, 0, 0, 1]), min_size=1, max_size=70).map(tuple), min_size=1, max_size=7, unique=True
)
groups = st.lists(st.tuples(st.lists(st.integers(5, 7), min_size=1, max_size=30).map(tuple), tails), max_size=4)


def numbers(tree: TokenTree, group: int, sequence: int) -> list[int | None]:
    """The numbers of a sequence's tokens, from the first."""
    return [
        None if tree.spans[place].known else tree.spans[place].start + offset
        for place in tree.paths[group][sequence]
        for offset in range(tree.spans[place].length)
    ]


@settings(max_examples=examples(200))
@given(groups)
def test_each_sequence_is_a_path_and_positions_count_along_it(groups):
    tree = TokenTree(groups)
    assert len(tree.ids) == len(tree.positions) == tree.size
    used = set()
    for group, (prefix, tails) in enumerate(groups):
        for sequence, tail in enumerate(tails):
            path = numbers(tree, group, sequence)
            assert [tree.ids[number] for number in path] == [*prefix, *tail]
            assert [tree.positions[number] for number in path] == list(range(len(path)))
            assert [tree.index(group, sequence, depth) for depth in range(len(path))] == path
            used |= set(path)
    assert used == set(range(tree.size))


@settings(max_examples=examples(200))
@given(groups, st.integers(1, 90), st.randoms(use_true_random=False))
def test_rows_name_exactly_what_their_tokens_see(groups, budget, random):
    """Rebuilds, from the pieces of every row, what each token sees, and holds it to the tokens of its own sequence."""
    known = [[random.randint(0, len(prefix)) if prefix else 0] * len(tails) for prefix, tails in groups]
    tree = TokenTree(groups, known)
    paths = {}  # for each number, all depths on its path, as (group, depth, token or None if known)
    for group, (prefix, tails) in enumerate(groups):
        for sequence, tail in enumerate(tails):
            path, ids = numbers(tree, group, sequence), [*prefix, *tail]
            for depth, number in enumerate(path):
                if number is not None:
                    paths[number] = ids[: depth + 1]
    for begin in range(0, tree.size, budget):
        stop = min(begin + budget, tree.size)
        seen = {number: {} for number in range(begin, stop)}
        run = []
        for piece in tree.row(begin, stop):
            span = tree.spans[piece.span]
            prefix, tails = next(
                groups[group] for group, all_ in enumerate(tree.paths) if any(piece.span in path for path in all_)
            )
            ids = [*prefix, *tails[span.sequence]]
            for offset in range(piece.length):
                depth = piece.position + offset
                first = piece.start + offset if piece.in_row else piece.start
                run += [begin + first] if piece.in_row else []
                for place in range(first, piece.end):
                    assert depth not in seen[begin + place]
                    seen[begin + place][depth] = ids[depth]
        assert run == list(range(begin, stop))
        for number, by_depth in seen.items():
            assert [by_depth[depth] for depth in sorted(by_depth)] == paths[number]


def test_what_sequences_begin_with_is_there_once():
    stem = tuple(range(100, 140))
    tree = TokenTree([((1, 2, 3), [(*stem, 7), (*stem, 8, 8), (9, 9)]), ((1, 2, 3), [(5,)])])
    assert tree.size == 3 + 40 + 1 + 2 + 2 + 3 + 1
    short = stem[:7]  # too short to be worth a piece of its own
    assert TokenTree([((1,), [(*short, 7), (*short, 8)])]).size == 1 + 16


def test_a_sequence_that_others_continue_costs_nothing():
    stem = tuple(range(100, 140))
    tree = TokenTree([((1,), [stem, (*stem, 5), (*stem, 5, 6)])])
    assert tree.size == 1 + 40 + 1 + 2
    assert tree.index(0, 0, 40) == 40


def test_known_tokens_have_no_index():
    stem = tuple(range(100, 140))
    tree = TokenTree([((1, 2), [(*stem, 7), (*stem, 8)])], [[22, 22]])
    assert tree.size == 20 + 1 + 1
    assert tree.index(0, 1, 21) is None
    assert tree.index(0, 1, 22) == 0
    assert [(piece.position, piece.length, piece.in_row) for piece in tree.row(0, 21)] == [
        (0, 2, False), (2, 20, False), (22, 20, True), (42, 1, True),
    ]  # fmt: skip
    assert TokenTree([((1, 2), [stem])], [[42]]).size == 0


def test_many_nested_sequences_need_no_deep_recursion():
    nested = [tuple([4] * length) for length in range(20, 8000, 19)]  # far enough apart to be shared
    assert TokenTree([((1,), nested)]).size == 1 + max(map(len, nested))
