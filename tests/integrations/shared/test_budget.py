"""Which documents are judged against where not all fit."""

from hypothesis import given
from hypothesis import strategies as st

from medprm_integrations.shared.evidence import within_budget


def words(text):
    return len(text.split())


def test_by_score_where_there_are_scores():
    found = within_budget(["a b", "c d", "e f"], words, budget=6, scores=[0.1, 0.9, 0.5])
    assert (found.texts, found.places({0, 1}), found.left_out) == (("c d", "e f"), [1, 2], 1)
    found = within_budget(["a b", "c d", "e f"], words, budget=6, scores=[None, float("nan"), 0.5])
    assert found.texts == ("a b", "e f")


def test_one_that_does_not_fit_is_passed_over():
    found = within_budget(["a b c d e f", " ", "g", "g", "h"], words, budget=5)
    assert (found.texts, found.left_out, found.given) == (("g", "h"), 1, 5)
    assert (found.places([0]), found.places([1]), found.places([])) == ([2, 3], [4], [])


@given(st.lists(st.tuples(st.text("ab ", max_size=20), st.none() | st.floats())), st.integers(0, 30))
def test_it_fits_and_everything_is_counted(documents, budget):
    texts = [text for text, _ in documents]
    found = within_budget(texts, words, budget=budget, scores=[score for _, score in documents])
    assert sum(words(text) + 1 for text in found.texts) <= budget
    read = found.places(range(len(found.texts)))
    assert found.texts == tuple(dict.fromkeys(texts[place] for place in read))
    blank = sum(not text.strip() for text in texts)
    assert len(read) + found.left_out + blank == found.given == len(texts)
