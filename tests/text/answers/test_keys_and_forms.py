import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.text.answers import extract_answer, normalize_answer, read_answer


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
        ("Final answer\nThe final answer is: c", "C"),
        ("**Answer**\n\nThe correct answer is **c**", "C"),
        ("Final Answer\nAnswer: amoxicillin", "amoxicillin"),
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
        "the answer is A's",
        "**Answer:** A CT scan",
        "the answer is A or C",
        "the answer is (A) and (B)",
        "the answer is not pneumonia",
        "the diagnosis is not appendicitis",
        "the diagnosis is confirmed by CT",
        "the diagnosis is made clinically",
        "the diagnosis is often missed",
        "the diagnosis is unlikely to be PE",
        "the diagnosis is unclear; more tests are needed",
        "the differential diagnosis is broad",
        "the diagnosis is gout. Give colchicine. Rest helps. Come back in a week",
        "if he drank, the answer is gout",
        "(A) gout\n(B) pseudogout",
        "x",
        "X.",
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
        ("The most likely diagnosis is gout.\nSo option B fits.\n\n**Answer: B**", "B"),
        ("The diagnosis is confirmed by CT.\nAnswer: B", "B"),
        ("Answer: B. The diagnosis is flu.", "B"),
        ("It fits.\n\n**B**", "B"),
        ("<answer>B</answer>", "B"),
        ('{"steps": ["fever"], "answer_choice": "B"}', "B"),
        ("Option B is correct.", "B"),
        ("I would choose (B).", "B"),
        ("Antwort: B", "B"),
        ("答案：B", "B"),
        # in words
        ("Answer: acute gout", "acute gout"),
        ("**Final answer: 23.5 mL/min**", "23.5 mL/min"),
        ("Answer: 200 mg once daily", "200 mg once daily"),
        ('{"final_answer": "acute gout"}', "acute gout"),
        ("The answer is B-cell lymphoma.", "B-cell lymphoma"),
        ("The answer is Vitamin C", "Vitamin C"),
        ("The answer is B12", "B12"),
        ("The answer is 42", "42"),
        ("The answer is L. pneumophila.", "L. pneumophila"),
        ("The answer is B. fragilis.", "B. fragilis"),
        ("The answer is P. multocida, since a cat bit her", "P. multocida"),
        ("So the answer is yes.", "yes"),
        ("It helps.\nNo.", "No"),
        ("Diagnosis: Acute gout", "Acute gout"),
        ("Most likely diagnosis: acute gout.", "acute gout"),
        ("The most likely diagnosis is acute gout because the toe is hot.", "acute gout"),
        ("The diagnosis is most likely gout", "gout"),
        ("This is most consistent with acute gout.", "acute gout"),
        ("So the recommended dose is 5 mg twice daily.", "5 mg twice daily"),
        ("Final Diagnosis: 1. Acute gout\n2. Dehydration", "Acute gout"),
        ("## Final Diagnosis\n\nAcute gout", "Acute gout"),
        ("The diagnosis is gout.\nThe answer is pseudogout.", "pseudogout"),
    ],
)
def test_other_forms(text, answer):
    assert extract_answer(text) == answer


def test_a_diagnosis_is_no_answer_to_a_question_for_a_drug():
    text = "Step 1: The diagnosis is pneumonia. Step 2: The treatment of choice is amoxicillin."
    assert read_answer(text, "Which drug should be given first?") == "amoxicillin"
    assert read_answer("Step 1: The diagnosis is pneumonia.", "Which drug should be given first?") is None
    assert read_answer("Step 1: The diagnosis is pneumonia.", "What is the diagnosis?") == "pneumonia"


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


@given(st.sampled_from(string.ascii_letters), st.text(st.characters(codec=None, exclude_characters="<"), max_size=60))
def test_every_letter_in_every_form_after_any_text(letter, before):
    for form in (
        f"the answer is ({letter})",
        f"the answer is {letter}.",
        f"\\boxed{{{letter}}}",
        f"The final answer is: {letter}",
    ):
        assert extract_answer(f"{before}\n {form}") == letter.upper()


