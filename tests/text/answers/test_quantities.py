"""Doses that are no option: a chain that answers one is never read as an option that it mentions in passing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.text.answers import read_answer
from medprm_scorer.text.answers.quantities import Quantities

QUESTION = "The patient weighs 20 kg. Which daily dose?\n\n(A) 200 mg\n(B) 300 mg\n(C) 280 mg"


@pytest.mark.parametrize(
    "chain",
    [
        "The maximum is 300 mg. Give 100 mg.",
        "The answer is 150 mg, below the limit of 300 mg.",
        "Step 1: limit Zoravine to 300 mg.\nThe answer is 100 mg.",
        "So the dose is 100 mg. The limit is 300 mg.",
        "Step 1: limit 300 mg.\nStep 2: 5 x 20 = 100 mg.\nTherefore, the daily dose is 100 mg.",
        "Therefore 100 mg per day, with a maximum of 300 mg.",
        "The limit is 300 mg.\n100 mg",
        "The limit is 300 mg. The answer is 1,200 mg.",
        "The limit is 300 mg. The recommended dose is 100mg/day.",
    ],
)
def test_a_dose_that_is_no_option(chain):
    assert read_answer(chain, QUESTION) is None


@pytest.mark.parametrize(
    ("chain", "label"),
    [
        ("Give 200 mg.", "A"),
        ("The limit is 300 mg, so at 200 the answer is 200 mg.", "A"),
        ("The answer is 5 mg/kg × 40 kg = 200 mg.", "A"),
        ("At 10 mg per kg the answer is 200 mg daily.", "A"),
        ("Tablets of 50 mg exist. The answer is (B) 300 mg.", "B"),
        ("The answer is 200 mg (not 150 mg).", "A"),
        ("The limit is 300 mg. The answer is (A) 100 mg.", "A"),  # the letter is the answer
    ],
)
def test_a_dose_that_is_an_option(chain, label):
    assert read_answer(chain, QUESTION) == label


def test_a_number_of_a_dose_is_no_label():
    numbered = {"1": "200 mg", "2": "300 mg", "3": "280 mg"}
    assert read_answer("The limit is 300 mg. The answer is 2 mg.", options=numbered) is None
    assert read_answer("The answer is 2 because of the limit.", options=numbered) == "2"
    assert read_answer("The answer is 2) 300 mg.", options=numbered) == "2"
    assert read_answer("The answer is 7.", options=numbered) is None


def test_units_are_compared_and_not_converted():
    found = Quantities({"A": "2 weeks", "B": "1,500 weeks"})
    assert found.foreign("After 3 weeks, or a 2-week course, or 1500 weeks, or 3 days, or 1 week") == [0, 3]
    assert Quantities({"A": "5 mg/kg", "B": "9 mg per kg"}).foreign("5 mg/kg is 200 mg; 6 mg per kg") == [1]
    assert Quantities({"A": "5 mg", "B": "9 g"}).foreign("7 mg") == []
    assert Quantities({}).foreign("7 mg") == []


@given(st.lists(st.text(max_size=20), min_size=2, max_size=4), st.text(max_size=200))
def test_any_text_has_quantities_or_none(options, text):
    found = Quantities(dict(zip("ABCD", options, strict=False)))
    assert found.is_named_first(text) in (True, False)


@given(
    st.integers(1, 5000), st.sampled_from(["The answer is {} mg.", "Give {} mg, at most 300 mg.", "Max 300 mg: {} mg"])
)
def test_only_a_dose_that_is_an_option_is_read(dose, form):
    assert read_answer(form.format(dose), QUESTION) in (None, {200: "A", 300: "B", 280: "C"}.get(dose))


@pytest.mark.parametrize(
    "chain",
    [
        "Ibuprofen reduces fever. The answer is aspirin.",
        "Step 1: Ibuprofen reduces fever.\nTherefore, the best drug is aspirin.",
        "Ibuprofen works. The answer is a common antipyretic.",
    ],
)
def test_an_answer_in_words_that_is_no_option(chain):
    assert read_answer(chain, options=["Ibuprofen", "Paracetamol", "Codeine"]) is None
