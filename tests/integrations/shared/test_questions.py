"""The question of a conversation: put together of what the user said, within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_integrations.shared.questions import MOST_CHARACTERS, MOST_TURNS, put_together, without_feedback
from medprm_scorer import InputError
from tests.support.reading import QUESTION, SECRET

OTHER = "Which drug?\n\n(A) Aspirin\n(B) Heparin"


def test_a_follow_up_is_judged_with_what_it_is_about():
    asked = put_together([QUESTION, "Are you sure?", "And in children?"])
    assert asked.text == f"{QUESTION}\n\nAre you sure?\n\nAnd in children?"
    assert asked.cautions == ("The question was put together from 3 messages of the user in the conversation.",)
    assert (put_together([QUESTION]).text, put_together([QUESTION, " \n"]).cautions) == (QUESTION, ())


def test_a_question_with_options_of_its_own_begins_anew():
    assert put_together(["Hello", QUESTION, OTHER]).text == OTHER
    assert put_together([QUESTION, OTHER, "Why not (A) or (B)?"]).text == f"{OTHER}\n\nWhy not (A) or (B)?"


def test_what_stands_in_for_a_question():
    assert put_together([], ["old", "system", ""], ["sum"]).text == "system"
    asked = put_together([" "], [""], ["first", "second"])
    assert asked.text == "second"
    assert "summary" in asked.cautions[0]
    with pytest.raises(InputError, match="no question"):
        put_together(["", "\n"], [" "], [""])


@given(st.lists(st.text(max_size=900) | st.just("x" * 3_000) | st.just("Ж" * 9_000), min_size=1, max_size=30))
def test_it_is_bounded_and_ends_with_the_last_words(turns):
    said = [turn for turn in turns if turn.strip()]
    if not said:
        return
    text = put_together(turns).text
    assert text.endswith(said[-1])
    assert len(text) <= max(MOST_CHARACTERS + 2 * MOST_TURNS, len(said[-1]))


def test_no_more_turns_than_the_bound():
    text = put_together([f"turn {place}" for place in range(100)]).text
    assert text.split("\n\n") == ["turn 0", *(f"turn {place}" for place in range(100 - MOST_TURNS + 1, 100))]


def test_feedback_is_no_question():
    once = f"Here is a previous bad answer.\n{SECRET}.\nHere is some feedback\nNow answer the question.\n{QUESTION}"
    twice = f"Here is a previous bad answer.\nStep 1: x.\nfeedback\nNow answer the question.\n{once}"
    for query in (QUESTION, once, twice, f"{QUESTION}\n----------------\nHere is a previous bad answer.\n{SECRET}"):
        assert without_feedback(query) == QUESTION
    quoted = "Why is this bad?\nNow answer the question.\nHow?"
    assert without_feedback(quoted) == quoted
