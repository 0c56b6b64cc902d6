import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.text.steps import Steps, split_steps

WORDS = st.text('abc .:-#*\n"\\{}[]é', max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | WORDS,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["steps", "reasoning", "answer", "confidence", "step_1", "step_2", "note", "x"]),
    inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        {"steps": ["Fever.", "Lipase.", "So (B)."]},
        {"steps": [{"explanation": "Fever."}, {"explanation": "Lipase."}, {"explanation": "So", "output": "(B)."}]},
        {"steps": {"1": "Fever.", "2": "Lipase.", "3": "So (B)."}},
        {"step_1": "Fever.", "step_2": "Lipase.", "step_3": "So (B)."},
        {"Step 1": "Fever.", "Step 2": "Lipase.", "Step 3": "So (B)."},
        {"reasoning": "Fever.\n\nLipase.\n\nSo (B)."},
        {"step_by_step_thinking": "Fever.\r\n\r\nLipase.\r\n\r\nSo (B)."},
        {"Chain of Thought": ["Fever.", "", "Lipase.", None, "So (B)."][::2]},
        {"response": {"thoughts": ["Fever.", "Lipase.", "So (B)."]}},
        ["Fever.", "Lipase.", "So (B)."],
    ],
)
@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```", "\n ```\n{}```", " {} "])
def test_json(value, form):
    for indent in (None, 2):
        text = form.replace("{}", json.dumps(value, indent=indent))
        assert split_steps(text) == Steps("", ("Fever.", "Lipase.", "So (B)."), "json")


def test_the_answer_is_part_of_the_last_step_and_citations_are_left_out():
    value = {
        "confidence": 0.9,
        "steps": ["Fever.", "So (B)."],
        "final_answer": "B",
        "citations": ["WHO", 2],
        "dose": "5 mg",
    }
    split = split_steps(json.dumps(value))
    assert split.steps == ("Fever.", "So (B). final answer: B dose: 5 mg")
    assert split.left_out == "confidence: 0.9 citations: WHO 2"


def test_a_text_of_reasoning_is_split_as_any_other():
    text = json.dumps(
        {"reasoning": "Well.\n**Step 1:** Fever.\n**Step 2:** So (B).\n\nSources:\n- WHO 2023", "answer": "B"}
    )
    assert split_steps(text) == Steps(
        "Well.", ("Step 1: Fever.", "Step 2: So (B). answer: B"), "json", "Sources:\n- WHO 2023"
    )


def test_json_inside_json_is_text():
    inner = json.dumps({"steps": ["a", "b"]})
    assert split_steps(json.dumps({"reasoning": inner})).steps == (inner,)


def test_text_after_json_is_judged():
    assert split_steps('{"steps": ["a", "b"]}\nSo (B).').steps == ("a", "b So (B).")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"steps": ["a", "b"]',
        '{"steps": [1, 2]}',
        '{"steps": []}',
        '{"answer": "B"}',
        "[1] Fever. So (B).",
        "[1, 2]",
        '{"steps": ["a", "b"], "steps": ["c", "d"]}',  # what the first said would be lost
        "[" * 100_000,
        '{"steps": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_record_is_plain_text(text):
    assert split_steps(text) == Steps("", (text,), "whole")


@given(JSON)
def test_no_word_of_a_record_is_lost(value):
    text = json.dumps(value, ensure_ascii=False)
    split = split_steps(text)
    assert split.steps
    said = "".join(filter(str.isalnum, "".join([split.front, *split.steps, split.left_out]).casefold()))
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, dict):
            stack += top.values()
        elif isinstance(top, list):
            stack += top
        elif top is not None:
            for word in str(top).split():
                assert "".join(filter(str.isalnum, word.casefold())) in said


def test_table():
    table = "| Step | Finding |\n|:---|---:|\n| 1 | fever | \n| 2 | lipase | high |\n| 3 | so (B) |"
    steps = ("1: fever", "2: lipase; high", "3: so (B)")
    assert split_steps(table) == Steps("Step; Finding", steps, "table")
    assert split_steps(f"As follows:\n\n{table}\n\n**Answer:** B") == Steps(
        "As follows:  Step; Finding", (*steps[:2], "3: so (B) **Answer:** B"), "table"
    )


@pytest.mark.parametrize(
    "text", ["| a | b |\n| 1 | c |", "| a |\n|---|\n| b |", "|---|\n| a |\n| b |", "a | b\n---|---\nc | d"]
)
def test_what_is_no_table_of_steps(text):
    assert split_steps(text, "table").rule == "whole"


def test_a_table_within_an_argument_gives_no_steps():
    prose = "The patient has fever and pain, which speaks for an infection."
    assert split_steps(f"{prose}\n\n| a | b |\n|---|---|\n| 1 | c |\n| 2 | d |\n\n{prose}").rule == "paragraphs"
