"""Early rejection chooses what scoring all whole chains chooses, and writes less."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer import InputError, MedPRM
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


def test_best_first_writes_the_least_that_an_exact_rule_by_these_bounds_can(demo):
    written = {"best_first": 0, "longest_first": 0}
    least = 0
    for seed in range(40):
        prm = stub_prm(demo, seed)
        every = whole_chains(DrawnPolicy(), seed, 8)
        ranking = prm.rank(QUESTION, every, DOCUMENTS, strategy="best_of_n")
        for order in written:
            found = early_rejection(
                DrawnPolicy(), prm, QUESTION, DOCUMENTS, n=8, seed=seed, strategy="best_of_n", order=order
            )
            assert found.best.text == ranking.best.text
            assert found.tree.proven is True
            written[order] += len(found.tree.branches)
        best = ranking.best.reward()
        for chain in ranking.chains:  # a step must be written while what is there could still win
            lowest = list(accumulate(chain.step_rewards, min, initial=1.0))
            first = chain.index <= ranking.best.index
            least += sum(one > best or (one == best and first) for one in lowest[:-1])
    assert least == written["best_first"] < written["longest_first"]


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 5), st.sampled_from(["best_first", "longest_first"]))
def test_no_order_changes_the_winner_of_random_rewards(prm, seed, n, together, order):
    numbers = {"n": n, "together": together, "seed": seed, "order": order}
    engine = stub_prm(prm, seed)
    every = whole_chains(DrawnPolicy(), seed, n)
    for strategy in ("best_of_n", "weighted_vote"):
        found = early_rejection(DrawnPolicy(), engine, QUESTION, DOCUMENTS, strategy=strategy, **numbers)
        expected = engine.rank(QUESTION, every, DOCUMENTS, strategy=strategy)
        assert found.answer == expected.answer
        if strategy == "best_of_n":
            assert found.best.text == expected.best.text


@pytest.fixture(scope="module")
def prm():
    return MedPRM.from_pretrained()


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
        {"order": "worst_first"},
        {"retriever": list},
        {"retriever": 3},
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
