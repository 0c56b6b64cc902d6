"""Structured answers as candidates: steps as given, the answer by its field, figures that are no text left out."""

from dataclasses import dataclass
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from medprm_integrations.shared.structured import ANSWER_FIELDS, structured_sample

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
    "value",
    [
        {"steps": STEPS, "final_answer": "B"},
        {"final_answer": "B", "steps": STEPS},
        {"reasoning": STEPS, "answer_choice": "B", "confidence": 0.9, "citations": [1, 2]},
        {"step_1": STEPS[0], "step_2": STEPS[1], "answerLetter": "B"},
        {"step_2": STEPS[1], "choice": "B", "step_1": STEPS[0]},
        {"work": {"steps": [{"text": STEPS[0]}, {"text": STEPS[1], "n": 2}]}, "Answer": "B", "sources": ["x"]},
        Answer(steps=STEPS, final_answer="B"),
        Plain(steps=tuple(STEPS), choice="B"),
    ],
)
def test_lists_and_numbered_fields_are_steps_and_the_answer_is_found_by_name(value):
    sample = structured_sample(value)
    assert sample.answer == "B"
    assert sample.chain == (STEPS[0], f"{STEPS[1]}\nanswer: B")


def test_ten_numbered_steps_are_in_their_order():
    sample = structured_sample({f"step{number}": f"{number}." for number in reversed(range(1, 12))})
    assert sample.chain == tuple(f"{number}." for number in range(1, 12))


def test_a_field_of_text_stays_text():
    sample = structured_sample({"reasoning": "\n".join(STEPS), "diagnosis": "Measles"})
    assert (sample.chain, sample.answer) == ("Step 1: Fever.\nStep 2: Rash.\nanswer: Measles", "Measles")


def test_other_fields_keep_their_names_and_their_side():
    sample = structured_sample({"age": 7, "steps": STEPS, "dose": "5 mg", "wells_score": 3, "answer": True})
    assert sample.chain == (f"age: 7\n{STEPS[0]}", f"{STEPS[1]}\ndose: 5 mg\nwells_score: 3\nanswer: yes")
    assert sample.answer == "yes"


def test_of_two_lists_only_one_that_is_called_steps_is_steps():
    sample = structured_sample({"differential": ["PE", "ACS"], "steps": STEPS})
    assert sample.chain == (f"PE\nACS\n{STEPS[0]}", STEPS[1])
    assert structured_sample({"findings": ["a"], "differential": ["PE", "ACS"]}).chain == "findings: a\nPE\nACS"


def test_the_field_may_be_named():
    value = {"answer": "long words", "pick": "B", "reasoning": "Fever."}
    assert structured_sample(value, "pick").answer == "B"
    assert structured_sample(value).answer == "long words"
    assert structured_sample(value, "absent").answer is None


@pytest.mark.parametrize("answer", [None, "", "  ", ["A", "B"]])
def test_no_answer_is_none(answer):
    assert structured_sample({"steps": STEPS, "answer": answer}).answer is None


def test_each_name_of_an_answer_is_read():
    for name in ANSWER_FIELDS:
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
