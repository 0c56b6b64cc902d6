"""Doses that are no option: a chain that answers one is never read as an option that it mentions in passing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.evaluation.labelled_records import parse_labelled
from medprm_scorer.text.answers import extract_answer, read_answer
from medprm_scorer.text.answers.doses import Doses, dose_behind_letter

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


def test_units_are_compared_and_not_converted():
    weekly = Doses({"A": "2 mg", "B": "1,500 mg"})
    assert not weekly.names_another("2 mg, or 2.0mg, or 1500 mg/day, or 3 mg per kg, or 3 days")
    assert weekly.begins_with_another("3 mg, then 2 mg")
    assert weekly.begins_with_another("1 g, then 2 mg")
    per_weight = Doses({"A": "5 mg/kg", "B": "9 mg per kg"})
    assert not per_weight.names_another("5 mg/kg is 200 mg")
    assert per_weight.names_another("6 mg per kg")
    assert Doses({"A": "0,125 mg", "B": "0,5 mg"}).begins_with_another("125 mg, above 0,5 mg")
    for texts in ({"A": "5 mg", "B": "9 g"}, {"A": "2 weeks", "B": "3 weeks"}, {"A": "20%", "B": "30%"}, {}):
        assert not Doses(texts).names_another("7 mg, or 7 weeks, or 7%")


def test_a_limit_is_no_answer():
    found = Doses({"A": "200 mg", "B": "300 mg"})
    assert not found.names_another("The maximum is 400 mg, never above 400 mg, up to a limit of 400 mg.")
    assert found.names_another("The limit is 300 mg, so 400 mg it is.")
    assert found.names_another("Wait some minutes and give 100 mg.")


@pytest.mark.parametrize(
    ("chain", "options", "label"),
    [
        ("The answer is 1 g, more than the 500 mg that children get.", ["250 mg", "500 mg"], None),
        ("The answer is 10 g, more than the 500 mg that children get.", ["250 mg", "500 mg"], None),
        ("The answer is 2 mg, below the 5 mg orally for adults.", ["5 mg orally", "Observation", "Surgery"], None),
        ("The answer is 125 mg, above the limit of 0,5 mg.", ["0,125 mg", "0,25 mg", "0,5 mg"], None),
        ("For this 45-year-old man, the most appropriate interval is every 10 years.", ["5 years", "10 years"], "B"),
        ("After 5 days of fever, the most appropriate duration is 7 days.", ["7 days", "14 days"], "A"),
        ("The most appropriate dose is 200 mg. The maximum is 400 mg.", ["200 mg", "300 mg"], "A"),
        ("With 20% burns, the most appropriate fluid is 0.9% saline.", ["0.9% saline", "3% saline"], "A"),
        ("Above 400 mg the risk rises, so the best dose is 200 mg.", ["200 mg", "300 mg"], "A"),
    ],
)
def test_what_a_reader_would_take(chain, options, label):
    assert read_answer(chain, options=options) == label


@given(st.lists(st.text(max_size=20), min_size=2, max_size=4), st.text(max_size=200))
def test_any_text_has_doses_or_none(options, text):
    found = Doses(dict(zip("ABCD", options, strict=False)))
    assert found.names_another(text) or not found.begins_with_another(text)


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


OPEN = "Which daily dose for a child of 36 kg at 5 mg/kg?"


@pytest.mark.parametrize(
    ("chain", "letter", "dose"),
    [
        ("The answer is (A) 180 mg.", "A", "180 mg"),
        ("The answer is (b) 200 mg once daily, as the label says.", "B", "200 mg once daily"),
        ("Therefore, (A) 5 mg.", "A", "5 mg"),  # not 5 mg/kg
        ("Answer: A) 180 mg", "A", "180 mg"),
        ("Answer: A. 0.5 g", "A", "0.5 g"),
        ("**Answer:** (A): 1,200 mg", "A", "1,200 mg"),
        ("## Final Diagnosis: Otitis media\n\nThe answer is (A) 180 mg.", "A", "180 mg"),
        (r"So $\boxed{(A) 180 mg}$", "A", "180 mg"),
        (r"So $\boxed{\text{A) 180 mg}}$", "A", "180 mg"),
        ('{"answer": "(B) 180 mg"}', "B", "180 mg"),
    ],
)
def test_a_made_up_letter_before_a_dose_is_not_the_answer(chain, letter, dose):
    assert read_answer(chain, OPEN) == dose
    unseen = f"{OPEN} Choose first: {dose}; second: 1 kg"  # options in a form that is not read
    assert read_answer(chain, unseen) == letter
    assert extract_answer(chain) == letter  # nothing is known of the question


@pytest.mark.parametrize(
    ("chain", "answer"),
    [
        ("The answer is (A).", "A"),
        ("The answer is (A) Aspirin 100 mg.", "A"),
        ("The answer is (A) 2 tablets.", "A"),
        ("The answer is A or B 180 mg.", None),
        ("The answer is (A) 180 mg or 200 mg.", "A"),
        ("The answer is (A), 180 mg is too much.", "A"),
        ("The correct answer is B. 100 mg is too low and 300 mg too high.", "B"),
        ("The answer is (A). 200 mg would be toxic.", "A"),
        ("The answer is (C). 10 mg was given before.", "C"),
        ("The answer is A. 5 mg/kg times 36 kg is 180 mg.", "A"),
        ("Answer: A. 0.5 mg/kg would be underdosing", "A"),
        ("Option B 200 mg is correct.", "B"),
        ("Answer: A. 7 mg B. 10 mg", "A"),
        ("Answer: C 5 mg, D 6 mg", "C"),
        ("The answer is K 40 mmol", "K"),  # potassium
        (r"\boxed{A}", "A"),
        (r"\boxed{(A) or (B)}", "A"),
    ],
)
def test_other_letters_stay(chain, answer):
    assert read_answer(chain, OPEN) == answer


def test_two_doses_under_one_letter_are_two_answers():
    record = {"question": OPEN, "candidates": ["The answer is (A) 180 mg.", "The answer is (A) 200 mg."]}
    assert parse_labelled({**record, "correct_answer": "180mg"}).right == (True, False)
    assert parse_labelled({**record, "correct_answer": "A"}).right == (True, True)  # the options are elsewhere


@given(st.text("AB()[].:, 0123456789mgkd/\n", max_size=40), st.integers(0, 40), st.text(max_size=40))
def test_what_is_behind_a_letter_is_a_dose_or_nothing(text, place, question):
    found = dose_behind_letter(text, min(place, len(text)), question)
    assert found is None or (found in text and found[0].isdigit())
