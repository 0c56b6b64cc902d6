import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.text.steps import SPLIT_RULES, Steps, split_steps, steps_from_tagged, strip_reasoning

# Pieces that chains, and attacks on them, are made of.
PIECES = st.sampled_from(
    [
        "Step 1:", "Step 22:", "## Step 3:", "Step :", "step 4:", "#", "##", "## ", "# A\n", "\n", "\n\n", "\r\n", "\r",
        " ", "  ", "\t", "1. a\n", "2) b\n", "3.", "fever", "кислота ки ", " ки", "\x00", "\ud800", "\u202e",
        "\u2028", "<|eot_id|>", "<think>", "</think>", "<Reasoning>", "**", "1.5 mg",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=25).map("".join)


def check(chain, front, steps, rule, asked="auto"):
    assert split_steps(chain, asked) == Steps(front, tuple(steps), rule)


# --- the marker rule: as trained ---


def test_marker_splits_as_in_training():
    check(
        "Let me think.\n\n## Step 1: Fever\nand  rash.\n## Step 2: So \t(B). Step 10:x",
        "Let me think.",
        ["Step 1: Fever and  rash.", "Step 2: So \t(B).", "Step 10:x"],
        "marker",
    )


def test_marker_without_text_keeps_its_own_step():
    check("Step 3: Step 4:\nEnd", "", ["Step 3:", "Step 4: End"], "marker")


def test_every_mark_of_a_second_level_heading_inside_a_step_is_deleted():
    check("Step 1: a\n## Note\nb ## c", "", ["Step 1: a Note b c"], "marker")
    check("## Step 1: a\n\n## Final Diagnosis: Gout", "", ["Step 1: a  Final Diagnosis: Gout"], "marker")
    check("Step 1: ### a #### b", "", ["Step 1: #a ##b"], "marker")
    check("Step 1: ## ## a ##", "", ["Step 1: a ##"], "marker")
    check("Step 1: a ##b #c", "", ["Step 1: a ##b #c"], "marker")


def test_text_before_the_first_step_and_text_without_markers_keep_theirs():
    check("## Plan\n## Step 1: a", "## Plan", ["Step 1: a"], "marker")
    check("Fever.\n## Final Diagnosis: Gout", "", ["Fever. ## Final Diagnosis: Gout"], "whole", "marker")


def test_other_hashes_around_a_marker_stay_under_the_rule_of_training():
    check("### Step 1: a\n##Step 2: b", "#", ["Step 1: a ##", "Step 2: b"], "marker", "marker")
    check("#### Step 3:", "##", ["Step 3:"], "marker", "marker")
    check("## ## Step 3:", "##", ["Step 3:"], "marker", "marker")


@pytest.mark.parametrize("text", ["step 1: a", "Step one: a", "Step 1 : a", "Step: a", "Step  1: a"])
def test_what_is_no_marker_is_one_step(text):
    check(text, "", [text], "whole")


def test_marker_in_the_middle_of_a_line_and_across_a_line_end_counts():
    check("as in Step\n1: a", "as in", ["Step 1: a"], "marker")


def test_line_ends_become_one_space_and_other_separators_stay():
    check("Step 1: a\r\nb\rc\nd\u2028e\x0bf\x85g", "", ["Step 1: a b c d\u2028e\x0bf\x85g"], "marker")


def test_markers_win_over_other_structure():
    check("# Title\n1. a\n2. b\n\nStep 1: c", "# Title 1. a 2. b", ["Step 1: c"], "marker")


def naive_marker(text):
    """The trained rule written again: pieces between markers, each stripped, then freed of `## `."""
    front, *rest = re.split(r"(?:## )?(Step \d+:)", text.replace("\n", " "))
    pairs = zip(rest[::2], rest[1::2], strict=True)
    steps = tuple((marker + content).strip().replace("## ", "") for marker, content in pairs)
    return (front.strip(), steps) if rest else None


@settings(deadline=None)
@given(TEXTS.filter(lambda text: "\r" not in text and "<" not in text))
def test_marker_equals_its_naive_twin(text):
    split = split_steps(text, "marker")
    expected = naive_marker(text)
    if expected is None:
        assert split == Steps("", (text.replace("\n", " ").strip(),) if text.strip() else (), "whole")
    else:
        assert (split.front, split.steps, split.rule) == (*expected, "marker")


@settings(deadline=None)
@given(TEXTS, st.sampled_from(SPLIT_RULES))
def test_no_text_is_lost_or_reordered(text, rule):
    split = split_steps(text, rule)
    joined = "".join(" ".join([split.front, *split.steps]).replace("#", "").split())
    source = "".join(re.sub(r"\r\n|\r|\n", " ", strip_reasoning(text)).replace("#", "").split())
    assert joined == source
    assert all(step == step.strip() != "" and not re.search(r"[\r\n]", step) for step in split.steps)
    assert bool(split.steps) == bool(strip_reasoning(text).strip())


@settings(deadline=None)
@given(st.lists(st.text("abc .,()-", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=9))
def test_marked_steps_come_back_as_they_were(bodies):
    steps = tuple(f"Step {number}: {body}" for number, body in enumerate(bodies, start=1))
    for text in ("\n".join(steps), "\r\n".join(steps), " ".join(steps), "## " + "\n\n## ".join(steps)):
        assert split_steps(text) == Steps("", steps, "marker")
    assert steps_from_tagged("".join(f"{step} ки " for step in steps)).steps == steps


# --- the other rules ---


def test_numbered():
    check(
        "Plan:\n\n1. First\n   1. inner\n   2. inner\n2) Second\nmore\n\nThe answer is (B)",
        "Plan:",
        ["1. First    1. inner    2. inner", "2) Second more  The answer is (B)"],
        "numbered",
    )


def test_numbered_with_bold_and_indentation():
    check("  **1.** a\n  **2.** b", "", ["**1.** a", "**2.** b"], "numbered")


@pytest.mark.parametrize("text", ["1. a\n1. b", "2. a\n3. b", "1.5 mg\n2.5 mg", "1. a\n3. c", "1: a\n2: b", "1. a"])
def test_what_is_no_numbered_list_is_one_step(text):
    check(text, "", [text.replace("\n", " ")], "whole")


def test_numbers_out_of_turn_are_plain_text():
    check("1. a\n7. x\n2. b\n1. y", "", ["1. a 7. x", "2. b 1. y"], "numbered")


def test_headings():
    check("Intro\n# One\na\n\n### Two\nb", "Intro", ["# One a", "### Two b"], "headings")
    check("#5 patient\n#6 patient", "", ["#5 patient #6 patient"], "whole")


def test_paragraphs():
    check("\n\na\nb\n \t\n\r\nc\n", "", ["a b", "c"], "paragraphs")


def test_order_of_the_rules_in_auto():
    check("# A\n1. x\n\n# B\n2. y", "# A", ["1. x  # B", "2. y"], "numbered")
    check("# A\n\nx\n\n# B\n\ny", "", ["# A  x", "# B  y"], "headings")


def test_a_rule_asked_for_is_used_alone():
    text = "# A\n1. x\n\n# B\n2. y"
    check(text, "", ["# A 1. x  # B 2. y"], "whole", "marker")
    check(text, "", ["# A 1. x", "# B 2. y"], "headings", "headings")
    check(text, "", ["# A 1. x", "# B 2. y"], "paragraphs", "paragraphs")
    check("Step 1: x\n\nStep 2: y", "", ["Step 1: x  Step 2: y"], "whole", "numbered")
    check("Step 1: x\n\nStep 2: y", "", ["Step 1: x  Step 2: y"], "whole", "whole")


# --- lists, blanks, wrong input ---


def test_given_steps_are_kept():
    check(
        [" a\nb ", "Step 7: c Step 8: d", "<think>x</think>"],
        "",
        ["a b", "Step 7: c Step 8: d", "<think>x</think>"],
        "given",
    )
    check(("a\r\nb",), "", ["a b"], "given", "marker")
    check([], "", [], "given")


@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t", "<think> \n</think>", "</think>", "<THINK>", "\u2028"])
def test_blank_chains_have_no_steps(text):
    assert split_steps(text).steps == ()


def test_blank_given_step_is_named_by_place_only():
    with pytest.raises(InputError, match=r"step \[1\] of the given steps is blank") as caught:
        split_steps(["secret", " \n"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "chain", [None, 3, b"Step 1: a", {"a": 1}, {"a"}, ["a", None], ["a", b"b"], iter(["a"]), [["a"]]]
)
def test_wrong_types(chain):
    with pytest.raises(InputError):
        split_steps(chain)


@pytest.mark.parametrize("chain", ["text", ["text"]])
@pytest.mark.parametrize("rule", ["given", "tagged", "", "MARKER"])
def test_unknown_rule_lists_the_known(chain, rule):
    with pytest.raises(InputError, match="auto, marker, numbered, headings, paragraphs, whole"):
        split_steps(chain, rule)


def test_repr_shows_no_text():
    assert repr(split_steps("secret Step 1: secret")) == "Steps(rule='marker')"


# --- reasoning blocks ---


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
    ],
)
def test_strip_reasoning(text, expected):
    assert strip_reasoning(text) == expected


@settings(deadline=None)
@given(TEXTS)
def test_strip_reasoning_leaves_no_tag_and_never_drops_everything(text):
    stripped = strip_reasoning(text)
    assert not re.search(r"</?(think|thinking|reasoning)>", stripped, re.IGNORECASE)
    visible = re.sub(r"</?(think|thinking|reasoning)>", "", text, flags=re.IGNORECASE).strip()
    assert bool(stripped.strip()) == bool(visible)


def test_reasoning_is_removed_before_the_split():
    check("<think>Step 1: no</think>\nStep 1: yes", "", ["Step 1: yes"], "marker")
    check("<think>Step 1: cut off", "", ["Step 1: cut off"], "marker")
    check("<think>x</think>1. a\n2. b", "", ["1. a", "2. b"], "numbered")


# --- tagged records ---


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Step 1: a ки Step 2: b ки", ["Step 1: a", "Step 2: b"]),
        ("Intro Step 1: a ки\nStep 2:\nb ки \n", ["Intro Step 1: a", "Step 2: b"]),
        ("a ки ки b", ["a", "b"]),
        ("a ки the tail", ["a", "the tail"]),
        (" кислота кишечник", ["кислота кишечник"]),
        ("a ки. b ки, c", ["a ки. b ки, c"]),
        ("", []),
        (" ки", []),
    ],
)
def test_tagged(text, steps):
    assert steps_from_tagged(text) == Steps("", tuple(steps), "tagged")


