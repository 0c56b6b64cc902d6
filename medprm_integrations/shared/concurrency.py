"""The same work several times at once, in threads or tasks, never more than a given number together.

The calls see the caller's context variables, in which LangChain and LlamaIndex keep their traces. An error takes its
call's place in the results, so that it does not end the others; except those that `stops` picks out, which do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


def never(error: Exception) -> bool:  # noqa: ARG001
    """No error ends everything."""
    return False


def run_all(
    calls: Sequence[Callable[[], Result]], limit: int, stops: Callable[[Exception], bool] = never
) -> list[Result | Exception]:
    """Run the calls in threads; a single one, or a limit of one, in this thread.

    Args:
        calls: What to run.
        limit: Most of them at once.
        stops: Errors that end everything: no further call begins, and the error is raised.

    Returns:
        For each call, in order, its result or its error.

    Raises:
        Exception: The first error that `stops` picks out.

    Example:
        >>> run_all([lambda: 1, lambda: 1 // 0], limit=2)
        [1, ZeroDivisionError('integer division or modulo by zero')]
    """

    def guarded(call: Callable[[], Result]) -> Result | Exception:
        try:
            return call()
        except Exception as error:
            if stops(error):
                raise
            return error

    if len(calls) <= 1 or limit == 1:
        return [guarded(call) for call in calls]
    with ThreadPoolExecutor(min(limit, len(calls)), thread_name_prefix="medprm") as pool:
        futures = [pool.submit(copy_context().run, guarded, call) for call in calls]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise


async def in_thread(call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Await a call that blocks, in a thread of its own; when the caller is cancelled, the thread runs to its end.

    Unlike in `asyncio.to_thread`, whose pool is as small as the machine, as many can wait together as one likes.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="medprm")
    try:
        work = partial(copy_context().run, partial(call, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(pool, work)
    finally:
        pool.shutdown(wait=False)


async def arun_all(
    calls: Sequence[Callable[[], Awaitable[Result]]], limit: int, stops: Callable[[Exception], bool] = never
) -> list[Result | Exception]:
    """As `run_all`, in tasks. When the caller is cancelled, so are they."""
    turn = asyncio.Semaphore(limit)

    async def guarded(call: Callable[[], Awaitable[Result]]) -> Result | Exception:
        async with turn:
            try:
                return await call()
            except Exception as error:
                if stops(error):
                    raise
                return error

    tasks = [asyncio.ensure_future(guarded(call)) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
