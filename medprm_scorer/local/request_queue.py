"""Dynamic batching: calls that arrive while others are served are served together.

Calls wait in one queue. The caller that gets the lock first is the leader: it serves the calls at the head of the
queue, as many as fit in a batch, whether or not its own is among them. The followers find their answers ready when they
get the lock. So a single call does not wait, and simultaneous calls make full batches. Callers from asyncio hold no
thread while they wait: one thread of the queue leads for them.

A call leaves the queue only when it is answered or abandoned. So a leader may be interrupted at any moment, and the
next one serves whatever it has not answered.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from medprm_scorer.engine import reset_after_fork
from medprm_scorer.errors import ScoringError

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class DynamicBatcher(Generic[_Item, _Answer]):
    """Serves calls from many threads and tasks in batches. After a fork, the child's queue is empty and usable.

    Args:
        serve: Answers the items of several calls, in order, in one batch. Called with the lock held.
        size: Returns the size of an item.
        most: Size of a batch: a call is added to others only while their sizes together stay within it.
        linger: Seconds for which the first asyncio call of a batch waits for others; calls from threads never do.

    Attributes:
        lock: Held while a batch is served.
    """

    def __init__(
        self,
        serve: Callable[[list[_Item]], list[_Answer]],
        *,
        size: Callable[[_Item], int],
        most: Callable[[], int],
        linger: float = 0.002,
    ) -> None:
        self._serve, self._size, self._most, self._linger = serve, size, most, linger
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Reset to an empty queue with an open lock. Needed after a fork, which copies no other threads."""
        self.lock = threading.Lock()
        self._queue: list[_Call[_Item, _Answer]] = []
        # Held only briefly. `with` takes a plain lock in one step; an interrupt could occur inside a Condition's.
        self._guard = threading.Lock()
        self._changed = threading.Condition(self._guard)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="medprm")

    def call(self, items: Sequence[_Item]) -> list[_Answer]:
        """Wait for the answers to the items, and return them in order.

        Args:
            items: The items; may be empty.

        Raises:
            Exception: Whatever serving these items raises. Failures of other calls do not affect this one.
        """
        call = self._enter(items)
        try:
            while not call.done:
                with self.lock:
                    if not call.done:
                        self._lead()
        finally:
            call.done = True  # in case this caller was interrupted: no one waits for the answer
        return call.result()

    async def acall(self, items: Sequence[_Item]) -> list[_Answer]:
        """As `call`, without blocking the event loop. A call that is cancelled in the queue is never served."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        call = self._enter(items, lambda: loop.call_soon_threadsafe(done.set))
        self._thread.submit(self._lead_all)
        try:
            await done.wait()
        finally:
            call.done = True
        return call.result()

    def _enter(self, items: Sequence[_Item], wake: Callable[[], object] = lambda: None) -> "_Call[_Item, _Answer]":
        call = _Call[_Item, _Answer](list(items), sum(map(self._size, items)), wake)
        with self._guard:
            self._queue.append(call)
            self._changed.notify_all()
        return call

    def _lead_all(self) -> None:
        """Serve until the queue is empty, in the queue's thread."""
        with self._guard:
            self._changed.wait_for(lambda: not self._queue or self._is_full(), self._linger)
        while self._queue:
            with self.lock:
                try:
                    self._lead()
                except BaseException:  # noqa: BLE001 - not a caller's thread: tasks wait, and there may be no other leader
                    for call in self._queue:
                        call.error = call.error or ScoringError("scoring was interrupted: call again")
                        call.done = True

    def _is_full(self) -> bool:
        return sum(call.size for call in self._queue) >= self._most()

    def _lead(self) -> None:
        """Serve one batch from the head of the queue; the lock is held."""
        try:
            if batch := self._head():
                self._answer(batch)
        finally:
            with self._guard:
                for call in self._queue:
                    if call.done:
                        with suppress(RuntimeError):  # its event loop has been closed
                            call.wake()
                self._queue = [call for call in self._queue if not call.done]
                self._changed.notify_all()

    def _head(self) -> "list[_Call[_Item, _Answer]]":
        """The calls of the next batch, which stay in the queue until they are answered."""
        batch: list[_Call[_Item, _Answer]] = []
        size = 0
        with self._guard:
            for call in self._queue:
                if call.done:
                    continue
                if batch and size + call.size > self._most():
                    break
                batch.append(call)
                size += call.size
        return batch

    def _answer(self, batch: "Sequence[_Call[_Item, _Answer]]") -> None:
        """Answer calls together; if that fails, one by one, so that one failure does not affect the others."""
        try:
            answers = iter(self._serve([item for call in batch for item in call.items]))
            for call in batch:
                call.answers = [next(answers) for _ in call.items]
                call.done = True
        except Exception as error:  # noqa: BLE001 - passed to the callers
            if len(batch) == 1:
                batch[0].error = error
                batch[0].done = True
                return
            for call in batch:
                if not call.done:
                    self._answer([call])


class _Call(Generic[_Item, _Answer]):
    """One call in the queue: done when it is answered, has failed, or was abandoned by its caller.

    It is not a `Future`, since an interrupt of the leader could leave a `Future`'s lock closed.
    """

    def __init__(self, items: list[_Item], size: int, wake: Callable[[], object]) -> None:
        self.items, self.size, self.wake = items, size, wake
        self.answers: list[_Answer] = []
        self.error: Exception | None = None
        self.done = False

    def result(self) -> list[_Answer]:
        """The answers; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.answers