@given(st.text(st.characters(codec=None), max_size=200))
def test_any_text_gives_a_non_blank_answer_or_none(text):
    answer = extract_answer(text)
    assert answer is None or (answer == answer.strip() != "" and normalize_answer(answer))


def test_wrong_type():
    with pytest.raises(InputError):
        extract_answer(["The answer is (A)"])


QUESTION = "Which?\n(A) CT of the head\n(B) MRI\n(C) B. fragilis"
YES_NO = "Does it help?\n(A) yes\n(B) no\n(C) maybe"


@pytest.mark.parametrize(
    "unit",
    ["\\boxed{", "\\boxed ", "\\boxed{\\text{", "\\boxed{}", "{", "}", "answer is ", "answer is (", "answer: ",
     "answer ", "the answer to ", "option B is ", "B is correct. ", "so B,", "(A)(B)", "A or B or ", " ", "\n",
     "*", "diagnosis is ", "diagnosis is E. ", "final diagnosis:", "final diagnosis:\n#\n", "<think>",
     "</think>", "E. c", "\x00", "\ud800", "ки ", "MRI, ", "MRI not, ", "CT of the head but ", "<answer> ",
     "[answer] ", '{"answer": "', "if ", "cannot be determined ", "yes, ", "[1,2]", "1 ", "5 mg/", "the ",
     "答案是", "无法", "kann nicht ", "no se puede ", "ne peut ", "would be ", "# Answer\n"],
)  # fmt: skip
def test_the_time_is_linear_in_the_length(unit):
    def seconds(size):
        text = unit * (size // len(unit))
        start = time.process_time()  # which other processes do not lengthen
        for question in (None, QUESTION, YES_NO):
            read_answer(text, question)
        read_answer(f"answer is{text}", f"{text}{QUESTION}")
        normalize_answer(text)
        return time.process_time() - start

    short = min(seconds(3_000) for _ in range(2))
    assert min(seconds(12_000) for _ in range(2)) < 10 * short + 0.5  # quadratic time would be 16 times as much


# --- the key of a vote ---


@pytest.mark.parametrize(
    "same",
    [
        ["B", "b", "(B)", "B.", "**B**", "**(b).**", " B ", '"B"', "[B]"],
        ["Pulmonary embolism", "pulmonary  EMBOLISM.", "“Pulmonary\nembolism”", "*pulmonary embolism*"],
        ["Vitamin D (calciferol)", "vitamin d (calciferol)."],
        ["STEMI [1]", "STEMI (1)", "**STEMI** [1,2]", "STEMI [1][2].", "the STEMI [Document 3]", "STEMI【1】"],
        ["200 mg", "200mg", "200-mg", "200 milligrams", "**200 MG** [1]"],
        ["5 mcg/kg per day", "5 µg/kg/day", "5 micrograms / kg / day"],
        ["5 %", "5%"],
    ],
)
def test_same_vote(same):
    assert len({normalize_answer(answer) for answer in same}) == 1


def test_different_votes():
    different = [
        "5 mg",
        "5 mcg",
        "5 g",
        "5 mg/day",
        "5 mm",
        "(1)",
        "(2)",
        "A positive",
        "positive",
        "5",
        "-5",
        "<5",
        ">5",
        "5%",
        "+5",
        "5.5",
        "55",
        "A",
        "B",
        "A, B",
        "hepatitis b",
        "?",
        "..",
        "В",
    ]
    assert len({normalize_answer(answer) for answer in different}) == len(different)


def test_key_is_blank_only_for_blank():
    assert normalize_answer(" \n") == ""
    assert normalize_answer("(?)") == "(?)"


@given(st.text(st.characters(codec=None), max_size=60))
def test_key_is_stable_and_case_does_not_matter(answer):
    key = normalize_answer(answer)
    assert normalize_answer(key) == key
    assert bool(key) == bool(answer.strip())
    assert normalize_answer(answer.casefold()) == key
    assert normalize_answer(f" {answer}\t") == key
