"""Scoring chains that grow: what was computed of them before is not computed again."""

import bisect
import threading
from collections.abc import Sequence
from typing import Protocol

from medprm_scorer.encoding import EncodedChain
from medprm_scorer.errors import InputError
from medprm_scorer.local.kv_cache import KeptValues
from medprm_scorer.local.token_tree import TokenTree, common_length


class _Run(Protocol):
    def __call__(self, tree: TokenTree, tags: Sequence[int], kept: KeptValues | None) -> dict[int, float]: ...


class EngineSession:
    """Chains behind one prefix, scored again and again as they grow.

    Holds the keys and values of the prefix and of the chains of the latest call: chains that are not asked for again
    are let go. Safe to use from many threads: calls take turns.

    Args:
        run: Runs a tree.
        lock: Held while it does.
        prefix: Token ids of the prefix.
    """

    def __init__(self, run: _Run, lock: threading.Lock, prefix: tuple[int, ...]) -> None:
        self._run, self._lock, self._prefix = run, lock, prefix
        self._scored: _Scored | None = None
        self._open = True

    def score(self, chains: Sequence[EncodedChain]) -> list[list[float]]:
        """Rewards by chain and step; only tokens that no chain of the call before began with are run.

        Raises:
            InputError: The session is closed.
            ScoringError: As in `Engine.score`.
        """
        with self._lock:
            if not self._open:
                raise InputError("the session is closed: open another one")
            distinct = list(dict.fromkeys(chains))
            if distinct:
                self._scored = self._score(distinct)
            return [self._scored.rewards[chain] for chain in chains] if self._scored else []

    def close(self) -> None:
        """Let go of everything that is held."""
        with self._lock:
            self._open, self._scored = False, None

    def _score(self, chains: Sequence[EncodedChain]) -> "_Scored":
        base, old = len(self._prefix), self._scored
        likest = [old.likest(chain) if old else (None, 0) for chain in chains]
        known = [base + shared if chain is not None else 0 for chain, shared in likest]
        tree = TokenTree([(self._prefix, [chain.ids for chain in chains])], [known])
        values = KeptValues(tree)
        for place, span in enumerate(tree.spans):
            source = likest[span.sequence][0]
            if span.known and old is not None and source is not None:
                path = old.tree.paths[0][old.places[source]]
                values.put(place, old.values.of_path(path, span.depth, span.depth + span.length))
        numbers = [[tree.number(0, place, base + tag) for tag in chain.tags] for place, chain in enumerate(chains)]
        found = self._run(tree, sorted({n for one in numbers for n in one if n is not None}), values)
        rewards: dict[EncodedChain, list[float]] = {}
        for chain, (source, _), places in zip(chains, likest, numbers, strict=True):
            before = dict(zip(source.tags, old.rewards[source], strict=True)) if old and source else {}
            rewards[chain] = [
                before[tag] if number is None else found[number] for tag, number in zip(chain.tags, places, strict=True)
            ]
        return _Scored(chains, tree, values, rewards)


class _Scored:
    """What one call has computed."""

    def __init__(
        self,
        chains: Sequence[EncodedChain],
        tree: TokenTree,
        values: KeptValues,
        rewards: dict[EncodedChain, list[float]],
    ) -> None:
        self.tree, self.values, self.rewards = tree, values, rewards
        self.places = {chain: place for place, chain in enumerate(chains)}
        self._sorted = sorted(chains, key=lambda chain: chain.ids)

    def likest(self, chain: EncodedChain) -> tuple[EncodedChain, int]:
        """The chain that begins with most tokens of the given one, and how many of them can be used."""
        place = bisect.bisect(self._sorted, chain.ids, key=lambda one: one.ids)
        found = [(common_length(one.ids, chain.ids), one) for one in self._sorted[max(place - 1, 0) : place + 1]]
        shared, one = max(found, key=lambda pair: pair[0])
        judged = set(one.tags)  # a tag that was none before has no reward yet
        return one, min([shared, *(tag for tag in chain.tags if tag < shared and tag not in judged)])
