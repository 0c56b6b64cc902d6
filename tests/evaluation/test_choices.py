"""What is chosen among all candidates, held to figures made otherwise; and the authors' selection, written again."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.evaluation.choices import AuthorsSelection, Candidates, authors_selection, winners
from medprm_scorer.evaluation.subset_accuracy import expected_accuracy
from tests.evaluation.test_subset_accuracy import KEYS, REWARDS, questions
from tests.support.properties import examples


@settings(max_examples=examples(150))
@given(questions(most=9))
def test_winners_agree_with_the_figures_over_all_candidates(question):
    answers, right, by_aggregate = question
    rewards = by_aggregate["min"]
    everyone = np.array([range(len(answers))])
    figures = expected_accuracy(answers, right, by_aggregate, everyone)
    found = winners(Candidates(tuple(answers), tuple(right), tuple(rewards)))
    assert found.majority_right == figures["majority_vote", None]
    assert found.weighted_right == figures["weighted_vote", "min"]

    keys = [KEYS.get(answer) for answer in answers]
    voting = [key for key in keys if key]
    assert {KEYS[answer]: count for answer, count in found.counts.items()} == {key: voting.count(key) for key in voting}
    ranks = [(-count, keys.index(KEYS[answer])) for answer, count in found.counts.items()]
    assert ranks == sorted(ranks)
    assert all(answers[keys.index(KEYS[answer])] == answer for answer in found.counts)
    assert found.majority_answer == next(iter(found.counts), None)
    assert found.best_right == figures["best_of_n", "min"]
    key = KEYS.get(found.weighted_answer)
    eligible = [reward for reward, k in zip(rewards, keys, strict=True) if k == key and reward is not None]
    assert found.weighted_reward == max(eligible, default=None)
    assert (found.weighted_reward is None) == all(reward is None for reward in rewards)


def test_one_answer_is_one_string_in_both_votes():
    found = winners(Candidates(("A", "(a)", "b"), (True, True, False), (None, 0.9, 0.1)))
    assert found.majority_answer == found.weighted_answer == "A"


RAW = st.sampled_from([None, "A", "a", "(A)", "B", " ", "", 5, "5"])


@settings(max_examples=examples(300))
@given(st.lists(st.tuples(RAW, st.booleans(), REWARDS), min_size=1, max_size=9))
def test_the_authors_selection_in_a_few_lines_of_its_own(rows):
    answers, scores, rewards = zip(*rows, strict=True)
    majority = Counter(answers).most_common(1)[0][0]
    scored = [row for row in rows if row[2] is not None]
    best = max(scored, key=lambda row: row[2], default=(None, False))
    sums = {}
    for answer, _, reward in scored:
        sums[answer] = sums.get(answer, 0) + reward
    heaviest = max(sums, key=sums.get) if sums else object()
    expected = AuthorsSelection(
        any(score for answer, score, _ in rows if answer == majority),
        best[1],
        any(score for answer, score, _ in rows if answer == heaviest),
    )
    assert authors_selection(answers, scores, rewards) == expected
    assert authors_selection(answers, scores, None) == AuthorsSelection(expected.majority_right, None, None)


def test_the_authors_count_none_and_spellings_as_answers():
    found = authors_selection(["A", None, "(A)", None], [True, False, True, False], None)
    assert found.majority_right is False
    assert winners(Candidates(("A", None, "(A)", None), (True, False, True, False), (None,) * 4)).majority_right
    assert authors_selection([None, None, "A"], [False, True, False], None).majority_right  # None has the score 1
    assert authors_selection(["B", "A"], [True, False], None).majority_right  # the first seen wins a tie


def test_what_cannot_be_chosen_among_is_refused():
    with pytest.raises(InputError, match="no candidates"):
        Candidates((), (), ())
    with pytest.raises(InputError, match="1 answers but 2 judgements"):
        Candidates(("A",), (True, False), (0.1, 0.2))
    with pytest.raises(InputError, match="1 rewards but 2 candidates"):
        authors_selection(["A", "B"], [True, False], [0.5])
    with pytest.raises(ScoringError, match="candidate 1 is nan"):
        authors_selection(["A", "B"], [True, False], [0.5, math.nan])


def test_repr_shows_no_text():
    candidates = Candidates(("secret", "secret too"), (True, False), (0.5, None))
    assert "secret" not in repr(candidates) + repr(winners(candidates))
