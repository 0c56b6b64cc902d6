"""Steps that are told before the end are steps of the answer, whatever happens after them."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer import MedPRM
from medprm_scorer.search import Beam, Continuation, Dvts, EarlyRejection, Limits
from medprm_scorer.search.drive import Search
from medprm_scorer.search.options import Settings
from tests.support.stub_search import DOCUMENTS, QUESTION, DrawnPolicy, stub_prm

METHODS = [Beam(1, 3), Beam(2, 2), Beam(4, 1), Dvts(1, 3), Dvts(2, 2), EarlyRejection(1), EarlyRejection(4)]


@pytest.fixture(scope="module")
def demo_prm() -> MedPRM:
    return MedPRM.from_pretrained()


class Troubled(DrawnPolicy):
    """Repeats itself, is cut off, and dies after some calls."""

    def __init__(self, trouble: int, dies: int) -> None:
        super().__init__([*"AB", None], longest=5)
        self.trouble, self.dies = trouble, dies

    def extend(self, question, documents, chains, n):
        if len(self.calls) == self.dies:
            raise ConnectionResetError
        return super().extend(question, documents, chains, n)

    def one(self, chain, place):
        found = super().one(chain, place)
        kind = (chain.seed + place) % 10
        if kind < self.trouble:
            if chain.steps and kind % 2:
                return Continuation(chain.steps[0] + "\n")
            return Continuation(found.text, cut_off=True)
        return found


@settings(max_examples=150)
@given(
    st.integers(0, 10**6),
    st.sampled_from(METHODS),
    st.integers(0, 6),
    st.integers(0, 8),
    st.integers(1, 8),
    st.sampled_from(["weighted_vote", "best_of_n"]),
    st.booleans(),
)
def test_what_is_told_joined_is_the_answer(demo_prm, seed, method, trouble, dies, calls, strategy, grows):
    retriever = (lambda query: [f"About {query}"]) if grows and not isinstance(method, EarlyRejection) else None
    told: list[str] = []
    options = Settings(
        strategy=strategy, seed=seed, limits=Limits(max_calls=calls), retriever=retriever, on_step=told.append
    )
    prm = stub_prm(demo_prm, seed)
    search = Search(Troubled(trouble, dies), prm, QUESTION, DOCUMENTS, method, options)
    seen = []
    try:
        for one in search.events():
            seen.append(one)  # noqa: PERF402 - what came before an error counts
    except ConnectionResetError:
        return
    *parts, ranking = seen
    assert parts == told
    assert "".join(parts) == ranking.best.text
    assert len(parts) == len(ranking.best.steps)
    other = Search(Troubled(trouble, dies), prm, QUESTION, DOCUMENTS, method, options)

    async def events():
        return [one async for one in other.aevents()]

    assert asyncio.run(events())[:-1] == parts


def test_steps_come_before_the_end(demo_prm):
    early = whole = 0
    for seed in range(20):
        policy = DrawnPolicy()
        search = Search(policy, stub_prm(demo_prm, seed), QUESTION, DOCUMENTS, Beam(2, 3), Settings(seed=seed))
        calls = [len(policy.calls) for _ in search.events()]
        early += sum(one < calls[-1] for one in calls)
        whole += len(calls) - 1
    assert early > 0.1 * whole
