import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.text.reasoning import strip_reasoning
from medprm_scorer.text.steps import SPLIT_RULES, Steps, split_steps
from medprm_scorer.text.tagged import tagged_pieces
from tests.support.clock import within_cpu_seconds
from tests.support.properties import examples

# Pieces that chains, and attacks on them, are made of.
PIECES = st.sampled_from(
    [
        "Step 1:", "Step 22:", "## Step 3:", "Step :", "step 4:", "#", "##", "## ", "# A\n", "\n", "\n\n", "\r\n", "\r",
        " ", "  ", "\t", "1. a\n", "2) b\n", "3.", "fever", "кислота ки ", " ки", "\x00", "\ud800", "\u202e",
        "\u2028", "<|eot_id|>", "<think>", "</think>", "<Reasoning>", "**", "1.5 mg", "**Step 2:**", "Schritt 1 -",
        "(1) ",
        "第一步：", "- a\n", "---\n", "***", "| a | b |\n", "|---|\n", "First, ", "Second, ", ". ", "A b.\n",
        "Sources:\n",
        "[1] x 2020\n", "\n\nNote: no medical advice.", "**Answer:** B", "as in ", "```\n", "step 1\n", "1: ", "Title",
        "__",
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


@pytest.mark.parametrize("text", ["step 1: a", "Step one: a", "Step 1 : a", "Step: a", "Step  1: a", "Step\u00a01: a"])
def test_what_is_no_marker_is_one_step_under_the_rule_of_training(text):
    check(text, "", [text], "whole", "marker")


def test_marker_in_the_middle_of_a_line_and_across_a_line_end_counts_under_the_rule_of_training():
    check("as in Step\n1: a", "as in", ["Step 1: a"], "marker", "marker")
    check("as in Step\n1: a", "", ["as in Step 1: a"], "whole")


@pytest.mark.parametrize(
    "text",
    [
        "Step 1: a. Step 2: b. Step 3: c",
        "Step 1: a Step 2: b Step 3: c",
        "Let me think Step 1: a; Step 2: b",
        "Step 0: a\nStep 1: b\nStep 1: c",
        "Step 4: a\n\nStep 5:\n- b\n- c\n",
        "a **b** Step 1: **c** Step 2: _d_ Step 3: *e*",
        "Step 1: a.\nStep 2: (b) Step 3: c.\nStep 4: d",
        "See below. Step 1: a. Step 3: b. Step 3: c. Step 12: d.",
        "## Step 1: a ## Step 2: b\n\n## Final Diagnosis: c",
        "Step 1: a\n\nStep 2: b\n\n**Final Answer:** B",
        "\n\t Step 1:\na\n \nStep\n2: b",
    ],
)
def test_text_in_the_form_of_training_is_split_as_in_training(text):
    assert split_steps(text) == split_steps(text, "marker")
    assert split_steps(text).rule == "marker"


@pytest.mark.parametrize(
    "text",
    [
        "Step 1: a\nStep 2: As in Step 1: b\nStep 3: c",
        "Step 1: a. Step 2: by Step 1: b. Step 3: c",
        "Step 1: a\nStep 2: b (Step 1: a) b\nStep 3: see\nStep 1: that\nStep 4: c",
        "Step 1: we return to it in Step 3: later.\nStep 2: b\nStep 3: c",
    ],
)
def test_a_step_named_in_a_sentence_is_no_new_step(text):
    split = split_steps(text)
    assert split.rule == "labels"
    assert [step[:7] for step in split.steps] == [f"Step {n}:" for n in range(1, len(split.steps) + 1)]
    assert len(split.steps) == 3 + ("Step 4" in text)
    assert len(split_steps(text, "marker").steps) > len(split.steps)


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


@given(TEXTS.filter(lambda text: "\r" not in text and "<" not in text))
def test_marker_equals_its_naive_twin(text):
    split = split_steps(text, "marker")
    expected = naive_marker(text)
    if expected is None:
        assert split == Steps("", (text.replace("\n", " ").strip(),) if text.strip() else (), "whole")
    else:
        assert (split.front, split.steps, split.rule) == (*expected, "marker")


def said(text):
    """What a text says, whatever its markup, punctuation and letter case."""
    return "".join(character for character in text.casefold() if character.isalnum() or character in "%<≥±°+/")


@settings(max_examples=examples(400))
@given(TEXTS, st.sampled_from(SPLIT_RULES))
def test_no_text_is_lost_or_reordered(text, rule):
    split = split_steps(text, rule)
    assert said("".join([split.front, *split.steps, split.left_out])) == said(strip_reasoning(text))
    assert all(step == step.strip() != "" and not re.search(r"[\r\n]", step) for step in split.steps)
    assert bool(split.steps) == bool(strip_reasoning(text).strip())
    assert not split.left_out or rule not in ("marker", "whole")


@given(st.lists(st.text("abc .,()-", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=9))
def test_marked_steps_come_back_as_they_were(bodies):
    steps = tuple(f"Step {number}: {body}" for number, body in enumerate(bodies, start=1))
    for text in ("\n".join(steps), "\r\n".join(steps), " ".join(steps), "## " + "\n\n## ".join(steps)):
        assert split_steps(text) == Steps("", steps, "marker")
    assert tuple(map(str.strip, tagged_pieces("".join(f"{step} ки " for step in steps)))) == steps


# --- the order of the rules, and rules asked for ---


def test_order_of_the_rules_in_auto():
    check("# A\n1. x\n\n# B\n2. y", "A", ["1. x  B", "2. y"], "numbered")
    check("# A\n\nx\n\n# B\n\ny", "", ["A  x", "B  y"], "headings")
    check("# A\n1. x\n2. y\n# B\n1. z\n2. w", "", ["A 1. x 2. y", "B 1. z 2. w"], "headings")
    check("# Title\n1. a\n2. b\n\nStep 1: c", "# Title 1. a 2. b", ["Step 1: c"], "marker")
    check("Step 1. x\n- y\n- z\n\nStep 2. w", "", ["Step 1: x - y - z", "Step 2: w"], "labels")


def test_a_rule_asked_for_is_used_alone():
    text = "# A\n1. x\n\n# B\n2. y"
    check(text, "", ["# A 1. x  # B 2. y"], "whole", "marker")
    check(text, "", ["A 1. x", "B 2. y"], "headings", "headings")
    check(text, "", ["A 1. x", "B 2. y"], "paragraphs", "paragraphs")
    check("Step 1: x\n\nStep 2: y", "", ["Step 1: x  Step 2: y"], "whole", "numbered")
    check("Step 1: x\n\nStep 2: y", "", ["Step 1: x  Step 2: y"], "whole", "whole")
    check("Step 1: x\n\nStep 2: y", "", ["Step 1: x", "Step 2: y"], "labels", "labels")


def test_closing_notes_are_left_out_and_kept():
    notes = "Sources:\n- WHO 2023"
    split = split_steps(f"Step 1: a\nStep 2: So (B).\n\n---\n\n{notes}")
    assert split == Steps("", ("Step 1: a", "Step 2: So (B)."), "labels", notes)
    assert split_steps(f"Fever, so (B).\n\n{notes}") == Steps("", ("Fever, so (B).",), "whole", notes)
    assert split_steps(f"Step 1: a\n\n{notes}", "marker").left_out == ""
    assert "WHO" in split_steps(f"Step 1: a\n\n{notes}", "marker").steps[-1]


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
    with pytest.raises(InputError, match=", ".join(SPLIT_RULES)):
        split_steps(chain, rule)


def test_repr_shows_no_text():
    assert repr(split_steps("secret Step 1: secret\n\nSources:\n- secret", "labels")) == "Steps(rule='labels')"


def test_the_tag_means_nothing_in_a_candidate():
    check("Step 1: a ки Step 2: b <|eot_id|>", "", ["Step 1: a ки", "Step 2: b <|eot_id|>"], "marker")


# --- hostile text ---


@pytest.mark.parametrize(
    "unit",
    ["<think>", "</think>", "<think></think>", "<", "Step ", "Step 1", "1", "## ", "## Step 1:", "#", " ", "\n", "\r",
     "1. ", "1.\n", "Step 1:", " ки", "\x00", "\ud800", "# a\n", "a\n\n", "\t1", "**", "**Step 1:** a ", "Step 1\n",
     "|",
     "| a ", "|-|\n", "- a\n", "---\n", "First, a. ", "(1) a. ", ".", "。", "A b.\n", "Sources:\n", "Sources: [1]\n",
     "\n\nNote: medical advice", "[", '{"steps": [', '["a"],', "<|channel|>", "<|channel|>final<|message|>", "analysis",
     "assistantfinal", "```\n", "第一步：", "Step 1 ("],
)  # fmt: skip
def test_linear_time_on_hostile_lines(unit):
    text = unit * (50_000 // len(unit))
    with within_cpu_seconds(30):  # quadratic time would be minutes
        for tried in (text, "1. " + text + "\n\nSources:\n[1] " + text):
            for rule in ("auto", "sentences"):  # `auto` tries all the others
                split_steps(tried, rule)
        tagged_pieces(text)


@settings(max_examples=examples(200))
@given(st.text(st.characters(codec=None), max_size=200), st.sampled_from(SPLIT_RULES))
def test_any_text_can_be_split(text, rule):
    assert all(step.strip() for step in split_steps(text, rule).steps)
