import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.text.reasoning import strip_reasoning
from medprm_scorer.text.steps import split_steps

ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final<|message|>"
TAGS = re.compile(
    r"</?(think|thinking|reasoning)>|\[/?THINK\]|<unused9[45]>|<\|channel\|>(analysis|final)<\|message\|>",
    re.IGNORECASE,
)
TEXTS = st.lists(
    st.sampled_from(
        ["Step 1:", "fever", " ", "\n", "<think>", "</think>", "<Reasoning>", "[THINK]", "[/THINK]",
        "<unused94>thought",
         "<unused95>", ANALYSIS, "<|end|>", FINAL, "<|return|>", "\ud800"]
    ),
    max_size=15,
).map("".join)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Step 1: a <b> </b>\n ", "Step 1: a <b> </b>\n "),  # none of the tags: not touched at all
        ("<think>x</think>Step 1: a", "Step 1: a"),
        ("<THINKING>x</Thinking>\n\na<reasoning>y</reasoning>b", "a\nb"),
        ("<think>x</reasoning>a", "a"),
        ("x</think>a", "a"),
        ("Step 1: x</think>a", "Step 1: x\na"),
        ("x</think>y</think>a", "a"),
        ("<think>x<think>y</think>z</think>a", "a"),
        ("a<think>x", "a\nx"),
        ("<think>x</think>a<think>y<think>z", "a\ny\nz"),
        ("<think>x", "x"),
        ("<think>x</think> \n", "x"),
        ("x</think>", "x"),
        ("<think>x</think><think>y</think>", "x\ny"),
        ("<think></think>", ""),
        ("<thinker>x</thinker>a", "<thinker>x</thinker>a"),
        ("< think>x</ think>a", "< think>x</ think>a"),
        ("Step 1: x</think>Step 1: a", "Step 1: a"),  # the opening tag was in the prompt, and the steps come after
        ("Step 1: x</think>y</think>Step 1: a</think>b", "Step 1: a\nb"),
        ("[THINK]x[/THINK]a", "a"),
        ("x[/THINK]a", "a"),
        ("<unused94>thought\nx<unused95>a", "a"),
        ("<unused94>thought\nx", "x"),
        (f"{ANALYSIS}x<|end|>{FINAL}a<|return|>", "a"),
        (f"x<|end|>{FINAL}a", "a"),
        (
            f"{ANALYSIS}x<|end|><|start|>assistant<|channel|>commentary to=f<|constrain|>json<|message|>x<|call|>"
            f"{ANALYSIS}y<|end|>{FINAL}a<|end|>",
            "a",
        ),
        (f"{ANALYSIS}x", "x"),
        ("Step 1: a<|end|>", "Step 1: a<|end|>"),  # another model's mark: no harmony here
        ("analysisx Step 1: yassistantfinalStep 1: a", "Step 1: a"),
        ("analysisxassistantcommentary to=look{}assistantanalysisyassistantfinala", "a"),
        ("analysisxassistantfinal ", "x"),
        ("analysis of the case", "analysis of the case"),
        ("In the analysis, assistantfinal", "In the analysis, assistantfinal"),
    ],
)
def test_strip_reasoning(text, expected):
    assert strip_reasoning(text) == expected


@given(TEXTS)
def test_no_tag_is_left_and_never_everything_dropped(text):
    stripped = strip_reasoning(text)
    assert not TAGS.search(stripped)
    visible = text if "<|channel|>" not in text else re.sub(r"<\|(end|return)\|>|<\|start\|>assistant", "", text)
    assert bool(stripped.strip()) == bool(TAGS.sub("", visible).replace("thought", "").strip())


def test_what_is_no_text_is_refused():
    with pytest.raises(InputError, match="bytes"):
        strip_reasoning(b"a")


@pytest.mark.parametrize(
    ("text", "steps", "rule"),
    [
        ("<think>Step 1: no</think>\nStep 1: yes", ("Step 1: yes",), "marker"),
        ("<think>Step 1: cut off", ("Step 1: cut off",), "marker"),
        ("<think>x</think>1. a\n2. b", ("1. a", "2. b"), "numbered"),
        ("Step 1: hm.\nStep 2: no.\n</think>\n\n**Step 1:** a\n**Step 2:** b", ("Step 1: a", "Step 2: b"), "labels"),
        (f"{ANALYSIS}1. no\n2. no<|end|>{FINAL}- yes\n- no", ("yes", "no"), "bullets"),
    ],
)
def test_scratch_work_is_removed_before_the_split(text, steps, rule):
    split = split_steps(text)
    assert (split.steps, split.rule) == (steps, rule)
