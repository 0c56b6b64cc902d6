"""What the integrations' tests share: answers with their rewards in them, and a reward model that reads these.

A step's reward is written in the step: `Step 1: Give 5 mg [0.9].` has 0.9, and a step without a number has 0.5.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from medprm_scorer import MedPRM
from medprm_scorer.encoding import PromptEncoder
from tests.support.llama3 import real_tokenizer

QUESTION = "Which dose?\n\n(A) 5 mg\n(B) 9 mg"
GOOD = "Step 1: The label says 5 mg [0.9].\nStep 2: The answer is (A) [0.9]"
BAD = "Step 1: Guess 9 mg [0.2].\nStep 2: The answer is (B) [0.8]"
WORSE = "Step 1: Guess anew [0.1].\nStep 2: The answer is (B) [0.1]"
SECRET = "Jane Doe has malaria"


@cache
def encoder() -> PromptEncoder:
    return PromptEncoder(real_tokenizer())


class ReadingEngine:
    """Reads each step's reward in its text, and keeps what it was asked."""

    name, fingerprint, max_tokens = "reading", "reading", 100_000

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def score(self, prompts):
        decode = real_tokenizer().decode
        self.calls.append([decode(list(prompt.prefix)) for prompt in prompts])
        return [[self._chain(decode, chain) for chain in prompt.chains] for prompt in prompts]

    async def ascore(self, prompts):
        return self.score(prompts)

    def _chain(self, decode: Callable[[list[int]], str], chain: Any) -> list[float]:
        starts = [0, *(tag + 1 for tag in chain.tags)]
        steps = [decode(list(chain.ids[a:b])) for a, b in zip(starts, chain.tags, strict=False)]
        found = [re.findall(r"\[(\d\.\d+)\]", step) for step in steps]
        return [float(numbers[-1]) if numbers else 0.5 for numbers in found]


def reading_prm() -> MedPRM:
    return MedPRM(ReadingEngine(), encoder())


def documents_in(prm: MedPRM) -> list[str]:
    """The documents that the reward model was shown last, each with its number."""
    seen: str = prm.engine.calls[-1][0]  # type: ignore[attr-defined]
    return [part.split("\n\n")[0] for part in seen.split("Document ")[1:]]
