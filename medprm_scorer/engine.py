"""What an engine is: token ids in, step rewards out. Nothing here knows of text, answers or votes."""

from collections.abc import Sequence
from typing import Protocol

from medprm_scorer.encoding import EncodedPrompt

Rewards = list[list[list[float]]]
"""Rewards by prompt, chain and step, each P(+) in [0, 1]."""


class Engine(Protocol):
    """Computes the reward at every step tag of encoded prompts.

    Attributes:
        name: What it is, for people: `transformers (cpu, float32)`.
        max_tokens: Longest prefix plus chain that the model can read, in tokens.
        fingerprint: The same for the same model, whatever computes it, and another for other weights: what kept
            rewards are recognised by.
    """

    name: str
    max_tokens: int
    fingerprint: str

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score every chain of every prompt.

        Args:
            prompts: Each a prefix and the chains that share it; prefix plus chain never longer than `max_tokens`.

        Returns:
            For each prompt, in order, for each of its chains, in order, one reward per tag, in order.

        Raises:
            ScoringError: No rewards could be computed.
        """
        ...

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """As `score`, with the event loop left free."""
        ...
