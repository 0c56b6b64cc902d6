"""Limits simultaneous calls of a language model: one limit for all calls of an object, from any thread or task."""

import threading
from collections.abc import Callable
from typing import Any

from medprm_scorer.engine import reset_after_fork


class CallsInFlight:
    """Counts the running calls, and notifies waiting callers when one ends. Copies share the count."""

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """No call runs: so it is in a process after a fork, which copies none of its other threads."""
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: list[Callable[[], object]] = []

    def take(self, limit: int, wake: Callable[[], object]) -> bool:
        """Count one more call, if fewer than the limit are running.

        Args:
            limit: Most simultaneous calls.
            wake: Called, from any thread, when a call has ended, if this one may not run now.

        Example:
            >>> calls, woken = CallsInFlight(), []
            >>> calls.take(1, woken.append), calls.take(1, lambda: woken.append("again"))
            (True, False)
            >>> calls.release(), woken
            (None, ['again'])
        """
        with self._lock:
            if self._running < limit:
                self._running += 1
                return True
            if wake not in self._waiting:
                self._waiting.append(wake)
            return False

    def release(self) -> None:
        """A call has ended."""
        with self._lock:
            self._running -= 1
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def forget(self, wake: Callable[[], object]) -> None:
        """Forget the waiting callers."""
        with self._lock:
            self._waiting = [one for one in self._waiting if one != wake]

    def __copy__(self) -> "CallsInFlight":
        return self

    def __deepcopy__(self, memo: Any) -> "CallsInFlight":
        return self
