import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.text.answers import extract_answer, normalize_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{B}", "B"),
        (r"so $\boxed{b}$.", "B"),
        (r"\boxed{(B)}", "B"),
        (r"\boxed {B.}", "B"),
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{\textbf{(\mathrm{c})}}", r"(\mathrm{c})"),
        (r"\boxed{\mathbf{\text{c}}}", "C"),
        (r"\boxed{\text{B) Duodenal atresia}}", "B"),
        (r"\boxed{(D) Duodenal atresia}", "D"),
        (r"\boxed{**A**}", "A"),
        (r"\boxed{ 42 }", "42"),
        (r"\boxed{A, C}", "A, C"),
        (r"\boxed{E. coli}", "E. coli"),
        (r"\boxed{B. amoxicillin}", "B"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\text{A} or \text{B}}", r"\text{A} or \text{B}"),
        (r"\boxed{A} then \boxed{B}", "B"),
        ("So the correct option is B.", "B"),
        ("Therefore the best choice is (c).", "C"),
        ("The drug of choice is B vitamins. The right option is a beta blocker.", None),
        ("The correct option is A. Thus the answer is (D)", "D"),
        (r"\boxed{A} then \boxed{ }", "A"),
        ("\\boxed{5 mg\u00a0\x1e}", "5 mg"),  # found by fuzzing: blanks beyond ASCII are blanks
        ("\\boxed{**\u00a0**}", None),
        ("Final diagnosis:\u3000Gout\u3000", "Gout"),
        (r"\boxed{A} then \boxed{B", "A"),
        (r"{ \boxed{A} {", "A"),
        (r"\boxed{x \} y}", r"x \} y"),
        (r"\boxed{\boxed{b}}", "B"),
        (r"\boxed{A}. The answer is (B)", "A"),
        (r"\boxed{Flu} Final Diagnosis: Cold", "Flu"),
    ],
)
def test_boxed(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("the answer is (B)", "B"),
        ("The answer is D.", "D"),
        ("The final answer is: c", "C"),
        ("THE ANSWER IS (e)!", "E"),
        ("**Answer is (B)**", "B"),
        ("the answer is **B**.", "B"),
        ("the answer is: **(B) Duodenal atresia**", "B"),
        ("the answer is __d__", "D"),
        ("the answer is $C$", "C"),
        ('the answer is "C"', "C"),
        ("the answer is [A]", "A"),
        ("the answer is (**A**)", "A"),
        ("the answer is option (D)", "D"),
        ("the answer is (option D)", "D"),
        ("the answer is D. because it fits", "D"),
        ("the answer is (A). No: the answer is B. amoxicillin", "B"),
        ("the answer\nis\nB", "B"),
        ("the answer is B) Flu", "B"),
        ("the answer is (B: Flu)", "B"),
        ("the answer is B. Because of this", "B"),
        ("the answer is b. duodenal atresia", "B"),
        ("the answer is A because of this", "A"),
        ("the answer is b because of this", "B"),
        ("the answer is a.", "A"),
        ("the answer is a\n\nDone", "A"),
        ("the answer is (a) because", "A"),
        ("the answer is (I) because", "I"),
        ("the answer is I.", "I"),
        ("the answer is D\u202e", "D"),
        ("the answer is D\x00", "D"),
        ("the answer is D. ки", "D"),
        ("the answer is (A). No: the answer is (B)", "B"),
        ("the answer is (A). The answer is a mystery", "A"),
        ("answer is answer is B", "B"),
        ("The answer is (A)\nFinal Diagnosis: Flu", "A"),
    ],
)
def test_letter(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no form at all (B)",
        "the answer is a common drug",
        "the answer is a\ncommon drug",
        "the answer is I think unclear",
        "the answer is (a common drug)",
        "the answer is not B",
        "the answer is B-cell lymphoma",
        "the answer is T cell lymphoma",
        "the answer is D-dimer",
        "the answer is A's",
        "the answer is B12",
        "the answer is Vitamin C",
        "the answer is E. coli",
        "the answer is E coli",
        "the answer is 42",
        "the answer is В",  # Cyrillic
        "the answer is \u212a",  # Kelvin sign, which lower-cases to k
        "the answer isB",
        "myanswer is B",
        "the answer is",
        "the answer is (",
        "\\boxed{",
        "boxed{B}",
        "Final Diagnosis:",
        "the diagnosis is .",
    ],
)
def test_no_answer(text):
    assert extract_answer(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("## Final Diagnosis: Pulmonary embolism\nBye.", "Pulmonary embolism"),
        ("**Final Diagnosis:** E. coli sepsis.", "E. coli sepsis."),
        ("final diagnosis: **Flu**\r\nBye", "Flu"),
        ("## Final Diagnosis:\n\n**Flu**\nBye", "Flu"),
        ("Final Diagnosis: Flu\nFinal Diagnosis: Cold", "Cold"),
        ("Final Diagnosis: Flu\nFinal Diagnosis: ", "Flu"),
        ("Final Diagnosis: Flu. The diagnosis is cold.", "Flu. The diagnosis is cold."),
        ("The diagnosis is acute flu. Bye.", "acute flu"),
        ("The diagnosis is cold. So the diagnosis is: **flu**.", "flu"),
        ("The diagnosis is E. coli sepsis. Bye", "E. coli sepsis"),
        ("The diagnosis is hepatitis B. Bye", "hepatitis B"),
        ("The diagnosis is type 1.5 diabetes.", "type 1.5 diabetes"),
        ("The diagnosis is flu\nBye.", "flu"),
        ("The diagnosis is flu", "flu"),
        ("(The diagnosis is flu.) Bye", "flu"),
    ],
)
def test_diagnosis(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: B", "B"),
        ("**Final Answer:** (c)", "C"),
        ("**Answer**: b", "B"),
        ("Answer: a drug", None),
        ("Answer: B. The diagnosis is flu.", "flu"),  # the forms of the authors' code come first
    ],
)
def test_answer_with_a_colon_is_the_last_resort(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>The answer is (A)</think>The answer is (B)", "B"),
        ("<think>\\boxed{A}</think>I do not know", None),
        ("The answer is (A)</think>The answer is (B)", "B"),
        ("<think>The answer is (A)</think>", "A"),
        ("<think>The answer is (A)", "A"),
    ],
)
def test_scratch_work_gives_no_answer_if_there_is_more(text, answer):
    assert extract_answer(text) == answer


