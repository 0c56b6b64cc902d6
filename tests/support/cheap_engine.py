"""An engine that costs nothing: rewards are a hash of the tokens that the model would have read up to each tag."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence

from medprm_scorer import MedPRM
from medprm_scorer.encoding import EncodedPrompt
from medprm_scorer.engine import Rewards


class CheapEngine:
    """As exact as a model is: the same for the same tokens, another for others.

    Args:
        fault: Called with the prompts of each call, before it is answered; may raise, or return other rewards.
        delay: Most seconds that a call takes; each takes a random part of it, so that calls end out of order.
    """

    name = "cheap"
    max_tokens = 8192
    fingerprint = "cheap"

    def __init__(self, fault: Callable[[Sequence[EncodedPrompt]], Rewards | None] | None = None, delay: float = 0.0):
        self.fault, self.delay = fault, delay
        self.calls: list[int] = []  # prompts in each
        self.now = self.most = 0  # calls in flight
        self._random = random.Random(0)

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        self.calls.append(len(prompts))
        given = self.fault(prompts) if self.fault else None
        if given is not None:
            return given
        return [[rewards(prompt.prefix, chain.ids, chain.tags) for chain in prompt.chains] for prompt in prompts]

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.delay * self._random.random())
            return self.score(prompts)
        finally:
            self.now -= 1


def rewards(prefix: Sequence[int], ids: Sequence[int], tags: Sequence[int]) -> list[float]:
    digest = hashlib.sha256(repr(list(prefix)).encode())
    found, begin = [], 0
    for tag in tags:
        digest.update(repr(list(ids[begin : tag + 1])).encode())
        begin = tag + 1
        found.append(int.from_bytes(digest.digest()[:6], "big") / 2**48)
    return found


def cheap_prm(demo: MedPRM, engine: CheapEngine) -> MedPRM:
    """A `MedPRM` with the demo model's tokenizer and this engine."""
    return MedPRM(engine, demo.encoder)


def requests(count: int, seed: int = 0, candidates: int = 3) -> list[dict]:
    """Small requests, some of which can have no ranking."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        chains = [
            f"Step 1: Give {draw.randrange(99)} mg.\nStep 2: The answer is ({draw.choice('ABCD')})"
            for _ in range(candidates)
        ]
        record = {"id": f"q{number}", "question": f"Which dose, {number}?", "documents": ["A note."] * (number % 3)}
        made.append(record | {"candidates": [" "] if number % 17 == 5 else chains})
    return made
