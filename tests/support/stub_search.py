"""Policies and an engine for the tests of searches: all random, none slow."""

import hashlib
import random

from medprm_scorer import MedPRM
from medprm_scorer.search import Continuation, GrowingChain
from medprm_scorer.search.policy import seed_of
from tests.support.cheap_engine import CheapEngine, cheap_prm

QUESTION = "Which dose?\n\n(A) 5 mg\n(B) 9 mg\n(C) 11 mg\n(D) 12 mg"
DOCUMENTS = ("The label says 5 mg.", "Another label.")


class DrawnPolicy:
    """Chains of 1 to 6 steps, each a function of the chain's seed alone.

    Args:
        answers: What the last steps choose among; None for some that give none.
    """

    def __init__(self, answers="ABCD", longest: int = 6) -> None:
        self.answers, self.longest = answers, longest
        self.calls: list[tuple[int, int]] = []

    def extend(self, question, documents, chains, n):
        self.calls.append((len(chains), n))
        return [[self.one(chain, place) for place in range(n)] for chain in chains]

    def one(self, chain: GrowingChain, place: int) -> Continuation:
        rng = random.Random(seed_of(chain.seed, place))
        number = len(chain.steps) + 1
        text = f"Step {number}: Note {rng.randrange(1000)} of the label, part {number}."
        if number < self.longest and rng.random() < 0.7:
            return Continuation(f"{text}\n", tokens=rng.randrange(5, 30))
        answer = rng.choice(self.answers)
        end = "I cannot say." if answer is None else f"The answer is ({answer})"
        return Continuation(f"{text} {end}", finished=True, tokens=rng.randrange(5, 30))


class AwaitedPolicy:
    """The same, to be awaited."""

    def __init__(self) -> None:
        self.inner = DrawnPolicy()

    async def aextend(self, question, documents, chains, n):
        return self.inner.extend(question, documents, chains, n)


class SpreadEngine(CheapEngine):
    """Rewards as those of the cheap engine, bent: high ones, low ones, and some that are equal."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def score(self, prompts):
        return [[[self.bend(reward) for reward in chain] for chain in chains] for chains in super().score(prompts)]

    def bend(self, reward: float) -> float:
        drawn = int.from_bytes(hashlib.sha256(f"{self.seed}/{reward}".encode()).digest()[:4], "big") / 2**32
        return round(drawn, 1) if drawn < 0.2 else 1.0 - drawn**4 / 2 if drawn < 0.8 else drawn / 3


def stub_prm(demo: MedPRM, seed: int = 0) -> MedPRM:
    return cheap_prm(demo, SpreadEngine(seed))


def whole_chains(policy, seed: int, n: int) -> list[list[str]]:
    """The plain twin of early rejection: each chain written to its end, on its own."""
    found = []
    for place in range(n):
        chain = GrowingChain("", (), seed_of(seed, place))
        while True:
            ((one,),) = policy.extend(QUESTION, DOCUMENTS, [chain], 1)
            chain = GrowingChain(chain.text + one.text, (*chain.steps, one.text.strip()), seed_of(chain.seed, 0))
            if one.finished:
                break
        found.append(list(chain.steps))
    return found
