import pytest

from medprm_scorer.text.steps import split_steps
from medprm_scorer.text.steps.closing_notes import split_closing_notes

CHAIN = "Step 1: Fever.\nStep 2: So the answer is (B)."


@pytest.mark.parametrize(
    "notes",
    [
        "Sources:\n- WHO 2023\n- NICE NG185",
        "**Sources:**\n1. WHO\n2. NICE",
        "### References\n\n[1] Roe et al., 2021\n\n[2] https://example.org",
        "References: [1], [2]",
        "Sources: WHO guideline 2023",
        "Quellen:\n- WHO",
        "参考文献：\n[1] WHO",
        "*Disclaimer: This is not medical advice.*",
        "Note: This is for educational purposes only. Please consult a healthcare professional.",
        "I am not a doctor; this is no substitute for medical advice.",
        "⚠️ **Disclaimer:** Not a substitute for professional medical advice.",
        "Sources:\n- WHO 2023\n\nDisclaimer: no medical advice.",
    ],
)
@pytest.mark.parametrize("gap", ["\n\n", "\n\n---\n\n", "\n\n***\n\n"])
def test_notes_at_the_end_are_told_apart(notes, gap):
    assert split_closing_notes(CHAIN + gap + notes) == (CHAIN, notes)
    split = split_steps(CHAIN + gap + notes)
    assert split.steps == ("Step 1: Fever.", "Step 2: So the answer is (B).")
    assert split.left_out == notes


@pytest.mark.parametrize(
    "end",
    [
        "Source: the lungs.",
        "Sources:",
        "Sources: the lungs and the bladder.",
        "Sources:\nThe infection came from the lungs, so we treat with amoxicillin.",
        "Sources:\n- WHO 2023\n\nThe answer is (B).",
        "Sources:\n- WHO 2023\nTherefore we treat.",
        "References: [1] says that option B is right",
        "Note: consult a healthcare professional before giving 500 mg.",
        "Note: the answer is (B), but this is no medical advice.",
        "Note: the patient has fever.",
        "Disclaimer: fever.",
        "Important: give antibiotics at once.",
        "Disclaimer: no medical advice. " + "Fever. " * 200,
    ],
)
def test_what_could_be_reasoning_is_judged(end):
    text = f"{CHAIN}\n\n{end}"
    assert split_closing_notes(text) == (text, "")
    assert split_steps(text).left_out == ""
    assert split_steps(text).steps[-1].endswith(end.split()[-1])


@pytest.mark.parametrize("text", ["", "Sources:\n- WHO 2023", "\n\nSources:\n- WHO 2023",
"Disclaimer: no medical advice.",
                                  "Sources:\n- WHO 2023\n\nFever is high."])  # fmt: skip
def test_nothing_before_or_reasoning_after_means_no_notes(text):
    assert split_closing_notes(text) == (text, "")
