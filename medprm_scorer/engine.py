"""The interface of an engine: token ids in, step rewards out. Nothing here knows about text, answers or votes."""

import hashlib
import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from weakref import WeakSet

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.errors import InputError

Dtype = Literal["float32", "bfloat16", "float16"]
"""The dtypes in which a local engine computes."""

Quantization = Literal["int8", "int4"]
"""How a local engine stores its weights."""

EndpointName = Literal["auto", "generative_scoring", "completions", "classify", "step_pooling"]
"""The endpoint of a server that is used; `auto` takes the best that works."""

Rewards = list[list[list[float]]]
"""Rewards by prompt, chain and step, each P(+) in [0, 1]."""

_Known = dict[bytes, tuple[float, ...]]


class Remembered(list[list[float]]):
    """The rewards of one prompt, some or all of whose chains were not computed but taken from the cache.

    Args:
        rewards: The rewards by chain and step.
        computed: Tokens of the chains that were computed, each once.

    Example:
        >>> prompt = EncodedPrompt((1, 2, 3), (EncodedChain((4, 5), (1,)), EncodedChain((6, 7), (1,))))
        >>> Remembered([[0.5], [0.5]], 2).tokens_of(prompt), Remembered([[0.5], [0.5]], 0).tokens_of(prompt)
        (5, 0)
    """

    def __init__(self, rewards: Iterable[list[float]], computed: int) -> None:
        super().__init__(rewards)
        self.computed = computed

    def tokens_of(self, prompt: EncodedPrompt) -> int:
        """Tokens that were run for this prompt; 0, without even the prefix, if all chains were in the cache."""
        return len(prompt.prefix) + self.computed if self.computed else 0


@dataclass(frozen=True)
class _LookedUp:
    """What the cache holds for some prompts.

    Args:
        keys: For each prompt, the keys of its chains.
        known: The cached rewards.
        missing: Prompts with the chains that are not cached, each once.
        computed: For each requested prompt, the tokens of its chains that are not cached.
    """

    keys: list[list[bytes]]
    known: _Known
    missing: list[EncodedPrompt]
    computed: list[int]


class PrefixScorer(Protocol):
    """Scores chains after one prefix, in repeated calls.

    Attributes:
        tokens_run: Tokens run so far.
    """

    @property
    def tokens_run(self) -> int:
        """See the class."""
        ...

    def score(self, chains: Sequence[EncodedChain]) -> list[list[float]]:
        """Rewards by chain and step."""
        ...

    def move(self, prefix: tuple[int, ...]) -> None:
        """Change the prefix for later calls; what the new prefix shares with the old one may be kept."""
        ...

    def close(self) -> None:
        """Free the memory that is held between calls."""
        ...


