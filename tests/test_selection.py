import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.selection import STRATEGIES, AnswerVote, Scored, select
from medprm_scorer.text.answers import DECLINED

# Few rewards and few answers, so that ties of every kind are common; tenths, so that plain sums depend on their order.
REWARDS = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 1.0]))
ANSWERS = st.sampled_from([None, "A", "(a)", "B", "b.", "C", " "])
KEYS = {"A": "a", "(a)": "a", "B": "b", "b.": "b", "C": "c"}  # None and blank do not vote


def candidates_from(pairs):
    return [Scored(index, reward, answer) for index, (reward, answer) in enumerate(pairs)]


@st.composite
def any_candidates(draw):
    """Most finished, a few cut off; some decline, whatever answer stands beside it."""
    pairs = draw(st.lists(st.tuples(REWARDS, ANSWERS), min_size=1, max_size=9))
    flags = st.sampled_from([False, False, False, True])
    return [replace(c, declined=draw(flags), truncated=draw(flags)) for c in candidates_from(pairs)]


CANDIDATES = any_candidates()
SCORED = CANDIDATES.filter(lambda candidates: any(c.reward is not None for c in candidates))


def make(*pairs):
    return candidates_from(pairs)


def naive(candidates, strategy):
    """The contract's rules again, by trying every answer against every other; for candidates sorted by index."""
    scored = [c for c in candidates if c.reward is not None]
    finished = [c for c in scored if not c.truncated] or scored

    def key_of(c):
        return "declined" if c.declined else KEYS.get(c.answer)

    keys = {key_of(c) for c in finished} - {None}

    def of(key):
        return [c for c in finished if key_of(c) == key]

    def weight(key):
        return float(sum(Fraction(c.reward) for c in of(key)))

    def beats(one, other):
        if strategy == "majority_vote" and len(of(one)) != len(of(other)):
            return len(of(one)) > len(of(other))
        if weight(one) != weight(other):
            return weight(one) > weight(other)
        best_one, best_other = max(c.reward for c in of(one)), max(c.reward for c in of(other))
        if best_one != best_other:
            return best_one > best_other
        return min(c.index for c in of(one)) < min(c.index for c in of(other))

    voting = [c for c in finished if key_of(c)]
    measure = (lambda c: Fraction(c.reward)) if any(c.reward for c in finished) else (lambda c: 1)
    decided = strategy if keys and 2 * sum(map(measure, voting)) >= sum(map(measure, finished)) else "best_of_n"
    electorate = finished
    if decided != "best_of_n":
        electorate = of(next(key for key in keys if all(key == other or beats(key, other) for other in keys)))
    winner = electorate[0]
    for c in electorate:
        if c.reward > winner.reward:
            winner = c
    order = [winner.index]
    for part in (finished, [c for c in scored if c not in finished]):
        for reward in sorted({c.reward for c in part}, reverse=True):
            order += [c.index for c in part if c.reward == reward and c is not winner]
    order += [c.index for c in candidates if c.reward is None]
    votes = {key: (len(of(key)), weight(key), DECLINED if key == "declined" else of(key)[0].answer) for key in keys}
    return tuple(order), key_of(winner), votes, decided


@given(SCORED, st.sampled_from(STRATEGIES))
def test_equals_the_naive_twin(candidates, strategy):
    order, key, votes, decided = naive(candidates, strategy)
    selection = select(candidates, strategy)
    assert selection.order == order
    assert selection.strategy == decided
    assert selection.declined == (key == "declined")
    assert selection.answer == (votes[key][2] if key and key != "declined" else None)
    assert {
        KEYS.get(vote.answer, "declined"): (vote.count, vote.weight, vote.answer) for vote in selection.votes
    } == votes


@given(SCORED, st.sampled_from(STRATEGIES))
def test_invariants(candidates, strategy):
    selection = select(candidates, strategy)
    assert sorted(selection.order) == [c.index for c in candidates]
    assert candidates[selection.order[0]].reward is not None
    if selection.votes:
        assert all(0.0 <= vote.share <= 1.0 and vote.count >= 1 for vote in selection.votes)
        assert math.fsum(vote.share for vote in selection.votes) == pytest.approx(1.0)
    if selection.answer is not None:
        assert selection.votes[0].answer == selection.answer
    ranked = selection.votes[1:] if selection.strategy == "best_of_n" else selection.votes
    if selection.strategy == "majority_vote":
        measure = [(vote.count, vote.weight) for vote in ranked]
    else:
        measure = [vote.weight for vote in ranked]
    assert measure == sorted(measure, reverse=True)


@given(SCORED, st.sampled_from(STRATEGIES), st.randoms())
def test_the_order_of_passing_changes_nothing(candidates, strategy, random):
    assert select(random.sample(candidates, len(candidates)), strategy) == select(candidates, strategy)