def test_tagged_with_another_tag_and_wrong_input():
    assert steps_from_tagged("a (+) b (+)", tag=" (+)").steps == ("a", "b")
    with pytest.raises(InputError):
        steps_from_tagged("a", tag=" ")
    with pytest.raises(InputError):
        steps_from_tagged(["a"])


def test_the_tag_means_nothing_in_a_candidate():
    check("Step 1: a ки Step 2: b <|eot_id|>", "", ["Step 1: a ки", "Step 2: b <|eot_id|>"], "marker")


# --- hostile text ---


@pytest.mark.parametrize(
    "unit",
    ["<think>", "</think>", "<think></think>", "<", "Step ", "Step 1", "1", "## ", "## Step 1:", "#", " ", "\n", "\r",
     "1. ", "1.\n", "Step 1:", " ки", "\x00", "\ud800", "\u202e", "ки", "# a\n", "a\n\n", "\t1"],
)  # fmt: skip
def test_linear_time_on_hostile_lines(unit):
    text = unit * (100_000 // len(unit))
    start = time.perf_counter()
    for tried in (text, "Step " + text, "1. " + text, "<think>" + text):
        for rule in SPLIT_RULES:
            split_steps(tried, rule)
    steps_from_tagged(text)
    assert time.perf_counter() - start < 5.0  # quadratic time would be minutes


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec=None), max_size=200), st.sampled_from(SPLIT_RULES))
def test_any_text_can_be_split(text, rule):
    assert all(step.strip() for step in split_steps(text, rule).steps)
