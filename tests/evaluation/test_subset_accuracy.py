import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.evaluation import subset_accuracy
from medprm_scorer.evaluation.subset_accuracy import draw_subsets, expected_accuracy
from tests.support.plain_accuracy import expected_accuracy_plain
from tests.support.properties import examples

# Few answers and few rewards, so that ties of every kind are common; tenths, so that plain sums depend on their order.
KEYS = {"A": "a", "(a)": "a", "A.": "a", "B": "b", "b": "b", "C": "c"}  # None and blank do not vote
ANSWERS = st.sampled_from([None, " ", *KEYS])
REWARDS = st.sampled_from([None, 0.0, 0.1, 0.2, 0.3])


@st.composite
def questions(draw, most=7):
    total = draw(st.integers(1, most))
    column = {"min_size": total, "max_size": total}
    return (
        draw(st.lists(ANSWERS, **column)),
        draw(st.lists(st.booleans(), **column)),
        {name: draw(st.lists(REWARDS, **column)) for name in ("min", "last")},
    )


def naive(answers, right, rewards, row):
    """The four choices among one subset; sums are exact, then rounded once."""
    keys = [KEYS.get(answer) for answer in answers]
    scored = [i for i in row if rewards[i] is not None]

    def is_right(key):
        return any(r for r, k in zip(right, keys, strict=True) if k == key)

    def best(rank, among):
        found = {keys[i]: rank([j for j in among if keys[j] == keys[i]]) for i in among if keys[i]}
        return max(found, key=found.get) if found else None

    top = min(scored, key=lambda i: (-rewards[i], i), default=None)
    best_of_n = top is not None and right[top]
    voters = [i for i in scored if keys[i]]
    held, all_ = (sum((Fraction(rewards[i]) for i in some), Fraction()) for some in (voters, scored))
    is_vote = 2 * float(held) >= float(all_) if all_ else 2 * len(voters) >= len(scored)
    majority = best(lambda places: (len(places), -places[0]), row)
    weighted = best(
        lambda places: (
            float(sum(Fraction(rewards[i]) for i in places)),
            max(rewards[i] for i in places),
            -places[0],
        ),
        scored,
    )
    return {
        "majority_vote": majority is not None and is_right(majority),
        "best_of_n": best_of_n,
        "weighted_vote": is_right(weighted)
        if weighted and is_vote
        else best_of_n or (top is not None and keys[top] is not None and is_right(keys[top])),
        "oracle": any(right[i] for i in row),
    }


@settings(max_examples=examples(300))
@given(questions(), st.integers(1, 8), st.sampled_from([3, 1000]))
@example((["A", "B", "A"], [False, True, False], {"min": [0.1, 0.3, 0.2]}), 3, 1)  # 0.1 + 0.2 > 0.3
def test_fast_plain_and_naive_agree_to_the_last_bit(question, size, most):
    answers, right, by_aggregate = question
    subsets = draw_subsets(len(answers), size, most, [7])
    found = expected_accuracy(answers, right, by_aggregate, subsets)
    plain = expected_accuracy_plain(answers, right, by_aggregate, subsets)
    assert found == plain
    assert list(found) == list(plain)
    assert found["single", None] == sum(right) / len(right)
    for aggregate, rewards in by_aggregate.items():
        rows = [naive(answers, right, rewards, row) for row in subsets.tolist()]
        for choice in rows[0]:
            name = aggregate if choice in ("best_of_n", "weighted_vote") else None
            assert found[choice, name] == sum(row[choice] for row in rows) / len(rows)


@settings(max_examples=examples(60))
@given(questions(), st.integers(1, 8))
def test_invariants(question, size):
    answers, right, by_aggregate = question
    subsets = draw_subsets(len(answers), size, 1000, [0])
    found = expected_accuracy(answers, right, by_aggregate, subsets)
    assert all(0.0 <= share <= 1.0 for share in found.values())
    for aggregate in by_aggregate:
        assert found["best_of_n", aggregate] <= found["oracle", None]
    if size == 1:
        assert found["oracle", None] == pytest.approx(found["single", None])
    if all(right):
        assert found["single", None] == found["oracle", None] == 1.0
    if not any(right):
        assert set(found.values()) == {0.0}


