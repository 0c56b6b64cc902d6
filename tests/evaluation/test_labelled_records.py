import copy
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.labelled_records import LabelledQuestion, is_error_only, parse_labelled
from medprm_scorer.results.request_parsing import parse_request
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
        parse_labelled(record, *args)
    message = str(caught.value)
    assert SECRET not in message
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- the released form


def test_released_record_with_scores():
    judged = parse_labelled(RELEASED)
    assert judged == LabelledQuestion(
        id=7,
        source="med_qa",
        gold="A",
        answers=("A", "B", None),
        right=(True, False, False),
        unjudged=0,
        raw_answers=("A", "B", None),
        scores=(True, False, False),
        rewards=((0.5, 1.0, 0.0), None, None),
        only_min=False,
        request=parse_request(RELEASED),
        given=3,
    )
    assert judged.request.documents == ["One", "Two"]


def test_recorded_answers_are_used_and_absent_ones_read():
    assert parse_labelled(released(answer=["C", ..., ...])).answers == ("C", "A", "B")
    assert parse_labelled(released(answer=[" ", "", None])).answers == (None, None, None)
    found = parse_labelled(released(answer=[5, 2.5, "x\ud800"]))
    assert found.answers == ("5", "2.5", "x\ufffd")
    assert found.raw_answers == (5, 2.5, "x\ud800")
    assert parse_labelled(released(answer=[" ", "", None])).raw_answers == (" ", "", None)


def test_an_absent_answer_is_read_from_tagged_text():
    record = {
        "question": "Q",
        "solutions": [{"prm_processed_solution": "Step 1: Yes. ки Step 2: The answer is (C) ки"}],
    }
    assert parse_labelled(record).answers == ("C",)


@pytest.mark.parametrize(
    ("scores", "right"),
    [
        ([1, 0, 1], (True, False, True)),
        ([1.0, 0.0, -0.0], (True, False, False)),
        ([True, False, 0], (True, False, False)),
        (["None", "None", "None"], None),
        ([1, "None", 0], (True, False, False)),
        ([0, None, 0], (False, False, False)),
        ([None, None, None], None),
    ],
)
def test_scores(scores, right):
    found = parse_labelled(released(score=scores))
    assert found.right == right
    assert found.scores == tuple(
        score in (1, True) for score in scores
    )  # as the authors: right is what has the score 1
    assert found.unjudged == (0 if right is None else sum(score not in (0, 1) for score in scores))


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
    assert parse_labelled(record).right == right
    assert parse_labelled(RELEASED | {"correct_answer": [SECRET]}).right == (True, False, False)


@pytest.mark.parametrize(
    ("stored", "rewards"),
    [
        ([[0.25], [1, 0], [0.1, 0.2]], ((0.25,), (1.0, 0.0), (0.1, 0.2))),
        ([..., ..., ...], None),
        ([[], None, []], (None, None, None)),
    ],
)
def test_stored_rewards(stored, rewards):
    found = parse_labelled(released(PRM_score_list=stored)).rewards
    assert found == rewards
    assert all(type(reward) is float for steps in found or () for reward in steps or ())


def test_what_the_authors_scorer_adds_beside_its_list_is_not_read():
    record = released(PRM_min_score=[0.1, -math.inf, -math.inf], PRM_score=[0.1, math.nan, SECRET])
    assert parse_labelled(record) == parse_labelled(RELEASED)


