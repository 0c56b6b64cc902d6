"""What an engine is: token ids in, step rewards out. Nothing here knows of text, answers or votes."""

import os
from collections.abc import Sequence
from typing import Literal, Protocol
from weakref import WeakSet

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.errors import InputError

Dtype = Literal["float32", "bfloat16", "float16"]
"""What a local engine computes in."""

Quantization = Literal["int8", "int4"]
"""How a local engine keeps its weights."""

EndpointName = Literal["auto", "generative_scoring", "completions", "classify", "step_pooling"]
"""How a server is asked; `auto` takes the best that works."""

Rewards = list[list[list[float]]]
"""Rewards by prompt, chain and step, each P(+) in [0, 1]."""


class PrefixScorer(Protocol):
    """Scores chains behind one prefix, call after call.

    Attributes:
        tokens_run: Tokens that were run so far.
    """

    tokens_run: int

    def score(self, chains: Sequence[EncodedChain]) -> list[list[float]]:
        """Rewards by chain and step."""
        ...

    def close(self) -> None:
        """Free what is kept between calls."""
        ...


class Engine(Protocol):
    """Computes the reward at every step tag of encoded prompts.

    An engine may also have `open_session` (see there), and `max_batch_tokens`, the most tokens that it runs at once:
    callers with many prompts then give it about as much as fills a few passes.

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


def open_session(engine: Engine, prefix: Sequence[int]) -> PrefixScorer:
    """The engine's own session (`open_session(prefix)`), which keeps what it has computed; else one that keeps nothing.

    Args:
        engine: Any engine.
        prefix: Token ids that all chains of the session follow.
    """
    own = getattr(engine, "open_session", None)
    return own(prefix) if own is not None else _Stateless(engine, tuple(prefix))


class _Stateless:
    """The session of an engine that has none: every call computes everything."""

    def __init__(self, engine: Engine, prefix: tuple[int, ...]) -> None:
        self._engine, self._prefix = engine, prefix
        self._open = True
        self.tokens_run = 0

    def score(self, chains: Sequence[EncodedChain]) -> list[list[float]]:
        if not self._open:
            raise InputError("the session is closed: open another one")
        prompt = EncodedPrompt(self._prefix, tuple(chains))
        (rewards,) = self._engine.score([prompt])
        self.tokens_run += prompt.unique_tokens
        return rewards

    def close(self) -> None:
        self._open = False


class Resettable(Protocol):
    """Something with threads or locks, which a forked process cannot use."""

    def reset(self) -> None:
        """Start afresh."""
        ...


_resettable: "WeakSet[Resettable]" = WeakSet()


def reset_after_fork(something: Resettable) -> None:
    """Have it reset in every process that is forked from this one, which has none of its other threads."""
    _resettable.add(something)


def _reset_all() -> None:
    for something in _resettable:
        something.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
