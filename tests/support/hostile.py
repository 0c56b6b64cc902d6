"""Text that tries to break a prompt, for property tests."""

from hypothesis import strategies as st

from tests.support.llama3 import SPECIALS

PIECES = [
    *SPECIALS[:12],
    " ки",
    "ки",
    " кислота кишечник",
    " ки ки ки",
    "Step 2:",
    "## Step 3: ",
    "\x00",
    "\ud800",
    "\udfff lone",
    "\u202e\u2066 rtl \u200f",
    "\x1b[31m",
    "\n",
    "\r\n",
    "\u2028",
    " ",
    "\t",
    "Question:",
    "\n\nExplanation:",
    "Document 1: ",
    "<think>",
    "</think>",
    "\\boxed{",
    "}",
    " + ",
    " - ",
    "{{ x }}",
    "MEDPRMUSERCONTENT",
    "The answer is (B)",
    "🩺",
    "ا\u0301ل",
    "9" * 40,
    "a" * 300,
    "[INST]",
    "<s>",
]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=12)), max_size=12).map("".join)
"""Hostile texts, blank ones included."""
