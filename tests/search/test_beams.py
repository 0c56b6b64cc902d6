"""Beam search and dvts: what is kept, what is counted, and that nothing else changes the result."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer import InputError, MedPRM
from medprm_scorer.aggregate import aggregate_rewards
from medprm_scorer.errors import PolicyError
from medprm_scorer.search import (
    Continuation,
    Limits,
    SearchRanking,
    abeam_search,
    advts,
    aearly_rejection,
    beam_search,
    dvts,
    early_rejection,
)
from medprm_scorer.search.page import to_rich
from tests.support.stub_search import DOCUMENTS, QUESTION, AwaitedPolicy, DrawnPolicy, stub_prm


def plain_beam(prm: MedPRM, policy, width: int, expansions: int, rank_by: str, seed: int) -> list[list[str]]:
    """The plain twin: the steps of the chains that are kept in the end, every chain scored anew each time."""
    from medprm_scorer.search import GrowingChain
    from medprm_scorer.search.policy import seed_of

    beam, done, first = [GrowingChain("", (), seed)], [], True
    while beam:
        n = width * expansions if first else expansions
        found = []
        for chain, some in zip(beam, policy.extend(QUESTION, DOCUMENTS, beam, n), strict=True):
            seen = []
            for place, one in enumerate(some):
                steps = (*chain.steps, one.text.strip())
                if (steps, one.finished) not in seen:
                    seen.append((steps, one.finished))
                    found.append((GrowingChain(chain.text + one.text, steps, seed_of(chain.seed, place)), one.finished))
        scored = prm.score(QUESTION, [chain.steps for chain, _ in found], DOCUMENTS)
        worth = [aggregate_rewards(one.step_rewards, rank_by) for one in scored]
        order = sorted(range(len(found)), key=lambda place: (-worth[place], place))[: width - len(done)]
        done += [list(found[place][0].steps) for place in order if found[place][1]]
        beam, first = [found[place][0] for place in order if not found[place][1]], False
    return done


@pytest.mark.parametrize("rank_by", ["min", "last", "mean"])
@pytest.mark.parametrize(("width", "expansions"), [(1, 1), (1, 4), (3, 2), (4, 4)])
def test_a_beam_keeps_what_its_plain_twin_keeps_with_the_rewards_of_rank(demo, rank_by, width, expansions):
    for seed in range(5):
        prm = stub_prm(demo, seed)
        found = beam_search(
            DrawnPolicy(), prm, QUESTION, DOCUMENTS, width=width, expansions=expansions, rank_by=rank_by, seed=seed
        )
        plain = plain_beam(prm, DrawnPolicy(), width, expansions, rank_by, seed)
        assert sorted(chain.text for chain in found.chains) == sorted("\n".join(steps) for steps in plain)
        in_order = [next(c for c in found.chains if c.index == i).text.split("\n") for i in range(len(found.chains))]
        anew = prm.rank(QUESTION, in_order, DOCUMENTS)
        assert [chain.index for chain in anew.chains] == [chain.index for chain in found.chains]
        for one, two in zip(found.chains, anew.chains, strict=True):
            assert one.step_rewards == pytest.approx(two.step_rewards, abs=1e-5)
        assert (found.answer, found.votes) == (anew.answer, anew.votes)


def test_subtrees_do_not_compete(demo):
    found = dvts(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, subtrees=3, expansions=2)
    tree = found.tree
    ends = [branch for branch in tree.branches if branch.fate == "finished" and branch.candidate is not None]
    firsts = []
    for branch in ends:
        while branch.parent is not None:
            branch = tree.branches[branch.parent]
        firsts.append(branch.index)
    assert len(found.chains) == 3
    assert sorted(first // 2 for first in firsts) == [0, 1, 2]


SEARCHES = [
    (beam_search, abeam_search, {"width": 2, "expansions": 2}),
    (dvts, advts, {"subtrees": 2, "expansions": 2}),
    (early_rejection, aearly_rejection, {"n": 6}),
]


@pytest.mark.parametrize(("search", "awaited", "numbers"), SEARCHES)
def test_the_same_seed_gives_the_same_search_waited_for_or_awaited(demo, search, awaited, numbers):
    prm = stub_prm(demo)
    one = search(DrawnPolicy(), prm, QUESTION, DOCUMENTS, seed=3, **numbers)
    for other in (
        search(DrawnPolicy(), prm, QUESTION, DOCUMENTS, seed=3, **numbers),
        asyncio.run(awaited(DrawnPolicy(), prm, QUESTION, DOCUMENTS, seed=3, **numbers)),
        asyncio.run(awaited(AwaitedPolicy(), prm, QUESTION, DOCUMENTS, seed=3, **numbers)),
    ):
        assert _without_times(other) == _without_times(one)
    assert _without_times(search(DrawnPolicy(), prm, QUESTION, DOCUMENTS, seed=4, **numbers)) != _without_times(one)
    with pytest.raises(PolicyError, match="policy is async"):
        search(AwaitedPolicy(), prm, QUESTION, DOCUMENTS, **numbers)


def _without_times(ranking: SearchRanking) -> dict:
    found = ranking.model_dump()
    found["seconds"] = found["tree"]["policy_seconds"] = found["tree"]["reward_seconds"] = 0
    return found


@pytest.mark.parametrize(("search", "awaited", "numbers"), SEARCHES)
def test_every_branch_is_accounted_for_and_survives_json(demo, search, awaited, numbers):
    found = search(DrawnPolicy(), stub_prm(demo), QUESTION, DOCUMENTS, id="q1", **numbers)
    again = SearchRanking.model_validate_json(found.model_dump_json())
    assert again == found
    assert found.id == "q1"
    tree = found.tree
    assert tree.generated_tokens == sum(branch.tokens for branch in tree.branches)
    for branch in tree.branches:
        assert branch.fate != "growing"
        assert (branch.fate == "extended") == bool(tree.children(branch.index))
        assert bool(branch.why) == (branch.fate in ("dropped", "cut off"))
        assert (branch.candidate is None) == (branch.fate not in ("finished", "cut off"))
    assert sorted(b.candidate for b in tree.branches if b.candidate is not None) == list(range(len(found.chains)))
    assert "label" not in repr(found)
    assert "label" not in repr(tree) + repr(tree.branches[0])
    page = found.to_html(DOCUMENTS)
    assert all(f"[{branch.index}]" in page for branch in tree.branches)
    json.loads(found.model_dump_json())
    assert to_rich(tree).children


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 400), st.integers(1, 9), st.integers(0, 50))
def test_budgets_are_kept(width, expansions, max_tokens, max_calls, seed):
    prm = stub_prm(DEMO or _demo())
    limits = Limits(max_tokens=max_tokens, max_calls=max_calls)
    policy = DrawnPolicy()
    found = beam_search(policy, prm, QUESTION, DOCUMENTS, width=width, expansions=expansions, limits=limits, seed=seed)
    tree = found.tree
    assert tree.policy_calls == len(policy.calls) <= max_calls
    before_last = sum(branch.tokens for branch in tree.branches if branch.round < tree.policy_calls)
    assert before_last < max_tokens
    assert (tree.stopped is None) == all(not chain.truncated for chain in found.chains)


DEMO = None


def _demo():
    global DEMO
    DEMO = MedPRM.from_pretrained()
    return DEMO


def test_progress_is_told_and_a_search_can_be_stopped(demo):
    seen = []
    found = beam_search(DrawnPolicy(longest=6), stub_prm(demo), QUESTION, DOCUMENTS, on_progress=seen.append)
    assert [tree.policy_calls for tree in seen] == list(range(1, found.tree.policy_calls + 1))
    assert [len(tree.branches) for tree in seen] == sorted(len(tree.branches) for tree in seen)
    policy = DrawnPolicy()
    stopped = beam_search(policy, stub_prm(demo), QUESTION, DOCUMENTS, stop_when=lambda: len(policy.calls) == 1)
    assert stopped.tree.stopped == "it was stopped"
    assert stopped.tree.policy_calls == 1
    with pytest.raises(PolicyError, match="it was stopped"):
        beam_search(policy, stub_prm(demo), QUESTION, DOCUMENTS, stop_when=lambda: True)


def test_alike_continuations_count_once_in_a_beam(demo):
    class Twice(DrawnPolicy):
        def extend(self, question, documents, chains, n):
            return [[self.one(chain, place // 2) for place in range(n)] for chain in chains]

    found = beam_search(Twice(), stub_prm(demo), QUESTION, DOCUMENTS, width=2, expansions=2)
    assert any(branch.why.startswith("the same as") for branch in found.tree.branches)
    assert len({chain.text for chain in found.chains}) == len(found.chains)


def test_wrong_numbers_are_refused(demo):
    prm = stub_prm(demo)
    for wrong in ({"width": 0}, {"expansions": True}, {"rank_by": "prod"}, {"strategy": "best"}, {"aggregate": "no"}):
        with pytest.raises(InputError):
            beam_search(DrawnPolicy(), prm, QUESTION, DOCUMENTS, **wrong)
    for wrong in ({"max_tokens": 0}, {"max_steps": None}, {"max_calls": 1.5}, {"timeout": 0}, {"timeout": "1"}):
        with pytest.raises(InputError):
            Limits(**wrong)
    with pytest.raises(PolicyError, match="needs a method extend"):
        beam_search(object(), prm, QUESTION, DOCUMENTS)
    with pytest.raises(InputError):
        beam_search(DrawnPolicy(), prm, " ", DOCUMENTS)


def test_two_steps_at_once_are_two_steps(demo):
    class Both:
        def extend(self, question, documents, chains, n):
            return [[Continuation("Step 1: Read.\nStep 2: The answer is (A)", finished=True)] for _ in chains]

    found = beam_search(Both(), stub_prm(demo), QUESTION, DOCUMENTS, width=1, expansions=1)
    assert [step.text for step in found.best.steps] == ["Step 1: Read.", "Step 2: The answer is (A)"]
    assert [len(branch.rewards) for branch in found.tree.branches] == [2]
