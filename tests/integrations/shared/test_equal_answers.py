"""Equal answers by a model or by embeddings: whatever the model does, each answer ends in exactly one group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_integrations.shared.equal_answers import (
    AnswerModelFailedWarning,
    FinalAnswer,
    Groups,
    labels_by_model,
    labels_by_similarity,
    read_by_rules_or_model,
)
from medprm_scorer.text.answers import DECLINED

ANSWERS = ["MI", "heart attack", "PE", "STEMI"]
QUESTION = "Which drug?\n\n(A) Aspirin\n(B) Heparin"


def test_the_model_sees_question_and_answers_and_its_groups_count():
    prompts = []

    def ask(prompt, schema):
        prompts.append(prompt)
        return schema(groups=[[1, 2, 4], [3]])

    assert labels_by_model(ask, ANSWERS, "Which diagnosis?") == [0, 0, 1, 0]
    assert "Which diagnosis?" in prompts[0]
    assert "2. heart attack" in prompts[0]


@pytest.mark.parametrize("groups", [[], [[1, 2], [3]], [[1, 2, 3, 4], [4]], [[0, 1, 2, 3]], [[1, 2, 3, 5]], [[-1]]])
def test_groups_that_are_no_partition_leave_exact_wording(groups):
    with pytest.warns(AnswerModelFailedWarning, match="ValueError"):
        assert labels_by_model(lambda prompt, schema: schema(groups=groups), ANSWERS, "?") == [0, 1, 2, 3]


def test_a_model_that_fails_leaves_exact_wording_and_no_text_in_the_warning():
    def ask(prompt, schema):
        raise RuntimeError(prompt)

    with pytest.warns(AnswerModelFailedWarning) as comparing:
        assert labels_by_model(ask, ["Mrs Example has MI", "PE"], "?") == [0, 1]
    with pytest.warns(AnswerModelFailedWarning) as reading:
        assert read_by_rules_or_model(ask, "Mrs Example is unwell.", QUESTION) is None
    assert not any("Mrs Example" in str(warning.message) for warning in [*comparing, *reading])


@given(st.lists(st.lists(st.integers(-2, 6), max_size=6), max_size=6))
def test_every_answer_gets_one_label(groups):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medprm_integrations.shared.equal_answers._warn_failed", lambda *args: None)
        labels = labels_by_model(lambda prompt, schema: Groups(groups=groups), ANSWERS, "?")
    assert len(labels) == len(ANSWERS)
    flat = [number for group in groups for number in group]
    if sorted(flat) != [1, 2, 3, 4]:
        assert labels == [0, 1, 2, 3]


def test_embeddings_never_join_other_numbers_or_a_negation():
    same = [[1.0, 0.0]] * 4
    assert labels_by_similarity(["200 mg", "300 mg", "give 200 mg", "not 200 mg"], same, 0.9) == [0, 1, 0, 2]


def test_an_answer_must_be_like_every_member_of_a_group():
    """Near its neighbour, each of them, but the ends are far apart: no chain of neighbours joins them."""
    vectors = [[1.0, 0.0], [0.8, 0.6], [0.28, 0.96]]
    assert labels_by_similarity(["a", "b", "c"], vectors, 0.75) == [0, 0, 1]
    assert labels_by_similarity(["a", "b"], [[0.0, 0.0], [0.0, 0.0]], 0.1) == [0, 1]


def test_the_model_is_asked_only_where_the_rules_read_nothing():
    def ask(prompt, schema):
        raise AssertionError

    assert read_by_rules_or_model(ask, "Step 1: So. The answer is (B)", QUESTION) == "B"


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (FinalAnswer(answer="B"), "B"),
        (FinalAnswer(answer="heparin"), "B"),
        (FinalAnswer(answer="Z"), None),
        (FinalAnswer(answer="  "), None),
        (FinalAnswer(), None),
        (FinalAnswer(declined=True), DECLINED),
    ],
)
def test_what_the_model_reads_counts_if_it_is_an_option(said, read):
    assert read_by_rules_or_model(lambda prompt, schema: said, "Step 1: Lipase is high.", QUESTION) == read
