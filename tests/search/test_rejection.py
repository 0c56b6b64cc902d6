"""Early rejection chooses what scoring all whole chains chooses, and writes less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer import InputError
from medprm_scorer.search import Limits, early_rejection
from medprm_scorer.search.rejection import is_settled
from medprm_scorer.selection import Scored, select
from tests.support.example_rankings import example_ranking
from tests.support.stub_search import DOCUMENTS, QUESTION, DrawnPolicy, stub_prm, whole_chains


@pytest.mark.parametrize("aggregate", ["min", "prod"])
@pytest.mark.parametrize("together", [1, 3, 16])
def test_best_of_n_gives_the_winner_of_all_whole_chains(demo, aggregate, together):
    written = whole = 0
    for seed in range(40):
        prm, policy = stub_prm(demo, seed), DrawnPolicy()
        every = whole_chains(DrawnPolicy(), seed, 8)
        expected = prm.rank(QUESTION, every, DOCUMENTS, strategy="best_of_n", aggregate=aggregate)
        found = early_rejection(
            policy,
            prm,
            QUESTION,
            DOCUMENTS,
            n=8,
            together=together,
            seed=seed,
            strategy="best_of_n",
            aggregate=aggregate,
        )
        assert found.best.text == expected.best.text
        assert found.best.step_rewards == pytest.approx(expected.best.step_rewards, abs=1e-5)
        assert found.answer == expected.answer
        assert found.tree.proven is True
        written += sum(len(branch.steps) for branch in found.tree.branches)
        whole += sum(map(len, every))
    assert written < whole


@pytest.mark.parametrize("answers", ["AB", "ABCD", ["A", "B", None]])
def test_a_vote_gives_the_answer_of_all_whole_chains(demo, answers):
    written = whole = votes = 0
    for seed in range(60):
        prm, policy = stub_prm(demo, seed), DrawnPolicy(answers)
        every = whole_chains(DrawnPolicy(answers), seed, 8)
        expected = prm.rank(QUESTION, every, DOCUMENTS)
        found = early_rejection(policy, prm, QUESTION, DOCUMENTS, n=8, seed=seed)
        assert (found.answer, found.strategy) == (expected.answer, expected.strategy)
        assert found.tree.proven is True
        written += sum(len(branch.steps) for branch in found.tree.branches)
        whole += sum(map(len, every))
        votes += expected.strategy == "weighted_vote"
    assert votes > 40
    assert written < whole


def test_slack_gives_up_no_more_than_it_says_and_says_when_that_may_matter(demo):
    proven = 0
    for seed in range(40):
        prm = stub_prm(demo, seed)
        exact = prm.rank(QUESTION, whole_chains(DrawnPolicy(), seed, 8), DOCUMENTS)
        found = early_rejection(DrawnPolicy(), prm, QUESTION, DOCUMENTS, n=8, seed=seed, slack=0.5)
        given_up = [b for b in found.tree.branches if b.fate == "dropped" and "slack" in b.why]
        assert sum(min(_path(found.tree, b)) for b in given_up) <= 0.5 + 1e-9
        if found.tree.proven:
            assert found.answer == exact.answer
        proven += bool(found.tree.proven)
    assert proven > 5


def test_under_best_of_n_the_winner_is_within_the_slack_of_the_best(demo):
    proven, written, exact = set(), 0, 0
    for seed in range(40):
        prm = stub_prm(demo, seed)
        best = prm.rank(QUESTION, whole_chains(DrawnPolicy(), seed, 8), DOCUMENTS, strategy="best_of_n").best
        asked = {"n": 8, "seed": seed, "strategy": "best_of_n"}
        found = early_rejection(DrawnPolicy(), prm, QUESTION, DOCUMENTS, slack=0.05, **asked)
        assert best.reward() - 0.05 - 1e-9 <= found.best.reward() <= best.reward()
        if found.tree.proven:
            assert found.best.text == best.text
        proven.add(found.tree.proven)
        written += len(found.tree.branches)
        exact += len(early_rejection(DrawnPolicy(), prm, QUESTION, DOCUMENTS, **asked).tree.branches)
    assert proven == {True, False}
    assert written < exact


def _path(tree, branch):
    rewards = list(branch.rewards)
    while branch.parent is not None:
        branch = tree.branches[branch.parent]
        rewards += branch.rewards
    return rewards


rewards = st.floats(0, 1, allow_nan=False)
chain = st.tuples(rewards, st.sampled_from(["A", "B", "C", None]))


@given(st.lists(chain, min_size=1, max_size=6), st.lists(chain, max_size=4), st.booleans())
def test_a_settled_vote_is_changed_by_no_further_chains(first, more, grouped):
    ranking = _voted(first)
    rest = sum(reward for reward, _ in more)
    if is_settled(ranking, rest, grouped=grouped):
        after = select([Scored(i, *one) for i, one in enumerate(first + more)], "weighted_vote")
        assert (after.answer, after.strategy) == (ranking.answer, "weighted_vote")


def _voted(chains):
    """A ranking with the votes of such chains."""
    from medprm_scorer.results.models import ScoredChain, ScoredStep, Vote

    chosen = select([Scored(i, *one) for i, one in enumerate(chains)], "weighted_vote")
    scored = [
        ScoredChain(index=i, text="x", steps=[ScoredStep(text="x", reward=reward)], answer=answer)
        for i, (reward, answer) in enumerate(chains)
    ]
    return example_ranking().model_copy(
        update={
            "chains": scored,
            "answer": chosen.answer,
            "strategy": chosen.strategy,
            "votes": [Vote(**vars(vote)) for vote in chosen.votes],
        }
    )


def test_something_is_settled():
    assert is_settled(_voted([(0.9, "A"), (0.9, "A"), (0.1, "B")]), 0.5)
    assert not is_settled(_voted([(0.9, "A"), (0.9, "A"), (0.1, "B")]), 1.8)
    assert is_settled(_voted([(0.9, "A"), (0.3, "B"), (0.3, "C")]), 0.5)
    assert not is_settled(_voted([(0.9, "A"), (0.3, "B"), (0.3, "C")]), 0.5, grouped=True)
    assert not is_settled(_voted([(0.9, None), (0.3, "B")]), 0.0)


def test_what_has_no_bound_is_refused(demo):
    prm = stub_prm(demo)
    for wrong in (
        {"aggregate": "mean"},
        {"strategy": "majority_vote"},
        {"n": 0},
        {"together": 0},
        {"slack": -1},
        {"slack": float("nan")},
        {"seed": "x"},
        {"limits": {"max_tokens": 3}},
    ):
        with pytest.raises(InputError):
            early_rejection(DrawnPolicy(), prm, QUESTION, DOCUMENTS, **wrong)
    with pytest.raises(TypeError, match="has no option 'agregate'"):
        early_rejection(DrawnPolicy(), prm, QUESTION, DOCUMENTS, **{"agregate": "min"})


def test_a_budget_that_ends_it_leaves_it_unproven(demo):
    found = early_rejection(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, n=8, limits=Limits(max_calls=4))
    assert found.tree.policy_calls == 4
    assert found.tree.proven is False
    assert found.tree.stopped == "the budget of 4 calls was spent"
    assert any("ended early" in caution for caution in found.cautions)
