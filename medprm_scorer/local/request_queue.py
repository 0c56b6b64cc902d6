"""Calls that come while others are served are served together.

Calls line up in one queue. Whoever gets the model's lock first takes the calls at the head of the queue, as many as a
batch should hold, its own among them or not, and serves them all; the others find their answers ready. So calls that
come one at a time wait for nobody, and calls that come together make full passes. Callers from asyncio hold no thread
while they wait: one thread of the queue's own serves them.
"""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from medprm_scorer.errors import ScoringError

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class Coalescer(Generic[_Item, _Answer]):
    """Serves calls from many threads and tasks in batches.

    Args:
        serve: Answers the items of several calls, in order, in one go. Called with the lock held.
        lock: One batch at a time.
        size: How large an item is.
        most: Size of a batch: a call is added to others only while their sizes together stay within it.
        waiting: Most calls that may stand in the queue; further calls wait until there is room.
        linger: Seconds for which the first asyncio call of a batch waits for others; calls from threads never do.
    """

    def __init__(
        self,
        serve: Callable[[list[_Item]], list[_Answer]],
        lock: threading.Lock,
        *,
        size: Callable[[_Item], int],
        most: Callable[[], int],
        waiting: int = 256,
        linger: float = 0.002,
    ) -> None:
        self._serve, self._lock, self._size, self._most, self._linger = serve, lock, size, most, linger
        self._queue: deque[_Call[_Item, _Answer]] = deque()
        self._guard = threading.Lock()  # of the queue; held for moments only
        self._room = threading.BoundedSemaphore(waiting)
        self._start_thread()

    def _start_thread(self) -> None:
        self._process = os.getpid()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="medprm")

    def call(self, items: Sequence[_Item]) -> list[_Answer]:
        """Answers to the items, in order; waits for them."""
        self._room.acquire()
        call = self._enter(items)
        while not call.future.done():
            with self._lock:
                if not call.future.done():
                    self._serve_next()
        return call.future.result()

    async def acall(self, items: Sequence[_Item]) -> list[_Answer]:
        """As `call`, with the event loop left free. A call that is cancelled in the queue is never served."""
        while not self._room.acquire(blocking=False):
            await asyncio.sleep(0.005)
        call = self._enter(items)
        if self._process != os.getpid():  # a fork has no threads but the one that forked
            self._start_thread()
        self._thread.submit(self._serve_queue)
        return await asyncio.wrap_future(call.future)

    def _enter(self, items: Sequence[_Item]) -> "_Call[_Item, _Answer]":
        call = _Call[_Item, _Answer](list(items), sum(map(self._size, items)))
        with self._guard:
            self._queue.append(call)
        return call

    def _serve_queue(self) -> None:
        """Serve until the queue is empty, in the queue's own thread."""
        deadline = time.monotonic() + self._linger
        while self._queue and not self._is_full() and time.monotonic() < deadline:
            time.sleep(self._linger / 4)
        while self._queue:
            with self._lock:
                self._serve_next()

    def _is_full(self) -> bool:
        with self._guard:
            return sum(call.size for call in self._queue) >= self._most()

    def _serve_next(self) -> None:
        """Serve one batch from the head of the queue."""
        batch = self._take()
        if not batch:
            return
        try:
            self._answer(batch)
        except Exception as error:  # noqa: BLE001 - handed to the callers
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for call in batch:  # the fault of one call is no fault of the others
                try:
                    self._answer([call])
                except Exception as own:  # noqa: BLE001
                    call.future.set_exception(own)
        except BaseException:  # the caller that serves was interrupted: the others must not wait for ever
            for call in batch:
                if not call.future.done():
                    call.future.set_exception(ScoringError("scoring was interrupted: call again"))
            raise

    def _answer(self, batch: "Sequence[_Call[_Item, _Answer]]") -> None:
        answers = iter(self._serve([item for call in batch for item in call.items]))
        for call in batch:
            call.future.set_result([next(answers) for _ in call.items])

    def _take(self) -> "list[_Call[_Item, _Answer]]":
        batch: list[_Call[_Item, _Answer]] = []
        size = 0
        with self._guard:
            while self._queue and (not batch or size + self._queue[0].size <= self._most()):
                call = self._queue.popleft()
                self._room.release()
                if call.future.set_running_or_notify_cancel():
                    batch.append(call)
                    size += call.size
        return batch


class _Call(Generic[_Item, _Answer]):
    """One call in the queue."""

    def __init__(self, items: list[_Item], size: int) -> None:
        self.items, self.size = items, size
        self.future: Future[list[_Answer]] = Future()