def test_many_candidates_agree_with_the_plain_twin():
    generator = np.random.default_rng(5)
    answers = [[None, "A", "b", "(B)", "c", "D"][i] for i in generator.integers(0, 6, 64)]
    right = [answer == "A" for answer in answers]
    fine, coarse = generator.random(64).tolist(), (generator.integers(0, 3, 64) / 10).tolist()
    by_aggregate = {"fine": fine, "coarse": coarse, "none": [None] * 64, "equal": [0.7] * 64}
    for size in (1, 2, 5, 16, 64):
        subsets = draw_subsets(64, size, 40, [1, size])
        found = expected_accuracy(answers, right, by_aggregate, subsets)
        assert found == expected_accuracy_plain(answers, right, by_aggregate, subsets)
        assert found["best_of_n", "none"] == found["weighted_vote", "none"] == 0.0


def test_only_near_ties_go_to_the_plain_twin(monkeypatch):
    rows = []
    plain = subset_accuracy.weighted_vote  # type: ignore[attr-defined]
    monkeypatch.setattr(subset_accuracy, "weighted_vote", lambda *args: rows.append(args[3]) or plain(*args))
    tenths = [0.1, 0.2, 0.3, 0.3, 0.2, 0.1]
    assert sum(tenths[:3]) != sum(tenths[3:])  # so a plain sum would let rounding decide
    answers, subsets = ["A"] * 3 + ["B"] * 3, np.array([[0, 1, 2, 3, 4, 5]])
    assert expected_accuracy(answers, [True] * 3 + [False] * 3, {"min": tenths}, subsets)["weighted_vote", "min"] == 1.0
    assert rows == [[0, 1, 2, 3, 4, 5]]
    expected_accuracy(answers, [True] * 6, {"min": [*tenths[:5], 0.100001]}, subsets)
    expected_accuracy(["A"] * 6, [True] * 6, {"min": tenths}, subsets)
    assert len(rows) == 1


# --- the rules one by one ---


def shares(answers, right, rewards, row=None):
    subsets = np.array([range(len(answers)) if row is None else row])
    return {
        choice: share for (choice, _), share in expected_accuracy(answers, right, {"min": rewards}, subsets).items()
    }


def test_the_choices_can_all_differ():
    answers = ["C", "C", "C", "A", "A", "B"]
    rewards = [0.1, 0.2, 0.3, 0.8, 0.7, 0.9]
    for winner, choice in (("C", "majority_vote"), ("A", "weighted_vote"), ("B", "best_of_n")):
        found = shares(answers, [answer == winner for answer in answers], rewards)
        assert [name for name, share in found.items() if share == 1.0] == [choice, "oracle"]


def test_unscored_candidates_vote_in_majority_vote_only():
    found = shares(["B", "A", "A"], [False, True, True], [0.1, None, None])
    assert (found["majority_vote"], found["weighted_vote"], found["best_of_n"]) == (1.0, 0.0, 0.0)


def test_a_tied_majority_is_decided_by_the_subset_not_by_rewards_or_the_whole_question():
    answers, right, rewards = ["A", "B", "A"], [True, False, True], [0.1, 0.2, 0.9]
    assert shares(answers, right, rewards, [0, 1])["majority_vote"] == 1.0
    assert shares(answers, right, rewards, [1, 2])["majority_vote"] == 0.0


def test_an_answer_is_right_if_any_candidate_of_the_question_with_it_is():
    found = shares(["A", "(a)"], [False, True], [0.9, 0.1], [0])
    assert (found["majority_vote"], found["weighted_vote"]) == (1.0, 1.0)
    assert (found["best_of_n"], found["oracle"], found["single"]) == (0.0, 0.0, 0.5)


def test_without_answers_a_weighted_vote_falls_back_and_a_majority_vote_is_wrong():
    found = shares([None, " ", "A"], [False, True, False], [0.1, 0.2, None])
    assert (found["majority_vote"], found["weighted_vote"], found["best_of_n"]) == (0.0, 1.0, 1.0)