def test_smallest_rewards_alone_are_read_as_such():
    found = parse_labelled(released(PRM_score_list=[...] * 3, PRM_min_score=[0.25, -math.inf, None]))
    assert found.rewards == ((0.25,), None, None)
    assert found.only_min
    assert "solutions[1].PRM_min_score[0]" in refusal(
        released(PRM_score_list=[...] * 3, PRM_min_score=[0, math.nan, 0])
    )
    assert "PRM_min_score: missing" in refusal(released(PRM_score_list=[...] * 3, PRM_min_score=[0, ..., 0]))


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
    judged = parse_labelled(OWN)
    assert judged == LabelledQuestion(
        id="q1",
        source="ward",
        gold="(B)",
        answers=("A", "B", None, None, None),
        right=(False, True, False, False, False),
        unjudged=0,
        raw_answers=("A", "B", None, None, None),
        scores=(False, True, False, False, False),
        rewards=None,
        only_min=False,
        request=parse_request(OWN),
        given=5,
    )
    stored = parse_labelled(OWN | {"step_rewards": [[0.5, 0.25], [1, 0], None, [0], []]})
    assert stored.rewards == ((0.5, 0.25), (1.0, 0.0), None, (0.0,), None)
    assert parse_labelled(OWN | {"step_rewards": None}).rewards is None


def test_a_record_with_little_in_it():
    judged = parse_labelled({"question": "Q", "candidates": ["x"]})
    assert (judged.id, judged.source, judged.answers, judged.right, judged.rewards) == (None, "", (None,), None, None)
    assert parse_labelled(OWN | {"data_source": None}).source == ""
    assert parse_labelled(OWN | {"data_source": "a\udfff"}).source == "a\ufffd"


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
    found = parse_labelled(OWN | {"correct_answer": correct}).right
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
        parse_labelled(record)


def test_free_text_and_numbers_are_compared_as_normalized_text():
    record = {"question": "Q", "candidates": [r"\boxed{5}", "Final Diagnosis: Acute  MI.", r"\boxed{5.0}"]}
    assert parse_labelled(record | {"correct_answer": 5}).right == (True, False, False)
    assert parse_labelled(record | {"correct_answer": "acute mi"}).right == (False, True, False)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"step_rewards": [[0.5]]}, "step_rewards"),
        ({"step_rewards": []}, "step_rewards"),
        ({"step_rewards": 0.5}, "step_rewards"),
        ({"step_rewards": {"0": SECRET}}, "step_rewards"),
        ({"step_rewards": [[0.5], 0.5, [], [], []]}, "step_rewards[1]"),
        ({"step_rewards": [[0.5], [0.5, 2], [], [], []]}, "step_rewards[1][1]"),
        ({"step_rewards": [[0.5], [0.5], [], [], []]}, "step_rewards[1]"),  # of two steps, given as a list
        ({"step_rewards": [[0.5], [0.5, 0.5, 0.5], [], [], []]}, "step_rewards[1]"),
        ({"step_rewards": [[0.5], [0.5, 0.5], [], [], [0.5]]}, "step_rewards[4]"),
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


@pytest.mark.parametrize(
    ("correct", "answers", "right"),
    [
        ("yes", ["The answer is (A)", "The answer is (C)"], (True, False)),
        ("Maybe.", ["The answer is (A)", "The answer is (C)"], (False, True)),
        ("A", [r"\boxed{yes}", r"\boxed{no}"], (True, False)),
        ("no", [r"\boxed{yes}", r"\boxed{no}"], (False, True)),
    ],
)
def test_the_text_of_an_option_is_the_option(correct, answers, right):
    question = "Does it help?\n\n(A) yes\n(B) no\n(C) maybe"
    record = {"question": question, "candidates": answers, "correct_answer": correct}
    assert parse_labelled(record).right == right
    beside = {**record, "question": "Does it help?", "options": {"A": "yes", "B": "no", "C": "maybe"}}
    found = parse_labelled(beside)
    assert found.right == right
    assert found.request.options_appended
    assert found.request.question == question


def test_a_correct_answer_that_no_option_and_no_candidate_gives_is_refused():
    record = {"question": "Which?\n(A) one\n(B) two", "candidates": ["The answer is (A)"], "correct_answer": "E"}
    with pytest.raises(InputError, match="correct_answer: the question has no such option"):
        parse_labelled(record)
    assert parse_labelled({**record, "question": "Which of the five?"}).right == (False,)


