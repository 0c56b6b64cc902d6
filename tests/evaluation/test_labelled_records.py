import copy
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.labelled_records import JudgedQuestion, parse_judged
from medprm_scorer.request_parsing import parse_request
from medprm_scorer.text.answers import normalize_answer

SECRET = "Mrs Example born 1950"
RELEASED = {
    "question_id": 7,
    "data_source": "med_qa",
    "question": f"{SECRET}? (A) (B)",
    "correct_answer": "A",
    "related_docs": ["One", "Two"],
    "solutions": [
        {"solution": "The answer is (A)", "answer": "A", "score": 1, "PRM_score_list": [0.5, 1, 0]},
        {"solution": "The answer is (A)", "answer": "B", "score": 0, "PRM_score_list": []},
        {"solution": "The answer is (B)", "answer": None, "score": 0, "PRM_score_list": None},
    ],
}
OWN = {
    "question": f"{SECRET}?",
    "candidates": ["The answer is (A)", ["So", "the answer is b."], "No idea", "  ", []],
    "correct_answer": "(B)",
    "data_source": "ward",
    "id": "q1",
    "documents": ["D"],
}


def released(**changes) -> dict:
    """RELEASED, with each key of the change set in every solution: a list gives one value per solution."""
    record = copy.deepcopy(RELEASED)
    for key, given_ in changes.items():
        for solution, value in zip(record["solutions"], given_, strict=True):
            if value is ...:
                solution.pop(key, None)
            else:
                solution[key] = value
    return record


def refusal(record, *args) -> str:
    with pytest.raises(InputError) as caught:
        parse_judged(record, *args)
    message = str(caught.value)
    assert SECRET not in message
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- the released form


def test_released_record_with_scores():
    judged = parse_judged(RELEASED)
    assert judged == JudgedQuestion(
        id=7,
        source="med_qa",
        question=f"{SECRET}? (A) (B)",
        answers=("A", "B", None),
        right=(True, False, False),
        rewards=((0.5, 1.0, 0.0), None, None),
        request=parse_request(RELEASED),
    )
    assert judged.request.documents == ["One", "Two"]


def test_recorded_answers_are_used_and_absent_ones_read():
    assert parse_judged(released(answer=["C", ..., ...])).answers == ("C", "A", "B")
    assert parse_judged(released(answer=[" ", "", None])).answers == (None, None, None)
    assert parse_judged(released(answer=[5, 2.5, "x\ud800"])).answers == ("5", "2.5", "x\ufffd")


def test_an_absent_answer_is_read_from_tagged_text():
    record = {
        "question": "Q",
        "solutions": [{"prm_processed_solution": "Step 1: Yes. ки Step 2: The answer is (C) ки"}],
    }
    assert parse_judged(record).answers == ("C",)


@pytest.mark.parametrize(
    ("scores", "right"),
    [
        ([1, 0, 1], (True, False, True)),
        ([1.0, 0.0, -0.0], (True, False, False)),
        ([True, False, 0], (True, False, False)),
        (["None", "None", "None"], None),
        ([1, "None", 0], None),
        ([1, None, 0], None),
        ([None, None, None], None),
    ],
)
def test_scores(scores, right):
    assert parse_judged(released(score=scores)).right == right


@pytest.mark.parametrize(
    ("correct", "right"),
    [
        ("A", (True, False, False)),
        ("(b).", (False, True, False)),
        ("C", (False, False, False)),
        ("(A) Aspirin", None),
        ("Aspirin", None),
        ("é", None),
        ("5", None),
        (" ", None),
        (None, None),
        (1, None),
    ],
)
def test_without_any_score_an_option_letter_decides(correct, right):
    record = released(score=[..., ..., ...]) | {"correct_answer": correct}
    assert parse_judged(record).right == right
    assert parse_judged(RELEASED | {"correct_answer": [SECRET]}).right == (True, False, False)


@pytest.mark.parametrize(
    ("stored", "rewards"),
    [
        ([[0.25], [1, 0], [0.1, 0.2]], ((0.25,), (1.0, 0.0), (0.1, 0.2))),
        ([..., ..., ...], None),
        ([[], None, []], (None, None, None)),
    ],
)
def test_stored_rewards(stored, rewards):
    found = parse_judged(released(PRM_score_list=stored)).rewards
    assert found == rewards
    assert all(type(reward) is float for steps in found or () for reward in steps or ())


