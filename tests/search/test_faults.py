"""Policies that go wrong: a search ends within its bounds, says what happened, and nothing hangs."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer import MedPRM, MedPRMError
from medprm_scorer.errors import NothingScoredError, PolicyError, ScoringError
from medprm_scorer.search import Continuation, Limits, abeam_search, beam_search, dvts, early_rejection
from medprm_scorer.search.growth import steps_of
from tests.support.cheap_engine import CheapEngine, cheap_prm
from tests.support.hostile import PIECES
from tests.support.hostile import texts as hostile
from tests.support.stub_search import DOCUMENTS, QUESTION, DrawnPolicy, stub_prm

SEARCHES = (beam_search, dvts, early_rejection)


class Says:
    """Writes what a function says for a chain and a place."""

    def __init__(self, say) -> None:
        self.say, self.calls = say, 0

    def extend(self, question, documents, chains, n):
        self.calls += 1
        assert self.calls < 200
        return [[self.say(chain, place) for place in range(n)] for chain in chains]


def always(*given_, **more) -> Says:
    return Says(lambda *_: Continuation(*given_, **more))


@pytest.mark.parametrize("search", SEARCHES)
def test_a_policy_that_repeats_itself_is_cut_off(demo, search):
    policy = Says(lambda chain, place: Continuation(f"Step {len(chain.steps) + 1}: Give {place} mg.\n"))
    found = search(policy, stub_prm(demo), QUESTION, DOCUMENTS)
    assert {branch.why for branch in found.tree.branches if branch.fate == "cut off"} == {"it repeats itself"}
    assert all(chain.truncated for chain in found.chains)
    assert "Every chain was cut off before its end." in found.cautions


@pytest.mark.parametrize("search", SEARCHES)
def test_a_policy_that_never_ends_is_cut_off(demo, search):
    policy = Says(lambda chain, place: Continuation(f"Step {len(chain.steps) + 1}: Note {len(chain.steps)}{place}.\n"))
    found = search(policy, stub_prm(demo), QUESTION, DOCUMENTS, limits=Limits(max_steps=5))
    assert {branch.why for branch in found.tree.branches if branch.fate == "cut off"} == {"no end after 5 steps"}
    assert all(chain.truncated and len(chain.steps) == 5 for chain in found.chains)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_policy_that_writes_nothing_is_an_error(demo, search):
    for text in ("", " \n", "\n\n"):
        for finished in (False, True):
            with pytest.raises(PolicyError, match="no chain has a step"):
                search(always(text, finished), stub_prm(demo), QUESTION, DOCUMENTS)
    for given_ in ([], [[]]):

        class Fewer:
            def extend(self, *_, given_=given_):
                return given_

        with pytest.raises(PolicyError):
            search(Fewer(), stub_prm(demo), QUESTION, DOCUMENTS)


@pytest.mark.parametrize("search", SEARCHES)
def test_blank_steps_end_a_chain_but_not_the_others(demo, search):
    policy = DrawnPolicy()

    def say(chain, place):
        return Continuation(" \n") if chain.steps and place == 0 and chain.seed % 2 else policy.one(chain, place)

    reasons = set()
    for seed in range(6):
        found = search(Says(say), stub_prm(demo), QUESTION, DOCUMENTS, seed=seed)
        reasons |= {branch.why for branch in found.tree.branches}
        assert not found.best.truncated
    assert "a blank step" in reasons


@pytest.mark.parametrize("search", SEARCHES)
def test_a_policy_that_dies_leaves_what_was_finished_or_raises_its_own_error(demo, search):
    class Dies(DrawnPolicy):
        def __init__(self, after) -> None:
            super().__init__()
            self.after = after

        def extend(self, *given):
            if len(self.calls) == self.after:
                raise ConnectionResetError("gone: Miller, 47")
            return super().extend(*given)

    with pytest.raises(ConnectionResetError):
        search(Dies(0), stub_prm(demo), QUESTION, DOCUMENTS)
    outcomes = set()
    for seed in range(8):
        for after in (1, 2, 4):
            try:
                found = search(Dies(after), stub_prm(demo), QUESTION, DOCUMENTS, seed=seed)
            except ConnectionResetError:
                outcomes.add("raised")
                continue
            assert not found.best.truncated
            if found.tree.stopped:
                outcomes.add("told")
                assert found.tree.stopped == "the policy failed with ConnectionResetError"
                assert any("the policy failed" in caution for caution in found.cautions)
                assert "Miller" not in found.model_dump_json()
                assert not found.tree.proven
    assert "told" in outcomes


def test_what_is_not_asked_for_is_refused(demo):
    good = Continuation("Step 1: x.")
    for wrong in (None, "text", [], [[good]] * 2, [[good] * 17], [good], [["text"]], [[None]], [[Continuation(3)]]):

        class Wrong:
            def extend(self, *_, wrong=wrong):
                return wrong

        with pytest.raises(PolicyError):
            beam_search(Wrong(), stub_prm(demo), QUESTION, DOCUMENTS)

    class Async:
        async def extend(self, *_):
            return [[good]]

    with pytest.raises(PolicyError, match="aextend"):
        beam_search(Async(), stub_prm(demo), QUESTION, DOCUMENTS)
    for tokens in (-1, 1.5, "3"):
        with pytest.raises(PolicyError, match="tokens"):
            beam_search(always("x", tokens=tokens), stub_prm(demo), QUESTION, DOCUMENTS)


@pytest.mark.parametrize("search", SEARCHES)
def test_chains_too_long_for_the_reward_model_are_dropped(demo, search):
    long = "word " * 9000
    with pytest.raises(NothingScoredError, match="too long"):
        search(Says(lambda *_: Continuation(long, finished=True)), stub_prm(demo), QUESTION, DOCUMENTS)
    policy = DrawnPolicy()
    mixed = Says(lambda chain, place: Continuation(long) if (chain.seed + place) % 5 == 1 else policy.one(chain, place))
    found = search(mixed, stub_prm(demo), QUESTION, DOCUMENTS)
    assert any("too long" in branch.why for branch in found.tree.branches)
    assert found.best.error is None


def test_a_reward_model_that_fails_ends_the_search(demo):
    def fails(prompts):
        raise ScoringError("the device is too small")

    for search in SEARCHES:
        with pytest.raises(ScoringError, match="too small"):
            search(DrawnPolicy(), cheap_prm(demo, CheapEngine(fails)), QUESTION, DOCUMENTS)


def test_a_cancelled_search_ends_and_closes_its_session(demo):
    class Waits:
        async def aextend(self, *_):
            await asyncio.sleep(3600)

    async def run():
        task = asyncio.create_task(abeam_search(Waits(), stub_prm(demo), QUESTION, DOCUMENTS))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


@pytest.fixture(scope="module")
def prm() -> MedPRM:
    return stub_prm(MedPRM.from_pretrained())


pieces = st.sampled_from(["", " ", "Step 1: a.\n", "Step 2: b\nStep 3: c", "The answer is (A)", "Ответ (Б)", *PIECES])


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.lists(pieces, min_size=1, max_size=6), st.sampled_from(SEARCHES))
def test_whatever_a_policy_writes_a_search_ends_and_keeps_its_books(prm, seed, texts, search):
    rng = random.Random(seed)
    policy = Says(lambda *_: Continuation(rng.choice(texts), rng.random() < 0.3, rng.random() < 0.1))
    numbers = {"n": 5} if search is early_rejection else {"expansions": 2}
    try:
        found = search(policy, prm, QUESTION, DOCUMENTS, limits=Limits(max_steps=4, max_calls=30), **numbers)
    except MedPRMError:
        return
    assert found.tree.policy_calls <= 30
    assert all(b.fate in ("extended", "finished", "cut off", "dropped") for b in found.tree.branches)
    for branch in found.tree.branches:
        if branch.steps and not branch.why.startswith(("it could not be scored", "the same as")):
            assert len(branch.rewards) == len(branch.steps)
    found.to_html(DOCUMENTS)
    assert type(found).model_validate_json(found.model_dump_json()) == found


@given(st.one_of(st.text(max_size=200), hostile))
def test_steps_are_never_blank(text):
    assert all(step.strip() for step in steps_of(text))
    assert bool(steps_of(text)) == bool(text.strip())