def test_an_option_that_is_a_letter_is_not_taken_for_its_text():
    """Blood groups: `B` is the second option, whose text is A."""
    question = "Which group?\n\n(A) B\n(B) A\n(C) AB"
    record = {"question": question, "candidates": ["The answer is (B)"], "correct_answer": "B"}
    assert parse_labelled(record).right == (True,)
    assert parse_labelled(record | {"correct_answer": "AB"}).right == (False,)


def test_only_the_first_candidates():
    found = parse_labelled(RELEASED, most=2)
    assert (found.answers, found.right, found.rewards) == (("A", "B"), (True, False), ((0.5, 1.0, 0.0), None))
    own = parse_labelled(OWN | {"step_rewards": [[0.5], [1, 0], None, [], []]}, most=2)
    assert (own.answers, own.rewards) == (("A", "B"), ((0.5,), (1.0, 0.0)))
    assert "candidates" in refusal(OWN | {"candidates": "AB"}, None, 1)


# ---------------------------------------------------------------- what `medprm score` writes


def score_line(**changes) -> dict:
    chains = [
        {"index": 1, "text": "The answer is (B)", "error": None, "steps": [{"text": "x", "reward": 0.75}]},
        {"index": 0, "text": "The answer is (A)", "error": "it is too long", "steps": []},
    ]
    line = {"id": "q1", "run": {"record": "0f", "model": "m"}, "ranking": {"question": "Q", "chains": chains}}
    return line | {"correct_answer": "B", "data_source": "ward"} | changes


def test_a_line_of_score_is_the_record_that_it_was_made_from():
    found = parse_labelled(score_line())
    assert (found.id, found.source, found.answers, found.right) == ("q1", "ward", ("A", "B"), (False, True))
    assert found.rewards == (None, (0.75,))
    assert found.made_with == {"record": "0f", "model": "m"}
    recorded = [{"answer": "C", "score": 1}, {"answer": None, "score": 0}]
    released_ = parse_labelled(score_line(id=7, solutions=recorded))
    assert (released_.id, released_.raw_answers, released_.right) == (7, ("C", None), (True, False))
    request = {"question": "Q", "candidates": [" ", "The answer is (B)"]}
    error = {"id": 1, "run": {}, "error": "no candidate could be scored", "request": request, "correct_answer": "B"}
    failed = parse_labelled(error)
    assert (failed.right, failed.rewards) == ((False, True), (None, None))
    assert is_error_only({"id": 1, "run": {}, "error": "not valid JSON"})
    assert not is_error_only(error)


@pytest.mark.parametrize(
    "changes", [{"ranking": SECRET}, {"ranking": {"question": "Q"}}, {"solutions": [{}]}, {"solutions": SECRET}]
)
def test_a_line_of_score_that_was_changed_is_refused(changes):
    refusal(score_line(**changes))


# ---------------------------------------------------------------- the answer function


def test_an_own_answer_function():
    seen = []

    def last_word(text: str) -> str | None:
        seen.append(text)
        return " " if text == "No idea" else text.split()[-1] + "\ud800"

    judged = parse_labelled(OWN, last_word)
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
    assert parse_labelled(RELEASED, fail).answers == ("A", "B", None)  # recorded: not asked


# ---------------------------------------------------------------- invariants


def test_the_repr_shows_no_text():
    for record in (OWN, RELEASED | {"question_id": SECRET, "data_source": SECRET}):
        judged = parse_labelled(record)
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
                parse_labelled(record)
            return
    judged = parse_labelled(record)
    assert judged == parse_labelled(json.loads(json.dumps(record)))
    assert len(judged.answers) == len(judged.request.candidates) == len(solutions)
    scores = [solution.get("score") for solution in solutions]
    if any("score" in solution for solution in solutions):
        known = any(score in (0, 1) for score in scores)
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
