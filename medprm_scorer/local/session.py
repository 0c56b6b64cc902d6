"""Scoring of growing chains with a KV cache: earlier results are not computed again."""

import bisect
import threading
from collections.abc import Sequence
from typing import Protocol

from medprm_scorer.encoding import EncodedChain
from medprm_scorer.errors import InputError
from medprm_scorer.local.kv_cache import KVCache
from medprm_scorer.local.token_tree import TokenTree, common_length, indices_to_run


class _Engine(Protocol):
    @property
    def lock(self) -> threading.Lock: ...

    def run(self, tree: TokenTree, tags: Sequence[int], cache: KVCache | None) -> dict[int, float]: ...


class EngineSession:
    """Chains after one prefix, scored repeatedly as they grow.

    Holds the keys and values of the prefix and of the chains of the latest call: those of other chains are dropped.
    Safe to use from many threads: calls take turns.

    Args:
        engine: Runs trees, and has the lock that must be held for that.
        prefix: Token ids of the prefix.
    """

    def __init__(self, engine: _Engine, prefix: tuple[int, ...]) -> None:
        self._engine, self._prefix = engine, prefix
        self._latest: _Latest | None = None
        self._shared: int | None = None  # prefix tokens run by the latest call, if the prefix changed since
        self._open = True
        self.tokens_run = 0
        """Tokens run by the calls so far."""

    def score(self, chains: Sequence[EncodedChain]) -> list[list[float]]:
        """Rewards by chain and step; only tokens that are not in a common prefix with the previous call are run.

        Args:
            chains: The chains; one may occur several times.

        Raises:
            InputError: The session is closed.
            ScoringError: As in `Engine.score`.
        """
        with self._engine.lock:
            if not self._open:
                raise InputError("the session is closed: open another one")
            distinct = list(dict.fromkeys(chains))
            if distinct:
                self._latest = self._score(distinct)
            return [self._latest.rewards[chain] for chain in chains] if self._latest else []

    def move(self, prefix: tuple[int, ...]) -> None:
        """Change the prefix for later calls; the tokens that it shares with the old prefix are not run again.

        Args:
            prefix: Token ids of the new prefix.
        """
        with self._engine.lock:
            if self._latest is not None:
                self._shared = common_length(self._prefix[: self._shared], prefix)
            self._prefix = prefix

    def close(self) -> None:
        """Free everything that is held; the session cannot be used after that."""
        with self._engine.lock:
            self._open, self._latest = False, None

    def _score(self, chains: Sequence[EncodedChain]) -> "_Latest":
        base, before = len(self._prefix), self._latest
        matches = [self._known(chain) for chain in chains]
        tree = TokenTree([(self._prefix, [chain.ids for chain in chains])], [[known for _, known in matches]])
        cache = KVCache(tree)
        for number, span in enumerate(tree.spans):
            source = matches[span.sequence][0]
            if span.known and before is not None and source is not None:
                path = before.tree.paths[0][before.sequences[source]]
                cache.put(number, before.cache.of_path(path, span.position, span.position + span.length))
        indices = [[tree.index(0, number, base + tag) for tag in chain.tags] for number, chain in enumerate(chains)]
        found = self._engine.run(tree, indices_to_run(indices), cache)
        self.tokens_run += tree.size
        rewards: dict[EncodedChain, list[float]] = {}
        for chain, (source, _), of_tags in zip(chains, matches, indices, strict=True):
            old = dict(zip(source.tags, before.rewards[source], strict=True)) if before and source else {}
            rewards[chain] = [
                old[tag] if index is None else found[index] for tag, index in zip(chain.tags, of_tags, strict=True)
            ]
        self._shared = None
        return _Latest(chains, tree, cache, rewards)

    def _known(self, chain: EncodedChain) -> tuple[EncodedChain | None, int]:
        """A chain of the latest call with the same beginning, and the number of shared tokens, including the prefix."""
        if self._latest is None or self._shared == 0:
            return None, 0
        if self._shared is not None:  # only the prefix is shared, which all chains have: any of them will do
            return next(iter(self._latest.sequences)), self._shared
        source, length = self._latest.longest_match(chain)
        return source, len(self._prefix) + length


class _Latest:
    """The results of the latest call."""

    def __init__(
        self, chains: Sequence[EncodedChain], tree: TokenTree, cache: KVCache, rewards: dict[EncodedChain, list[float]]
    ) -> None:
        self.tree, self.cache, self.rewards = tree, cache, rewards
        self.sequences = {chain: number for number, chain in enumerate(chains)}
        self._sorted = sorted(chains, key=lambda chain: chain.ids)

    def longest_match(self, chain: EncodedChain) -> tuple[EncodedChain, int]:
        """The chain with the longest common prefix with the given one, and how many of its tokens can be used."""
        place = bisect.bisect(self._sorted, chain.ids, key=lambda one: one.ids)
        found = [(common_length(one.ids, chain.ids), one) for one in self._sorted[max(place - 1, 0) : place + 1]]
        shared, one = max(found, key=lambda pair: pair[0])
        tags = set(one.tags)  # a token that was not a tag before has no reward yet
        return one, min([shared, *(tag for tag in chain.tags if tag < shared and tag not in tags)])