def test_what_the_authors_scorer_adds_for_a_chain_without_tags_is_not_read():
    record = released(PRM_min_score=[0.1, -math.inf, -math.inf], PRM_score=[0.1, math.nan, SECRET])
    assert parse_judged(record) == parse_judged(RELEASED)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"answer": ["A", True, "B"]}, "solutions[1].answer"),
        ({"answer": ["A", [SECRET], "B"]}, "solutions[1].answer"),
        ({"answer": ["A", {"x": SECRET}, "B"]}, "solutions[1].answer"),
        ({"answer": ["A", "B", math.nan]}, "solutions[2].answer"),
        ({"score": [1, 2, 0]}, "solutions[1].score"),
        ({"score": [1, ..., 0]}, "solutions[1].score"),
        ({"PRM_score_list": [[0.5], ..., [0.5]]}, "solutions[1].PRM_score_list"),
        ({"score": [1, 0.5, 0]}, "solutions[1].score"),
        ({"score": [1, "1", 0]}, "solutions[1].score"),
        ({"score": [1, SECRET, 0]}, "solutions[1].score"),
        ({"score": [1, [1], 0]}, "solutions[1].score"),
        ({"score": ["None", 0, math.nan]}, "solutions[2].score"),
        ({"PRM_score_list": [[0.5], [0.5, 1.1], []]}, "solutions[1].PRM_score_list[1]"),
        ({"PRM_score_list": [[0.5], [-1e-9], []]}, "solutions[1].PRM_score_list[0]"),
        ({"PRM_score_list": [[math.nan], [], []]}, "solutions[0].PRM_score_list[0]"),
        ({"PRM_score_list": [[-math.inf], [], []]}, "solutions[0].PRM_score_list[0]"),
        ({"PRM_score_list": [[10**400], [], []]}, "solutions[0].PRM_score_list[0]"),
        ({"PRM_score_list": [[True], [], []]}, "solutions[0].PRM_score_list[0]"),
        ({"PRM_score_list": [[None], [], []]}, "solutions[0].PRM_score_list[0]"),
        ({"PRM_score_list": [["0.5"], [], []]}, "solutions[0].PRM_score_list[0]"),
        ({"PRM_score_list": [[0.1], [], 0.5]}, "solutions[2].PRM_score_list"),
        ({"PRM_score_list": [SECRET, [], []]}, "solutions[0].PRM_score_list"),
    ],
)
def test_a_bad_value_is_refused_by_its_key(changes, names):
    assert refusal(released(**changes)).startswith(names + ":")


# ---------------------------------------------------------------- the package's own form


def test_own_record():
    judged = parse_judged(OWN)
    assert judged == JudgedQuestion(
        id="q1",
        source="ward",
        question=f"{SECRET}?",
        answers=("A", "B", None, None, None),
        right=(False, True, False, False, False),
        rewards=None,
        request=parse_request(OWN),
    )
    stored = parse_judged(OWN | {"step_rewards": [[0.5, 0.25], [1], None, [], [0]]})
    assert stored.rewards == ((0.5, 0.25), (1.0,), None, None, (0.0,))
    assert parse_judged(OWN | {"step_rewards": None}).rewards is None


def test_a_record_with_little_in_it():
    judged = parse_judged({"question": "Q", "candidates": ["x"]})
    assert (judged.id, judged.source, judged.answers, judged.right, judged.rewards) == (None, "", (None,), None, None)
    assert parse_judged(OWN | {"data_source": None}).source == ""
    assert parse_judged(OWN | {"data_source": "a\udfff"}).source == "a\ufffd"


@pytest.mark.parametrize(
    ("correct", "right"),
    [
        ("B", True),
        ("b.", True),
        ("**(B)**", True),
        ("(B) Aspirin", True),
        ("B: Aspirin", True),
        ("A", False),
        (" ", None),
        ("", None),
        (None, None),
    ],
)
def test_correct_answer(correct, right):
    found = parse_judged(OWN | {"correct_answer": correct}).right
    assert found == (None if right is None else (correct == "A", right, False, False, False))


@pytest.mark.parametrize(
    "changes",
    [
        {"correct_answer": "Aspirin"},  # the candidates answer with letters: nothing could ever be right
        {"correct_answer": 1},
        {"correct_answer": ..., "gold": "B"},
        {"correct_answer": ..., "answer": "B"},
        {"rewards": [[0.5]]},
    ],
)
def test_likely_mistakes_are_refused(changes):
    record = {key: value for key, value in (OWN | changes).items() if value is not ...}
    with pytest.raises(InputError, match=r"correct_answer|step_rewards"):
        parse_judged(record)


