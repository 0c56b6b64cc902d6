"""Structured answers as candidates: steps as given, the answer by its field, figures that are no text left out."""

from dataclasses import dataclass
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from medprm_integrations.shared.structured import structured_sample

STEPS = ["Step 1: Fever.", "Step 2: Rash."]


class Letter(Enum):
    B = "B"


class Answer(BaseModel):
    steps: list[str]
    final_answer: Letter


@dataclass
class Plain:
    steps: tuple[str, ...]
    choice: str


@pytest.mark.parametrize(
    ("value", "end"),
    [
        ({"steps": STEPS, "final_answer": "B"}, "final answer: B"),
        ({"final_answer": "B", "steps": STEPS}, "final answer: B"),
        ({"reasoning": STEPS, "answer_choice": "B", "confidence": 0.9, "citations": [1, 2]}, "answer choice: B"),
        ({"step_1": STEPS[0], "step_2": STEPS[1], "answerLetter": "B"}, "answerletter: B"),
        ({"steps": [{"text": STEPS[0]}, {"text": STEPS[1]}], "Answer": "B", "sources": ["x"]}, "answer: B"),
        (Answer(steps=STEPS, final_answer="B"), "final answer: B"),
        (Plain(steps=tuple(STEPS), choice="B"), "choice: B"),
    ],
)
def test_lists_and_numbered_fields_are_steps_and_the_answer_is_found_by_name(value, end):
    sample = structured_sample(value)
    assert sample.answer == "B"
    assert sample.chain == (STEPS[0], f"{STEPS[1]}\n{end}")


def test_a_field_of_text_stays_text():
    sample = structured_sample({"reasoning": "\n".join(STEPS), "diagnosis": "Measles"})
    assert (sample.chain, sample.answer) == ("Step 1: Fever.\nStep 2: Rash.\ndiagnosis: Measles", "Measles")


def test_other_fields_keep_their_names():
    sample = structured_sample({"age": 7, "steps": STEPS, "dose": "5 mg", "answer": True})
    assert sample.chain == (STEPS[0], f"{STEPS[1]}\nage: 7 dose: 5 mg answer: True")
    assert sample.answer == "yes"
    assert structured_sample({"findings": ["a"], "differential": ["PE", "ACS"], "none": None}).chain == (
        "findings: a\ndifferential: PE, ACS"
    )


def test_an_answer_counts_before_a_diagnosis():
    sample = structured_sample({"diagnosis": "pneumonia", "reasoning": "Fever.", "final_answer": "amoxicillin"})
    assert sample.answer == "amoxicillin"


def test_the_field_may_be_named():
    value = {"answer": "long words", "pick": "B", "reasoning": "Fever."}
    assert structured_sample(value, "pick").answer == "B"
    assert structured_sample(value).answer == "long words"
    assert structured_sample(value, "absent").answer is None


@pytest.mark.parametrize("answer", [None, "", "  ", ["A", "B"]])
def test_no_answer_is_none(answer):
    assert structured_sample({"steps": STEPS, "answer": answer}).answer is None


@pytest.mark.parametrize(
    "name", ["answer", "final_answer", "choice", "answer_choice", "answer_letter", "diagnosis", "final_diagnosis"]
)
def test_each_name_of_an_answer_is_read(name):
    assert structured_sample({"text": "Fever.", name: "B"}).answer == "B"


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9) | st.just("steps"), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_anything_that_json_has_becomes_a_candidate(value):
    sample = structured_sample(value)
    assert isinstance(sample.text, str)
    assert sample.answer is None or sample.answer.strip()
    assert isinstance(sample.chain, str) or sample.chain