@settings(deadline=None)
@given(st.sampled_from(string.ascii_letters), st.text(st.characters(codec=None, exclude_characters="<"), max_size=60))
def test_every_letter_in_every_form_after_any_text(letter, before):
    for form in (
        f"the answer is ({letter})",
        f"the answer is {letter}.",
        f"\\boxed{{{letter}}}",
        f"The final answer is: {letter}",
    ):
        assert extract_answer(f"{before}\n {form}") == letter.upper()


@settings(deadline=None)
@given(st.text(st.characters(codec=None), max_size=200))
def test_any_text_gives_a_non_blank_answer_or_none(text):
    answer = extract_answer(text)
    assert answer is None or (answer == answer.strip() != "" and normalize_answer(answer))


def test_wrong_type():
    with pytest.raises(InputError):
        extract_answer(["The answer is (A)"])


@pytest.mark.parametrize(
    "unit",
    ["\\boxed{", "\\boxed ", "\\boxed{\\text{", "\\boxed{}", "{", "}", "answer is ", "answer is (", "answer is option ",
     "answer: ", "answer ", " ", "\n", "*", "diagnosis is ", "diagnosis is.", "diagnosis is E. ", "final diagnosis:",
     "final diagnosis:\n", "final diagnosis: * ", "final diagnosis:\n#\n", "<think>", "</think>", "E. c", "\x00",
     "\ud800", "ки "],
)  # fmt: skip
def test_linear_time_on_hostile_lines(unit):
    text = unit * (100_000 // len(unit))
    start = time.perf_counter()
    for tried in (text, "answer is" + text, "\\boxed{" + text + "}" * 100_000, "diagnosis is " + text):
        normalize_answer(extract_answer(tried) or tried)
    assert time.perf_counter() - start < 5.0  # quadratic time would be minutes


# --- the key of a vote ---


@pytest.mark.parametrize(
    "same",
    [
        ["B", "b", "(B)", "B.", "**B**", "**(b).**", " B ", '"B"', "[B]"],
        ["Pulmonary embolism", "pulmonary  EMBOLISM.", "“Pulmonary\nembolism”", "*pulmonary embolism*"],
        ["Vitamin D (calciferol)", "vitamin d (calciferol)."],
    ],
)
def test_same_vote(same):
    assert len({normalize_answer(answer) for answer in same}) == 1


def test_different_votes():
    different = ["5", "-5", "<5", ">5", "5%", "+5", "5.5", "55", "A", "B", "A, B", "hepatitis b", "?", "..", "В"]
    assert len({normalize_answer(answer) for answer in different}) == len(different)


def test_key_is_blank_only_for_blank():
    assert normalize_answer(" \n") == ""
    assert normalize_answer("(?)") == "(?)"


@settings(deadline=None)
@given(st.text(st.characters(codec=None), max_size=60))
def test_key_is_stable_and_case_does_not_matter(answer):
    key = normalize_answer(answer)
    assert normalize_answer(key) == key
    assert bool(key) == bool(answer.strip())
    assert normalize_answer(answer.casefold()) == key
    assert normalize_answer(f" {answer}\t") == key