def test_free_text_and_numbers_are_compared_as_normalized_text():
    record = {"question": "Q", "candidates": [r"\boxed{5}", "Final Diagnosis: Acute  MI.", r"\boxed{5.0}"]}
    assert parse_judged(record | {"correct_answer": 5}).right == (True, False, False)
    assert parse_judged(record | {"correct_answer": "acute mi"}).right == (False, True, False)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"step_rewards": [[0.5]]}, "step_rewards"),
        ({"step_rewards": []}, "step_rewards"),
        ({"step_rewards": 0.5}, "step_rewards"),
        ({"step_rewards": {"0": SECRET}}, "step_rewards"),
        ({"step_rewards": [[0.5], 0.5, [], [], []]}, "step_rewards[1]"),
        ({"step_rewards": [[0.5], [0.5, 2], [], [], []]}, "step_rewards[1][1]"),
        ({"correct_answer": ["A"]}, "correct_answer"),
        ({"correct_answer": True}, "correct_answer"),
        ({"data_source": 3}, "data_source"),
        ({"question": None}, "question"),
        ({"candidates": [3]}, "candidates[0]"),
        ({"candidates": []}, "candidates"),
    ],
)
def test_a_bad_value_of_the_own_form_is_refused_by_its_key(changes, names):
    assert refusal(OWN | changes).startswith(names + ":")


@pytest.mark.parametrize("record", [None, [], SECRET, 3, {}, {"question": "Q"}, {"question": "Q", "solutions": [3]}])
def test_no_request_at_all(record):
    refusal(record)


# ---------------------------------------------------------------- the answer function


def test_an_own_answer_function():
    seen = []

    def last_word(text: str) -> str | None:
        seen.append(text)
        return " " if text == "No idea" else text.split()[-1] + "\ud800"

    judged = parse_judged(OWN, last_word)
    assert judged.answers == ("(A)\ufffd", "b.\ufffd", None, None, None)
    assert seen == ["The answer is (A)", "So\nthe answer is b.", "No idea"]


@pytest.mark.parametrize("wrong", [3, True, ["A"], b"A"])
def test_an_answer_function_may_return_only_text_or_none(wrong):
    assert "candidate 0" in refusal(OWN, lambda text: wrong)


@pytest.mark.parametrize("error", [ValueError(SECRET), InputError(SECRET), KeyError(SECRET), RecursionError(SECRET)])
def test_an_answer_function_that_fails(error):
    def fail(text: str) -> str:
        if text.startswith("So"):
            raise error
        return "A"

    assert "candidate 1" in refusal(OWN, fail)
    assert parse_judged(RELEASED, fail).answers == ("A", "B", None)  # recorded: not asked


# ---------------------------------------------------------------- invariants


def test_the_repr_shows_no_text():
    for record in (OWN, RELEASED | {"question_id": SECRET, "data_source": SECRET}):
        judged = parse_judged(record)
        assert SECRET not in repr(judged) + str(judged)


SOLUTIONS = st.lists(
    st.fixed_dictionaries(
        {"solution": st.sampled_from(["The answer is (A)", "The answer is (B)", "?"])},
        optional={
            "answer": st.sampled_from(["A", "b.", "(C)", "", None, 5]),
            "score": st.sampled_from([0, 1, 1.0, "None", None]),
            "PRM_score_list": st.none() | st.lists(st.floats(0, 1), max_size=3),
        },
    ),
    min_size=1,
    max_size=5,
)


@given(solutions=SOLUTIONS, correct=st.sampled_from(["A", "b", "text", None]))
def test_a_record_and_its_json_read_alike_and_as_a_plain_reading(solutions, correct):
    record = {"question": "Q", "solutions": solutions, "correct_answer": correct}
    for key in ("score", "PRM_score_list"):
        if 0 < sum(key in solution for solution in solutions) < len(solutions):
            with pytest.raises(InputError, match=f"{key}: missing"):
                parse_judged(record)
            return
    judged = parse_judged(record)
    assert judged == parse_judged(json.loads(json.dumps(record)))
    assert len(judged.answers) == len(judged.request.candidates) == len(solutions)
    scores = [solution.get("score") for solution in solutions]
    if any("score" in solution for solution in solutions):
        known = all(score in (0, 1) for score in scores)
        assert judged.right == (tuple(score == 1 for score in scores) if known else None)
    elif correct in ("A", "b"):
        keys = [normalize_answer(answer or "") for answer in judged.answers]
        assert judged.right == tuple(key == correct.lower() for key in keys)
    else:
        assert judged.right is None
    if all("PRM_score_list" in solution for solution in solutions):
        assert [list(steps or ()) for steps in judged.rewards] == [s["PRM_score_list"] or [] for s in solutions]
    else:
        assert judged.rewards is None
