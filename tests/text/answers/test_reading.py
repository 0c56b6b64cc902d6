"""Reading an answer where the options of the question are known."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.text.answers import read, read_answer, read_given
from medprm_scorer.text.answers.options import find_options

OPTIONS = {
    "A": "Acute cholecystitis",
    "B": "Acute appendicitis",
    "C": "Ureteric stone",
    "D": "Ectopic pregnancy",
    "E": "E. coli enteritis",
}
QUESTION = "A woman has pain in the right lower quadrant. Which diagnosis is most likely?\n\n" + "\n".join(
    f"({letter}) {text}" for letter, text in OPTIONS.items()
)
DRUGS = "Which drug comes first?\n(A) Rituximab\n(B) Fludarabine\n(C) Imatinib\n(D) Chlorambucil"
YES_NO = "Does the drug help?\n\n(A) yes\n(B) no\n(C) maybe"
STEP = "Step 1: The pain has moved to the right lower quadrant.\nStep 2: "


@pytest.mark.parametrize(
    "ending",
    [
        "The answer is (B).",
        "**Answer:** B",
        "Answer: **(B)**",
        "Answer - B",
        "answer: b",
        "Correct answer: ✅ B",
        "### ✅ Final Answer: **B**",
        "### Final Answer\n\n**B. Acute appendicitis**",
        "### Answer\nB. Acute appendicitis",
        "## Answer\n\n**B**",
        "**Final Choice:** B",
        "Correct option: B",
        "The correct choice is: B",
        "The correct answer is **B. Acute appendicitis**.",
        "The correct answer is letter B.",
        "the answer is (Option B)",
        "The answer's B.",
        "The answer would be (B).",
        "The answer is most likely (B).",
        "The answer is therefore (B).",
        "The answer to this question is B.",
        "The answer is B because the pain has moved.",
        "The answer is (B), not (C).",
        "The answer is acute appendicitis.",
        "Answer: acute appendicitis (B)",
        "Option B is correct.",
        "Therefore, option (B) is correct.",
        "So option **B** is the best choice.",
        "B is the correct answer.",
        "Therefore, I am confident that B is the correct answer.",
        "Thus, B it is.",
        "I would choose **B**.",
        "I'd go with option B here.",
        "Thus, the most likely diagnosis is **B. Acute appendicitis**.",
        "Therefore, the most likely diagnosis is (B) acute appendicitis.",
        "All of this fits, so (B).",
        "**B**",
        "B.",
        "B) Acute appendicitis",
        "**B. Acute appendicitis**",
        "Acute appendicitis.",
        "**Answer: B**\n\n*Confidence: high (90 %)*",
        "**Answer: B**\n\nSources: [1], [2]",
        "<answer>B</answer>",
        "<answer>Acute appendicitis</answer>",
        '{"reasoning": "the answer is (C) if she is febrile", "answer": "B"}',
        '```json\n{"answer_choice": "B"}\n```',
        '{"final_answer": "acute appendicitis"}',
        r"Final answer: $\boxed{\text{B}}$",
        r"\boxed{B. \text{Acute appendicitis}}",
        r"**Answer:** \(\boxed{B}\)",
        "Die richtige Antwort ist (B).",
        "**Antwort: B**",
        "Daher ist Option B richtig.",
        "Réponse : B",
        "La bonne réponse est donc la B.",
        "L'option B est correcte.",
        "Respuesta: B",
        "La respuesta correcta es la opción B.",
        "答案：B",
        "故选 **B**。",
        "因此，正确答案是B。",
        "したがって、正解は (B) です。",
        "**答えはBです。**",
        "答えは「B」です。",
        "选项B正确。",
        "الخيار B هو الصحيح.",
        "Je choisirais la réponse B.",
        "Elijo la opción B.",
        "Ich wähle B.",
        "الإجابة: B",
        "الإجابة الصحيحة هي (B).",
    ],
)
def test_statements(ending):
    assert read_answer(STEP + ending, QUESTION) == "B"
    assert read_answer(STEP + ending, options=OPTIONS) == "B"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # a diagnosis in passing is no answer where an option is named
        ("The most likely diagnosis is acute cholecystitis at first sight.\nSo it is not.\n\n**Answer: B**", "B"),
        ("The diagnosis is confirmed by CT.\nAnswer: B", "B"),
        ("The differential diagnosis is broad.\nFinal answer: (B)", "B"),
        ("The diagnosis is acute appendicitis, and heparin does not help.\n\n**Answer: (B) Acute appendicitis**", "B"),
        # rejected, supposed and tempting options
        ("**Answer: B**\n\nWhy not the others:\n- A: normal wall.\n- D: the answer is D only if hCG is raised.", "B"),
        ("The answer is B.\n\nWhy not the others?\nC: the answer is C in a patient with colic.", "B"),
        ("The correct answer is B. If she were pregnant, the answer is (D).", "B"),
        ("If she were pregnant, the answer is (D). She is not, so (B) fits best.", "B"),
        ("It is tempting to think the answer is (A), but the wall is normal, hence (B).", "B"),
        ("The answer is not (A). The answer is (B).", "B"),
        ("The answer is (A)? No, the answer is (B).", "B"),
        ("Acute cholecystitis is the wrong answer. Acute appendicitis is the most likely diagnosis.", "B"),
        ("A ureteric stone would cause colic. Therefore, acute appendicitis is most likely.", "B"),
        ("Options A, C, D and E do not fit. So option B is correct.", "B"),
        ("Acute appendicitis is most likely, rather than a ureteric stone.", "B"),
        ("The most likely diagnosis is acute appendicitis, not acute cholecystitis.", "B"),
        # the last statement counts
        ("The answer is (A). On second thoughts, the answer is (B).", "B"),
        ("Answer: A\n\nWait, that is wrong.\n\nAnswer: B", "B"),
        # words that equal an option, letters that are none, and pathogens
        ("The answer is E. coli enteritis.", "E"),
        ("The answer is B. fragilis.", None),
        ("Answer: A CT scan", None),
        ("Answer: An ectopic pregnancy", "D"),
        ("The answer is (F).", None),
        ("Answer: 3", None),
        (r"\boxed{G}", None),
        ("The answer is hepatitis B.", None),
        ("The answer is vitamin D.", None),
        ("答案：B型肝炎", None),
        # two answers are none
        ("The answer is A or C.", None),
        ("The answer is either A or B.", None),
        ("The answer is (B) and (D).", None),
        ("Answer: A, B", None),
        ("Answer: A/B", None),
        (r"\boxed{A, C}", None),
        ("The answer is (A) Acute appendicitis.", None),
        ("Option A is correct. Option B is correct.", None),
        ('{"answer": ["A", "B"]}', None),
        ('{"answer": null}', None),
        # other patients, other answers; an answer that is no option
        ("Answer: B\n\nNote: the answer is C for children.", "B"),
        ("The answer is (B). In pregnant women the answer is (D) of course, if hCG is raised.", "B"),
        ("Answer: B\n\nSo, finally, the answer is (C).", "C"),
        ("Answer: B\n\nCorrection: the answer is (C).", "C"),
        ("The answer is B, and C is wrong.", "B"),
        ("A is incorrect. B is correct.", "B"),
        ("Option B isn't correct.", None),
        ("I would not choose option B.", None),
        ("Both A and B are correct.", None),
        ("Is the answer A? No.", None),
        (
            "Let's see.\nA. Acute cholecystitis: unlikely.\nB. Acute appendicitis: most likely.\nC. Stone: unlikely.",
            "B",
        ),
        ("Acute appendicitis is most likely.\n\nFinal answer: none of the above", None),
        ("Acute appendicitis is most likely.\n\nFinal answer: mesenteric lymphadenitis", None),
        ("The most likely diagnosis is acute appendicitis or ectopic pregnancy.", None),
        # nothing is said
        ("I can't give medical advice. Please see a doctor.", None),
        ("The answer is not clear.", None),
        ("All five options are possible.", None),
        ("(A) Acute cholecystitis\n(B) Acute appendicitis\n(C) Ureteric stone", None),
        ("Neither acute appendicitis nor a ureteric stone fits.", None),
        ("", None),
    ],
)
def test_traps(text, answer):
    assert read_answer(text, QUESTION) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The treatment of choice is fludarabine.", "B"),
        ("Therefore, fludarabine (choice B) is the best option, since rituximab is not enough alone.", "B"),
        ("Fludarabine is first-line treatment. Imatinib is used for CML, not CLL.", "B"),
        ("Rituximab is not given alone. Imatinib is for CML, which he has not. Chlorambucil is less effective.", "B"),
        ("Fludarabine might be the best drug, but it is contraindicated in this patient.", None),
        ("If rituximab fails, fludarabine is the best drug.", None),
        ("Fludarabine is not the best drug.", None),
        ("Rituximab and fludarabine are both used.", None),
        ("The best drug is rituximab or fludarabine.", None),
        ("Imatinib is an option. The best drug is fludarabine. However, fludarabine is contraindicated.", None),
        ("Fludarabine ist nicht geeignet.", None),
        ("Das Mittel der Wahl ist daher am ehesten Fludarabine.", "B"),
        ("Le traitement le plus approprié est donc la fludarabine.", "B"),
    ],
)  # fmt: skip
def test_what_prose_affirms(text, answer):
    assert read_answer(text, DRUGS) == answer


BLIND = (
    "He went blind on one side within minutes. What is the most likely cause of the lack of vision?\n"
    "(A) Retinal detachment\n(B) Central retinal artery occlusion\n(C) Acute glaucoma\n(D) Optic neuritis"
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # an option's own commas and dots end no answer
        ("The answer is B. Central retinal artery occlusion.", "B"),
        # the question's own negation rejects nothing
        ("The most likely cause of the lack of vision is optic neuritis.", "D"),
        # a list is one subject
        ("Optic neuritis is painful. Retinal detachment, central retinal artery occlusion, and acute glaucoma do not "
         "cause pain.", "D"),
        # what follows brackets, asides and `which` belongs to the option before them
        ("Optic neuritis (choice D) is the most likely cause.", "D"),
        ("Optic neuritis (choice D) is not a likely cause.", None),
        ("Optic neuritis, which is painful, is the most likely cause.", "D"),
        ("A cherry-red spot is absent, and optic neuritis, on the other hand, would hurt, making it the best choice.",
         "D"),
        # an abbreviation that the chain gives
        ("The pale retina is typical of central retinal artery occlusion (CRAO). Acute glaucoma is possible. "
         "Therefore, the most likely cause is CRAO.", "B"),
        # more with the option behind it is for the option, before it against
        ("Optic neuritis is possible, but the finding is more consistent with retinal detachment.", "A"),
        ("Optic neuritis is more commonly seen in women.", None),
        # a later sentence that rejects another option rejects nothing else
        ("The most likely cause is optic neuritis. Acute glaucoma does not look like optic neuritis.", "D"),
        ("The most likely cause is optic neuritis. However, optic neuritis is painful, so it is not optic neuritis.",
         None),
        # `not ruled out` is no rejection
        ("The most likely cause is optic neuritis. No pain does not rule out optic neuritis.", "D"),
        # another conclusion than the options
        ("Optic neuritis is painful. Therefore, the most likely cause of the lack of vision is a stroke.", None),
        ("Optic neuritis is painful. Therefore, none of the given options fits.", None),
        ("Therefore, the most likely cause of the lack of vision is an occlusion of an artery.", "B"),
    ],
)  # fmt: skip
def test_prose_in_the_light_of_its_question(text, answer):
    assert read_answer(text, BLIND) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Rituximab and imatinib cause fever. Therefore, fludarabine is not likely to be the cause.", "B"),
        ("Rituximab is a likely cause. Imatinib fits.", None),
        ("Rituximab is not the only cause of fever.", None),
    ],
)
def test_a_question_for_what_is_not_so(text, answer):
    question = DRUGS.replace("Which drug comes first?", "Which drug is NOT likely to be the cause?")
    assert read_answer(text, question) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: yes", "A"),
        ("The answer is **maybe**.", "C"),
        ('The answer is "no".', "B"),
        (r"\boxed{yes}", "A"),
        ('{"answer": "no"}', "B"),
        ("Five trials say so.\nYes.", "A"),
        ("Therefore, no, it does not help.", "B"),
        ("The answer is A. yes", "A"),
        ("Die Antwort lautet: nein", "B"),
        ("Therefore, based on this, it can be concluded that the drug does help.", None),  # two words are too few
        ("The answer is yes or no.", None),
        ("There is no difference.", None),
        ("Answer: no significant difference", None),
        ("Yes and no.", None),
        ("Answer: no, it does not", "B"),
    ],
)
def test_yes_and_no(text, answer):
    assert read_answer(text, YES_NO) == answer


MOBILIZATION = "Does early mobilization shorten hospital stay after hip surgery?\n(A) yes\n(B) no\n(C) maybe"


@pytest.mark.parametrize(
    ("last", "answer"),
    [
        ("Therefore, early mobilization does shorten hospital stay after hip surgery.", "A"),
        ("These findings suggest that early mobilization can indeed shorten hospital stay after hip surgery.", "A"),
        ("Therefore, early mobilization does not shorten hospital stay after hip surgery.", "B"),
        ("Therefore, the evidence is inconclusive.", "C"),
        ("Therefore, the answer is B. no.", "B"),
        ("Therefore, the answer is A. No.", None),
        ("Therefore, early mobilization may shorten hospital stay after hip surgery.", None),
        ("Therefore, early mobilization could potentially shorten hospital stay after hip surgery.", None),
        ("Therefore, early mobilization shortens hospital stay after hip surgery in some cases.", None),
        ("Therefore, it is not that early mobilization does not shorten hospital stay after hip surgery.", None),
        ("Early mobilization shortens hospital stay after hip surgery.", None),
    ],
)
def test_the_last_sentence_of_a_yes_no_chain_concludes_in_the_words_of_the_question(last, answer):
    assert read_answer("Three trials were done. " + last, MOBILIZATION) == answer


@pytest.mark.parametrize(
    "text",
    [
        "I cannot determine the dose from the documents provided.",
        "There is not enough information to answer.",
        "I don't know.",
        "Answer: cannot be determined",
        "The documents do not mention this drug.",
        "Das lässt sich anhand der Dokumente nicht beantworten.",
        "Je ne sais pas.",
        "No se puede determinar la dosis con estos documentos.",
        "根据现有文献无法确定。",
        "この情報からは判断できません。",
        "لا يمكن تحديد الجرعة من الوثائق.",
    ],
)
@pytest.mark.parametrize("question", [QUESTION, YES_NO, None])
def test_declining(text, question):
    reading = read(STEP + text, question)
    assert reading.declined
    assert reading.answer is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The documents do not contain enough information, but the answer is (B).", "B"),
        ("A stone cannot be determined by ultrasound. The answer is (B).", "B"),
        ("Acute cholecystitis shows fever, which is not mentioned in the case.", None),
        ("She has no information of allergies.", None),
    ],
)
def test_not_declining(text, answer):
    reading = read(text, QUESTION)
    assert (reading.answer, reading.declined) == (answer, False)


def test_an_option_that_is_a_list_is_no_list_of_answers():
    question = "Which tests?\n(A) HIV and hepatitis B\n(B) HIV, hepatitis B, and N. gonorrhoeae\n(C) HIV"
    assert read_answer("So the correct answer is B. HIV, hepatitis B, and N. gonorrhoeae.", question) == "B"


def test_an_option_may_be_that_nothing_can_be_said():
    options = ["Increased", "Decreased", "Cannot be determined"]
    assert read("Answer: cannot be determined", options=options).answer == "C"


def test_no_text_in_the_repr():
    assert "private" not in repr(read("Answer: private")) + repr(find_options("(A) private\n(B) private too"))


# --- options ---


@pytest.mark.parametrize(
    "listed",
    [
        "\n(A) Gout\n(B) Septic arthritis\n(C) Pseudogout",
        " (A) Gout (B) Septic arthritis (C) Pseudogout",
        "\nA. Gout\nB. Septic arthritis\nC. Pseudogout",
        "\nA) Gout\nB) Septic arthritis\nC) Pseudogout\n\nAnswer with a letter.",
        "\nA: Gout\nB: Septic arthritis\nC: Pseudogout",
        "\n- **A.** Gout\n- **B.** Septic arthritis\n- **C.** Pseudogout",
        " A. Gout B. Septic arthritis C. Pseudogout",
        " A) Gout, B) Septic arthritis, C) Pseudogout",
        "\r\na) Gout\r\nb) Septic arthritis\r\nc) Pseudogout",
        " {'A': 'Gout', 'B': 'Septic arthritis', 'C': 'Pseudogout'}",
    ],
)
def test_forms_of_options(listed):
    found = find_options("Vitamin A. was given, and vitamin B. too. What is it?" + listed)
    assert dict(found.texts) == {"A": "Gout", "B": "Septic arthritis", "C": "Pseudogout"}


@pytest.mark.parametrize(
    ("question", "texts"),
    [
        ("(A) one (B) two (C) both (A) and (B)", {"A": "one", "B": "two", "C": "both (A) and (B)"}),
        ("(A) x (B) y\nWhich?\n(A) one\n(B) two\n(C) three", {"A": "one", "B": "two", "C": "three"}),
        ("Is it so? Answer yes, no, or maybe.", {"yes": "yes", "no": "no", "maybe": "maybe"}),
        ("Is it so (yes/no)?", {"yes": "yes", "no": "no"}),
        ("Hepatitis A. Then hepatitis B. Which?", None),
        ("(A) one (C) three", None),
        ("Which drug?", None),
        ("", None),
    ],
)
def test_options_of_a_question(question, texts):
    found = find_options(question)
    assert (found and dict(found.texts)) == texts


def test_given_options_come_before_those_of_the_question():
    assert read_answer("The answer is acute appendicitis", QUESTION, ["acute appendicitis", "gout"]) == "A"
    assert read_answer("Answer: 2", options={"1": "gout", "2": "pseudogout"}) == "2"
    assert read_answer("الإجابة: ب", options={"أ": "نقرس", "ب": "حمى"}) == "ب"


@pytest.mark.parametrize(
    ("answer", "found"),
    [("B", "B"), ("b)", "B"), ("(B) Acute appendicitis", "B"), ("acute appendicitis [1]", "B"), ("**B**", "B"),
     ("appendicitis, acute", "B"), ("F", None), ("gout", None), ("A or B", None), (" ", None), ("not B", None)],
)  # fmt: skip
def test_an_answer_that_is_known_already(answer, found):
    assert read_given(answer, QUESTION).answer == found
    assert read_given(answer).answer == (answer if answer.strip() else None)


@pytest.mark.parametrize("options", ["AB", ["one"], ["x"] * 11, {"A": "x", "a": "y"}, {"A": ""}, ["x", 1], 5])
def test_bad_options(options):
    with pytest.raises(InputError):
        read_answer("x", options=options)


# --- invariants ---

WORDS = st.sampled_from(
    [*OPTIONS, *OPTIONS.values(), *(f"({letter})" for letter in OPTIONS), "the answer is", "Answer:", "not", "or", "if",
     "option", "is correct", "therefore", "most likely", "but", "which", "\n", ". ", ", ", "**", "\\boxed{", "}",
     "<answer>", "</answer>", "无法", "答案", "yes", "no", "I cannot determine", "Step 1:", "?"]
)  # fmt: skip
HOSTILE = st.one_of(st.text(st.characters(codec=None), max_size=80), st.lists(WORDS, max_size=25).map(" ".join))


@given(HOSTILE, st.sampled_from([QUESTION, DRUGS, YES_NO]))
def test_an_answer_is_one_of_the_options_or_none(text, question):
    reading = read(text, question)
    assert reading.answer is None or (reading.answer in find_options(question).texts and not reading.declined)


@given(HOSTILE, HOSTILE)
def test_no_question_and_no_text_raises(text, question):
    read(text, question)
    options = find_options(question)
    assert options is None or 2 <= len(options.texts) <= 10


@given(HOSTILE, st.sampled_from(string.ascii_uppercase[:5]))
def test_a_last_line_with_the_answer_wins(before, letter):
    clean = before.replace("boxed", "").replace("<", "").replace('"', "").replace("'", "")
    assert read_answer(f"{clean}\n\nAnswer: {letter}", QUESTION) == letter
