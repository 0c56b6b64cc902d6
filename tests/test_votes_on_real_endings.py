"""Whole rankings of chains that end as models end them when nobody asks for a form, with the demo model's rewards."""

import pytest

from medprm_scorer import MedPRM

QUESTION = "The patient weighs 40 kg. Which daily dose of Zoravine is right?\n\n(A) 200 mg\n(B) 300 mg"
DOCUMENTS = ["Label: dose Zoravine at 5 mg per kg, limit Zoravine to 300 mg."]
CHAIN = (
    "Step 1: By the label, dose Zoravine at {} mg per kg, limit Zoravine to 300 mg.\n"
    "Step 2: The patient weighs 40 kg, so {} times 40 is {} mg.\nStep 3: {}"
)


def right(ending: str) -> str:
    return CHAIN.format(5, 5, 200, f"With 200 against 300 fits, so {ending}")


def wrong(ending: str) -> str:
    return CHAIN.format(9, 9, 360, f"With 360 against 300 exceeds, so {ending}")


@pytest.mark.parametrize(
    "ending",
    [
        "200 mg is the dose. Therefore, A is correct.",
        "at 200 mg.\n\n**Final Answer: A**",
        "(A) 200 mg.",
        "200 mg.\n\n### Answer\n\n**A. 200 mg**",
        '200 mg.\n\n{"answer": "A"}',
    ],
)
def test_seven_right_chains_win_over_one_wrong_one(demo, ending):
    ranking = demo.rank(QUESTION, [right(ending)] * 7 + [wrong("the answer is (B) 300 mg.")], DOCUMENTS)
    assert (ranking.answer, ranking.strategy) == ("A", "weighted_vote")
    assert ranking.votes[0].count == 7


def test_seven_silent_chains_are_not_overruled_by_one_that_can_be_read(demo):
    chains = [right("that is what the label asks for.")] * 7 + [wrong("the answer is (B) 300 mg.")]
    ranking = demo.rank(QUESTION, chains, DOCUMENTS)
    assert (ranking.answer, ranking.strategy) == (None, "best_of_n")
    assert ranking.best.index < 7
    assert any("no vote was taken" in caution for caution in ranking.cautions)


def test_where_no_chain_can_be_read_a_caution_says_so(demo):
    ranking = demo.rank(QUESTION, [right("that is all there is to say.")] * 3 + ["Step 1: Hm."] * 2, DOCUMENTS)
    assert (ranking.answer, ranking.votes) == (None, [])
    assert any(caution.startswith("No chain gives an answer") for caution in ranking.cautions)


def test_a_majority_that_declines_wins_over_one_invention(demo):
    declining = (
        "Step 1: The documents name other drugs.\nStep 2: The dose cannot be determined from the documents provided."
    )
    invented = "Step 1: It is used at 300 mg.\nStep 2: The answer is (B)."
    ranking = demo.rank(QUESTION, [declining] * 7 + [invented], ["Label: dose Fexidrel at 6 mg per kg."])
    assert (ranking.answer, ranking.declined) == (None, True)
    assert ranking.votes[0].count == 7
    assert any("cannot be answered" in caution for caution in ranking.cautions)


def test_a_passing_diagnosis_is_no_answer_to_a_question_of_treatment(demo):
    question = "What is the first-line treatment of community-acquired pneumonia in this adult?"
    says = "Step 1: The diagnosis is community-acquired pneumonia. The diagnosis is often missed.\nStep 2: {} is given."
    ranking = demo.rank(question, [says.format(drug) for drug in ("Amoxicillin", "Amoxicillin", "Levofloxacin")])
    assert not any(chain.answer and "pneumonia" in chain.answer.casefold() for chain in ranking.chains)
    assert not any(chain.answer and "missed" in chain.answer for chain in ranking.chains)


def test_citations_do_not_split_votes(demo):
    ends = ["STEMI [1]", "STEMI (1)", "**STEMI** [1,2]", "stemi.", "Acute pericarditis", "Acute pericarditis"]
    chains = [f"Step 1: ST elevation.\nStep 2: Final Diagnosis: {end}" for end in ends]
    ranking = demo.rank("Which diagnosis?", chains, strategy="majority_vote")
    assert [vote.count for vote in ranking.votes] == [4, 2]


def test_one_step_chains_are_said_to_be_so(demo: MedPRM):
    prose = "By the label 5 mg per kg are given, and 5 times 40 is 200 mg, so the answer is (A)."
    ranking = demo.rank(QUESTION, [right("the answer is (A)."), prose], DOCUMENTS)
    assert any("could not be split into steps" in caution for caution in ranking.cautions)
