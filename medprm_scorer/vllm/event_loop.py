"""An event loop in a separate thread, so that one client serves both threads and event loops.

A connection pool belongs to the event loop that opened it, and callers may have no loop, one, or several in turn. So
all requests run on this loop; a thread waits for them, and a task of another loop awaits them. No thread is blocked for
a request. (anyio's blocking portal does the same, but keeps a process alive until it is closed.)
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from medprm_scorer.engine import reset_after_fork
from medprm_scorer.errors import ServerError

_Result = TypeVar("_Result")


class BackgroundLoop:
    """Runs coroutines on an event loop in a daemon thread, started when first needed and again after a fork."""

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Reset to no loop and an open lock, as needed after a fork."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Wait in this thread for the coroutine's result; interrupting the wait cancels the coroutine."""
        future = self._submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def arun(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Await the coroutine's result; cancelling the awaiting task cancels the coroutine."""
        return await asyncio.wrap_future(self._submit(work))

    def _submit(self, work: Coroutine[Any, Any, _Result]) -> "Future[_Result]":
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="medprm-http", daemon=True).start()
            return asyncio.run_coroutine_threadsafe(self._until_stopped(work, self._loop), self._loop)

    async def _until_stopped(self, work: Coroutine[Any, Any, _Result], loop: asyncio.AbstractEventLoop) -> _Result:
        """The coroutine's result; one that `stop` cancels says so, since its caller has cancelled nothing."""
        try:
            return await work
        except asyncio.CancelledError:
            if self._loop is loop:
                raise
            raise ServerError("the server's connections were closed while it was asked: call again") from None

    def stop(self, last: Callable[[], Awaitable[object]] | None = None) -> None:
        """End everything that still runs with a `ServerError`, and the thread; a later call starts a new one.

        Args:
            last: Awaited on the loop once nothing else runs there, for example to close connections.
        """
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_end(last), loop).result()
            loop.call_soon_threadsafe(loop.stop)


async def _end(last: Callable[[], Awaitable[object]] | None) -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if last is not None:
        await last()