@given(
    st.lists(
        st.tuples(st.floats(0.0, 1.0), st.sampled_from("ABC")), min_size=1, max_size=9, unique_by=lambda pair: pair[0]
    ),
    st.randoms(),
)
def test_without_ties_renumbering_changes_only_indices(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for strategy in STRATEGIES:
        one, other = select(candidates_from(pairs), strategy), select(candidates_from(shuffled), strategy)
        measures = [(v.count, v.weight, max(r for r, a in pairs if a == v.answer)) for v in one.votes]
        if len(set(measures)) < len(measures):
            continue
        assert one.votes == other.votes
        assert one.answer == other.answer
        assert [pairs[i] for i in one.order] == [shuffled[i] for i in other.order]


@given(SCORED, st.sampled_from(STRATEGIES))
def test_what_cannot_be_scored_never_matters(candidates, strategy):
    kept = [c for c in candidates if c.reward is not None]
    with_all, without = select(candidates, strategy), select(kept, strategy)
    assert with_all.order[: len(kept)] == without.order
    assert (with_all.votes, with_all.answer) == (without.votes, without.answer)


# --- the rules one by one ---


def test_the_three_strategies_can_disagree():
    # best chain: B; most chains: C; largest sum: A
    candidates = make((0.8, "A"), (0.9, "B"), (0.3, "C"), (0.7, "A"), (0.2, "C"), (0.1, "C"))
    weighted = select(candidates, "weighted_vote")
    assert (weighted.answer, weighted.order) == ("A", (0, 1, 3, 2, 4, 5))
    assert [(v.answer, v.count, v.weight, round(v.share, 3)) for v in weighted.votes] == [
        ("A", 2, 1.5, 0.5),
        ("B", 1, 0.9, 0.3),
        ("C", 3, 0.6, 0.2),
    ]
    best = select(candidates, "best_of_n")
    assert (best.answer, best.order, [v.answer for v in best.votes]) == ("B", (1, 0, 3, 2, 4, 5), ["B", "A", "C"])
    assert [v.share for v in best.votes] == pytest.approx([0.3, 0.5, 0.2])
    majority = select(candidates, "majority_vote")
    assert (majority.answer, majority.order) == ("C", (2, 1, 0, 3, 4, 5))
    assert [(v.answer, v.share) for v in majority.votes] == [("C", 1 / 2), ("A", 1 / 3), ("B", 1 / 6)]


def test_winner_of_a_vote_is_the_best_chain_with_the_answer_and_the_earlier_of_equals():
    assert select(make((0.2, "A"), (0.6, "A"), (0.6, "a"), (0.7, "B")), "weighted_vote").order == (1, 3, 2, 0)


def test_tied_counts_go_to_the_larger_weight():
    assert select(make((0.2, "A"), (0.3, "B")), "majority_vote").answer == "B"


def test_tied_weights_go_to_the_larger_best_reward():
    candidates = make((0.5, "A"), (0.5, "A"), (0.25, "B"), (0.75, "B"))
    assert select(candidates, "weighted_vote").answer == "B"
    assert select(candidates, "majority_vote").answer == "B"


def test_full_ties_go_to_the_earlier_candidate():
    for strategy in STRATEGIES:
        assert select(make((0.5, "B"), (0.5, "A")), strategy).answer == "B"
    # B's first chain comes before A's, though A's best comes before B's best
    candidates = make((0.25, "B"), (0.75, "A"), (0.75, "B"), (0.25, "A"))
    assert select(candidates, "weighted_vote").order == (2, 1, 0, 3)


def test_sums_do_not_depend_on_rounding():
    candidates = make((0.1, "A"), (0.2, "A"), (0.3, "A"), (0.3, "B"), (0.2, "B"), (0.1, "B"))
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1  # so a plain sum would let rounding decide
    assert select(candidates, "weighted_vote").votes[0].answer == "A"


def test_without_answers_a_vote_falls_back_and_says_so():
    for strategy in STRATEGIES:
        selection = select(make((0.2, None), (0.4, " "), (None, "A")), strategy)
        assert selection.order == (1, 0, 2)
        assert (selection.answer, selection.votes, selection.strategy) == (None, (), "best_of_n")


def test_a_lone_voter_does_not_win_over_better_silent_chains():
    candidates = make(*[(0.785, None)] * 7, (0.013, "B"))
    for strategy in STRATEGIES:
        selection = select(candidates, strategy)
        assert (selection.order[0], selection.answer, selection.strategy) == (0, None, "best_of_n")
        assert [(vote.answer, vote.count) for vote in selection.votes] == [("B", 1)]


@given(SCORED, SCORED, st.sampled_from(STRATEGIES))
def test_chains_that_do_not_vote_never_lift_a_worse_chain_over_a_better_one(candidates, others, strategy):
    before = select(candidates, strategy)
    winner = candidates[before.order[0]]
    silent = [
        replace(other, index=place, answer=None, declined=False)
        for place, other in enumerate(others, start=len(candidates))
    ]
    after = select([*candidates, *silent], strategy)
    new = [*candidates, *silent][after.order[0]]
    assert new.index == winner.index or new.reward >= winner.reward or (winner.truncated and not new.truncated)


def test_a_vote_needs_half_of_all_reward():
    assert select(make((0.5, None), (0.5, "A")), "weighted_vote").strategy == "weighted_vote"
    assert select(make((0.51, None), (0.5, "A")), "weighted_vote").strategy == "best_of_n"
    assert select(make((0.0, None), (0.0, "A")), "majority_vote").strategy == "majority_vote"
    assert select(make((0.0, None), (0.0, None), (0.0, "A")), "majority_vote").strategy == "best_of_n"


def test_declining_is_a_vote_of_its_own():
    chains = [replace(chain, declined=True) for chain in make((0.6, None), (0.7, None))]
    selection = select([*chains, Scored(2, 0.9, "B")], "weighted_vote")
    assert (selection.order, selection.answer, selection.declined) == ((1, 2, 0), None, True)
    assert [(vote.answer, vote.count, vote.declined) for vote in selection.votes] == [
        (DECLINED, 2, True),
        ("B", 1, False),
    ]
    assert select([*chains, Scored(2, 0.9, DECLINED)], "best_of_n").declined is False  # an answer that reads alike


def test_a_chain_that_was_cut_off_wins_only_among_its_like():
    cut_off = Scored(0, 0.9, "A", truncated=True)
    finished = make((0.5, "B"), (0.1, None))
    both = [cut_off, *(replace(chain, index=chain.index + 1) for chain in finished)]
    for strategy in STRATEGIES:
        selection = select(both, strategy)
        assert (selection.order, selection.answer) == ((1, 2, 0), "B")
        assert [vote.answer for vote in selection.votes] == ["B"]
        assert select([cut_off], strategy).answer == "A"


def test_keys_say_which_answers_are_equal():
    chains = [Scored(0, 0.4, "MI", key=1), Scored(1, 0.4, "heart attack", key=1), Scored(2, 0.7, "PE", key=2)]
    assert select(chains, "weighted_vote").answer == "MI"
    assert select([replace(chain, key=None) for chain in chains], "weighted_vote").answer == "PE"


def test_a_chain_without_an_answer_can_win_when_it_holds_most_of_the_reward():
    candidates = make((0.9, None), (0.1, "A"), (0.3, "B"))
    best = select(candidates, "best_of_n")
    assert (best.order, best.answer, [v.answer for v in best.votes]) == ((0, 2, 1), None, ["B", "A"])
    assert select(candidates, "weighted_vote").order == (0, 2, 1)


def test_answer_is_as_first_written():
    selection = select([Scored(5, 0.9, "(b)"), Scored(2, 0.1, "B."), Scored(7, 0.4, "a")], "best_of_n")
    assert selection.answer == "B."
    assert selection.order == (5, 7, 2)
    assert selection.votes[0] == AnswerVote("B.", 2, 1.0, pytest.approx(1.0 / 1.4))


def test_shares_are_of_the_counts_if_all_weights_are_zero():
    selection = select(make((0.0, "A"), (0.0, "B"), (0.0, "B")), "weighted_vote")
    assert [(v.answer, v.weight, v.share) for v in selection.votes] == [("A", 0.0, 1 / 3), ("B", 0.0, 2 / 3)]


def test_tiny_weights_still_make_shares():
    selection = select(make((5e-324, "A"), (5e-324, "B")), "weighted_vote")
    assert [v.share for v in selection.votes] == [0.5, 0.5]


def test_special_answers_are_kept_apart():
    selection = select(
        make((0.5, "\x00"), (0.4, "\ud800"), (0.3, "В"), (0.2, "B"), (0.1, "<|eot_id|>")), "weighted_vote"
    )
    assert [v.answer for v in selection.votes] == ["\x00", "\ud800", "В", "B", "<|eot_id|>"]


# --- errors ---


def test_errors():
    with pytest.raises(InputError, match="weighted_vote, best_of_n, majority_vote"):
        select(make((0.5, "A")), "vote")
    with pytest.raises(InputError, match="no candidates"):
        select([], "weighted_vote")
    with pytest.raises(InputError, match="same index"):
        select([Scored(1, 0.5, "A"), Scored(1, 0.6, "A")], "weighted_vote")
    for strategy in STRATEGIES:
        with pytest.raises(ScoringError, match="no candidate could be scored"):
            select(make((None, "A"), (None, None)), strategy)


@pytest.mark.parametrize("reward", [math.nan, math.inf, -0.1, 1.1])
def test_a_reward_that_is_no_probability_raises(reward):
    with pytest.raises(ScoringError, match="candidate 1"):
        select(make((0.5, "secret"), (reward, "secret")), "best_of_n")


def test_repr_shows_no_text():
    scored = Scored(0, 0.5, "secret")
    assert "secret" not in repr(scored) + repr(select([scored, replace(scored, index=1)], "weighted_vote"))
