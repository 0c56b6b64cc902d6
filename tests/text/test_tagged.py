import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.text.tagged import tagged_pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Step 1: a ки Step 2: b ки", ["Step 1: a", " Step 2: b"]),
        ("Intro Step 1: a ки\nStep 2:\nb ки \n", ["Intro Step 1: a", "\nStep 2:\nb"]),
        ("a ки ки b", ["a", ""]),
        ("a ки the tail", ["a"]),
        (" кислота кишечник", []),
        ("a ки. b ки, c", []),
        ("", []),
        (" ки", [""]),
    ],
)
def test_pieces(text, pieces):
    assert tagged_pieces(text) == tuple(pieces)


@given(st.text(alphabet="a ки\n"))
def test_nothing_is_changed(text):
    pieces = tagged_pieces(text)
    assert text.startswith("".join(f"{piece} ки" for piece in pieces))
    assert len(pieces) <= text.count(" ки")