def test_zero_rewards_still_vote():
    assert shares(["B", "A", None], [True, False, False], [0.0, 0.0, 0.0])["weighted_vote"] == 1.0
    assert shares(["B", None, None], [True, False, False], [0.0, 0.0, 0.0])["weighted_vote"] == 1.0  # the first chain
    assert shares([None, None, "B"], [False, False, True], [0.0, 0.0, 0.0])["weighted_vote"] == 0.0


def test_no_vote_is_taken_if_silent_chains_hold_more_than_half_of_all_reward():
    right = [True, False, False]
    assert shares(["B", None, None], right, [0.5, 0.3, 0.2])["weighted_vote"] == 1.0
    found = shares(["B", None, None], right, [0.4, 0.5, 0.1])
    assert found["weighted_vote"] == found["best_of_n"] == 0.0


# --- subsets ---


@pytest.mark.parametrize("total", [1, 2, 5])
def test_all_subsets_in_order_if_there_are_few(total):
    for size in range(1, total + 3):
        everything = [list(row) for row in combinations(range(total), min(size, total))]
        subsets = draw_subsets(total, size, len(everything), [3])
        assert subsets.tolist() == everything
        if len(everything) > 1:
            assert len(draw_subsets(total, size, len(everything) - 1, [3])) == len(everything) - 1


def test_drawn_subsets_are_those_of_the_generator():
    subsets = draw_subsets(64, 8, 50, [4, 2])
    keys = np.random.default_rng([4, 2]).random((50, 64))
    assert subsets.tolist() == [sorted(sorted(range(64), key=row.__getitem__)[:8]) for row in keys.tolist()]
    assert subsets.tolist() == draw_subsets(64, 8, 50, [4, 2]).tolist()
    assert subsets.tolist() != draw_subsets(64, 8, 50, [4, 3]).tolist()


def test_drawn_subsets_take_every_candidate_equally_often():
    subsets = draw_subsets(10, 3, 119, [0])  # one less than all
    assert all(len(set(row)) == 3 for row in subsets.tolist())
    many = np.concatenate([draw_subsets(10, 3, 100, [0, seed]) for seed in range(100)])
    assert np.abs(np.bincount(many.ravel(), minlength=10) / len(many) - 0.3).max() < 0.025  # 5 standard errors


def test_one_subset_of_very_many_candidates():
    assert draw_subsets(2000, 2000, 1, [0]).tolist() == [list(range(2000))]
    assert draw_subsets(2000, 1000, 2, [0]).shape == (2, 1000)


# --- errors ---


def test_errors():
    accuracy = expected_accuracy
    one = np.array([[0]])
    with pytest.raises(InputError, match="no candidates"):
        accuracy([], [], {}, one)
    with pytest.raises(InputError, match="2 answers but 1 judgements"):
        accuracy(["secret", "secret"], [True], {}, one)
    with pytest.raises(InputError, match=r"1 rewards \(mean\) but 2 candidates"):
        accuracy(["A", "B"], [True, False], {"min": [0.1, 0.2], "mean": [0.1]}, one)
    for reward in (math.nan, math.inf, -0.1, 1.1):
        with pytest.raises(ScoringError, match=r"\(last\) of candidate 1 is"):
            accuracy(["A", "B"], [True, False], {"last": [0.1, reward]}, one)
    for subsets in (np.empty((0, 1), int), np.empty((1, 0), int), np.array([0])):
        with pytest.raises(InputError, match="shape"):
            accuracy(["A"], [True], {}, subsets)
    for subsets in ([[0, 2]], [[-1, 0]]):
        with pytest.raises(InputError, match="from 0 to 1"):
            accuracy(["A", "B"], [True, False], {}, np.array(subsets))
    for subsets in ([[1, 0]], [[0, 0]]):
        with pytest.raises(InputError, match="ascend"):
            accuracy(["A", "B"], [True, False], {}, np.array(subsets))


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_subsets_need_positive_numbers(numbers):
    with pytest.raises(InputError, match="at least 1"):
        draw_subsets(*numbers, [0])  # type: ignore[call-arg]
    with pytest.raises(InputError, match="negative"):
        draw_subsets(4, 2, 3, [0, -1])