class Engine(Protocol):
    """Computes the reward at every step tag of encoded prompts.

    An engine may also have `open_session` (see there) and `max_batch_tokens`, the most tokens that it runs at once:
    callers with many prompts then pass it enough to fill a few passes.

    Attributes:
        name: A readable name: `transformers (cpu, float32)`.
        max_tokens: Longest prefix plus chain that the model can read, in tokens.
        fingerprint: The same for the same model on any engine, and different for different weights. It identifies
            stored rewards.
    """

    name: str
    max_tokens: int

    @property
    def fingerprint(self) -> str:
        """See the class."""
        ...

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score every chain of every prompt.

        Args:
            prompts: Each has a prefix and the chains that share it; prefix plus chain must not be longer than
                `max_tokens`.

        Returns:
            For each prompt, in order, for each of its chains, in order, one reward per tag, in order.

        Raises:
            ScoringError: No rewards could be computed.
        """
        ...

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """As `score`, without blocking the event loop."""
        ...


def open_session(engine: Engine, prefix: Sequence[int]) -> PrefixScorer:
    """The engine's own session (`open_session(prefix)`), which caches results; otherwise one that caches nothing.

    Args:
        engine: Any engine.
        prefix: Token ids that all chains of the session follow.
    """
    own = getattr(engine, "open_session", None)
    return own(prefix) if own is not None else StatelessSession(engine, tuple(prefix))


class StatelessSession:
    """The session for an engine that has none: every call computes everything.

    Args:
        engine: Any engine.
        prefix: Token ids that all chains of the session follow.
    """

    def __init__(self, engine: Engine, prefix: tuple[int, ...]) -> None:
        self._engine, self._prefix = engine, prefix
        self._open = True
        self.tokens_run = 0

    def score(self, chains: Sequence[EncodedChain]) -> list[list[float]]:
        """Rewards by chain and step."""
        if not self._open:
            raise InputError("the session is closed: open another one")
        prompt = EncodedPrompt(self._prefix, tuple(chains))
        (rewards,) = self._engine.score([prompt])
        self.tokens_run += prompt.unique_tokens
        return rewards

    def move(self, prefix: tuple[int, ...]) -> None:
        """Change the prefix for later calls."""
        self._prefix = prefix

    def close(self) -> None:
        """Close the session; it refuses later calls."""
        self._open = False


class RememberingEngine:
    """An engine with a cache of the latest scored chains, keyed by their exact token ids and those of the prefix.

    So a hit requires the same system prompt, documents, question and chain. A cached reward is that of the first call,
    whose other chains may have changed its rounding.

    Args:
        engine: Computes the rewards that are not cached; all other properties are also its own.
        chains: Most chains to cache, at least 1; the least recently used one is dropped first. One takes about 300
            bytes; only a SHA-256 of its tokens is stored.

    Raises:
        InputError: `chains` is not a whole number of at least 1.
    """

    def __init__(self, engine: Engine, chains: int) -> None:
        if isinstance(chains, bool) or not isinstance(chains, int) or chains < 1:
            raise InputError("cache must be a whole number of chains, at least 1, or None")
        self._engine, self._most = engine, chains
        self.name, self.max_tokens = engine.name, engine.max_tokens
        self._known: OrderedDict[bytes, tuple[float, ...]] = OrderedDict()
        self.reset()
        reset_after_fork(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._engine, name)

    def reset(self) -> None:
        """Forget everything."""
        self._lock = threading.Lock()
        self._known.clear()

    @property
    def fingerprint(self) -> str:
        """The value of the engine."""
        return self._engine.fingerprint

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """As `Engine.score`."""
        found = self._look_up(prompts)
        return self._filled(found, self._engine.score(found.missing) if found.missing else [])

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """As `Engine.ascore`."""
        found = self._look_up(prompts)
        return self._filled(found, await self._engine.ascore(found.missing) if found.missing else [])

    def open_session(self, prefix: Sequence[int]) -> PrefixScorer:
        """A session of the engine, which computes what is not cached."""
        return _RememberingSession(self, open_session(self._engine, prefix), tuple(prefix))

    def _look_up(self, prompts: Sequence[EncodedPrompt]) -> _LookedUp:
        keys = [list(_keys(prompt)) for prompt in prompts]
        found = _LookedUp(keys, {}, [], [])
        with self._lock:
            for key in (key for own in keys for key in own if key in self._known):
                self._known.move_to_end(key)
                found.known[key] = self._known[key]
        asked = set(found.known)
        for prompt, own in zip(prompts, keys, strict=True):
            chains = {key: chain for key, chain in zip(own, prompt.chains, strict=True) if key not in asked}
            asked.update(chains)
            found.computed.append(sum(len(chain.ids) for chain in chains.values()))
            if chains:
                found.missing.append(EncodedPrompt(prompt.prefix, tuple(chains.values())))
        return found

    def _filled(self, found: _LookedUp, rewards: Rewards) -> Rewards:
        """All rewards, and cache the computed ones; values that are not probabilities are not cached."""
        known = found.known
        for prompt, computed in zip(found.missing, rewards, strict=True):
            known.update(zip(_keys(prompt), map(tuple, computed), strict=True))
        with self._lock:
            for key, values in known.items():
                if all(0.0 <= value <= 1.0 for value in values):
                    self._known[key] = values
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return [
            Remembered([list(known[key]) for key in own], computed)
            for own, computed in zip(found.keys, found.computed, strict=True)
        ]


class _RememberingSession:
    """The session of a `RememberingEngine`."""

    def __init__(self, memory: RememberingEngine, session: PrefixScorer, prefix: tuple[int, ...]) -> None:
        self._memory, self._session, self._prefix = memory, session, prefix

    @property
    def tokens_run(self) -> int:
        """Tokens run so far, without those of cached chains."""
        return self._session.tokens_run

    def score(self, chains: Sequence[EncodedChain]) -> list[list[float]]:
        """Rewards by chain and step."""
        found = self._memory._look_up([EncodedPrompt(self._prefix, tuple(chains))])
        # the session is called even if nothing is missing: a closed one refuses
        rewards = [self._session.score(found.missing[0].chains if found.missing else [])]
        return self._memory._filled(found, rewards if found.missing else [])[0]

    def move(self, prefix: tuple[int, ...]) -> None:
        """Change the prefix for later calls."""
        self._session.move(prefix)
        self._prefix = prefix

    def close(self) -> None:
        """Free the memory that is held between calls."""
        self._session.close()


def _keys(prompt: EncodedPrompt) -> Iterator[bytes]:
    """A digest of everything that the rewards of each chain depend on."""
    prefix = hashlib.sha256(array("q", [len(prompt.prefix), *prompt.prefix]))
    for chain in prompt.chains:
        digest = prefix.copy()
        digest.update(array("q", [len(chain.ids), *chain.ids, *chain.tags]))
        yield digest.digest()


class Resettable(Protocol):
    """An object with threads or locks, which a forked process cannot use."""

    def reset(self) -> None:
        """Start afresh."""
        ...


_resettable: "WeakSet[Resettable]" = WeakSet()


def reset_after_fork(something: Resettable) -> None:
    """Reset it in every process that is forked from this one, since the other threads do not exist there."""
    _resettable.add(something)


def _reset_all() -> None:
    for something in _resettable:
        something.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
