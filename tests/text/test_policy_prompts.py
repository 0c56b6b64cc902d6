import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.sampling.rules import PAPER_RULES, keeps
from medprm_scorer.text.answers import extract_answer
from medprm_scorer.text.policy import POLICY_PROMPTS, policy_messages
from medprm_scorer.text.prompts import user_prefix
from medprm_scorer.text.steps import split_steps
from tests.support.hostile import texts


def obedient_chain(kind, steps):
    """A chain that does what the prompt says, with the step's form and the ending read from the prompt itself."""
    prompt = POLICY_PROMPTS[kind]
    form = re.search(r"such as \((Step )1(:)\) and \(\1(2)\2\)", prompt)
    lines = [f"{form[1]}{number}{form[2]} Fever." for number in range(1, steps + 1)]
    if kind == "options":
        ending = re.search(r"the answer is \(option letter\)", prompt)[0].replace("option letter", "B")
        return "\n".join(lines)[:-1] + f", so {ending}"
    return "\n".join([*lines, re.search(r"such as ((?:## Final Diagnosis|Final answer): .*)", prompt)[1]])


@pytest.mark.parametrize(("kind", "answer"), [("options", "B"), ("open", "common cold"), ("free", "5 mg once daily")])
@pytest.mark.parametrize("steps", range(3, 10))
def test_a_policy_that_obeys_is_read_step_by_step_and_votes(kind, answer, steps):
    chain = obedient_chain(kind, steps)
    split = split_steps(chain)
    assert (split.rule, split.front, len(split.steps)) == ("marker", "", steps)
    assert extract_answer(chain) == answer
    assert keeps(chain)


def test_the_prompts_ask_for_the_steps_that_are_kept():
    assert set(POLICY_PROMPTS) == {"options", "open", "free"}
    for prompt in POLICY_PROMPTS.values():
        assert re.findall(r"(\d+) to (\d+) steps", prompt) == [(str(PAPER_RULES.min_steps), str(PAPER_RULES.max_steps))]
        assert not re.search(r"[{}]", prompt)


def test_the_kind_follows_from_the_question():
    system, _ = policy_messages("Which?\n\n(A) CT\n(B) MRI")
    assert system["content"] == POLICY_PROMPTS["options"]
    system, _ = policy_messages("Which test comes first in a patient with chest pain?")
    assert system["content"] == POLICY_PROMPTS["free"]


def test_prompts_cannot_be_changed():
    with pytest.raises(TypeError):
        POLICY_PROMPTS["open"] = "x"


@given(texts.filter(str.strip), st.lists(texts, max_size=4), st.sampled_from(sorted(POLICY_PROMPTS)))
def test_the_policy_reads_what_the_reward_model_reads(question, documents, kind):
    system, user = policy_messages(question, documents, kind)
    assert system == {"role": "system", "content": POLICY_PROMPTS[kind]}
    assert set(user) == {"role", "content"}
    assert user["role"] == "user"
    assert user["content"] + "\n\nExplanation:" == user_prefix(question, documents)


@pytest.mark.parametrize(
    ("question", "documents"), [("", ()), (" \n", ()), (None, ()), ("Which?", None), ("Which?", 5)]
)
def test_what_is_no_question_is_refused(question, documents):
    with pytest.raises(InputError):
        policy_messages(question, documents)


def test_without_documents():
    assert policy_messages("Which?")[1]["content"] == "Question: Which?"


def test_callers_cannot_share_a_message():
    policy_messages("Which?")[0]["content"] = "x"
    assert policy_messages("Which?")[0]["content"] == POLICY_PROMPTS["free"]


@pytest.mark.parametrize("kind", ["Options", "", 1, ["open"], {"open": 1}])
def test_unknown_kind_lists_the_known(kind):
    with pytest.raises(InputError, match="options, open"):
        policy_messages("Which?", kind=kind)


@pytest.mark.parametrize(
    ("question", "documents", "place"),
    [
        (None, [], "question"),
        (b"secret", [], "question"),
        ("secret", "secret", "documents"),
        ("secret", ["secret", None], r"documents\[1\]"),
    ],
)
def test_wrong_types_name_the_place_and_no_text(question, documents, place):
    with pytest.raises(InputError, match=place) as caught:
        policy_messages(question, documents)
    assert "secret" not in str(caught.value)
