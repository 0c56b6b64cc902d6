"""Several requests in one engine call: results and errors in order, while the next batch is already being read."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from medprm_scorer.engine import Engine, Rewards
from medprm_scorer.errors import MedPRMError, ScoringError, with_message
from medprm_scorer.preparation import Choice, EncodedRequest
from medprm_scorer.results.models import Ranking

_AHEAD_TOKENS = 16384
"""How many tokens of requests are collected for one call of an engine without `max_batch_tokens`."""
_PASSES = 2  # for an engine with it: a call's last pass may be short

Entry = EncodedRequest | MedPRMError
"""One request as token ids, or why there are none."""

_Request = TypeVar("_Request")


def encoded_of(batch: list[Entry]) -> list[EncodedRequest]:
    """The prompts of a batch for the engine, in order."""
    return [entry for entry in batch if isinstance(entry, EncodedRequest)]


def finish_batch(batch: list[Entry], rewards: Rewards, choice: Choice, begun: float) -> list[Ranking | MedPRMError]:
    """The rankings of a batch from the rewards of its prompts, and the errors, in order.

    Raises:
        ScoringError: There are not as many rewards as prompts.
    """
    prompts = len(encoded_of(batch))
    if len(rewards) != prompts:
        raise ScoringError(f"the engine returned rewards for {len(rewards)} requests of {prompts}")
    by_request = iter(rewards)
    results: list[Ranking | MedPRMError] = []
    for entry in batch:
        try:
            if not isinstance(entry, EncodedRequest):
                results.append(entry)
                continue
            results.append(entry.ranking(next(by_request), choice, seconds=0.0, groups=entry.groups(choice)))
        except MedPRMError as error:
            results.append(error.with_traceback(None))  # its frames would keep the whole batch in memory
    seconds = {"seconds": time.perf_counter() - begun}
    return [one if isinstance(one, MedPRMError) else one.model_copy(update=seconds) for one in results]


class Pipeline(Generic[_Request]):
    """Ranks a stream of requests in packed engine calls, and prepares the next call while one runs.

    Args:
        engine: Computes rewards.
        prepare: Turns a request into an entry; called in the thread that asks for results.
        choice: How winners are chosen.
    """

    def __init__(self, engine: Engine, prepare: Callable[[_Request], Entry], choice: Choice) -> None:
        self._engine, self._prepare, self._choice = engine, prepare, choice
        self._most = _PASSES * getattr(engine, "max_batch_tokens", _AHEAD_TOKENS // _PASSES)
        self._running: deque[tuple[list[Entry], Future[Rewards], float]] = deque()
        self._place = 0

    def rank(self, requests: Iterator[_Request]) -> Iterator[Ranking]:
        """Rankings in the order of the requests.

        Raises:
            MedPRMError: A request cannot be ranked. Raised after the rankings before it; the message names its place.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix="medprm-rank-many")
        batch: list[Entry] = []
        failure: Exception | None = None
        tokens = 0
        try:
            while True:
                try:
                    batch.append(self._prepare(next(requests)))
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - the caller's source: raised after what came before it
                    failure = error
                    break
                entry = batch[-1]
                if isinstance(entry, MedPRMError):
                    break
                tokens += entry.tokens
                if tokens >= self._most:
                    self._start(pool, batch)
                    batch, tokens = [], 0
                while self._running and (self._running[0][1].done() or len(self._running) > 1):
                    yield from self._results()
            if batch:
                self._start(pool, batch)
            while self._running:
                yield from self._results()
            if failure is not None:
                raise failure
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor, batch: list[Entry]) -> None:
        prompts = [entry.prompt for entry in encoded_of(batch)]
        rewards = pool.submit(self._engine.score, prompts) if prompts else pool.submit(list)
        self._running.append((batch, rewards, time.perf_counter()))

    def _results(self) -> Iterator[Ranking]:
        batch, rewards, begun = self._running.popleft()
        try:
            results = finish_batch(batch, rewards.result(), self._choice, begun)
        except MedPRMError as error:
            results = [error]
        for result in results:
            if isinstance(result, MedPRMError):
                raise with_message(result, f"request {self._place}: {result}") from result
            self._place += 1
            yield result
