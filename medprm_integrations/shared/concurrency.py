"""Calls whose errors are returned in place of results, and blocking calls that are awaited."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


def never(error: Exception) -> bool:  # noqa: ARG001
    """The default: no error ends everything."""
    return False


def run_each(
    calls: Sequence[Callable[[], Result]], stops: Callable[[Exception], bool] = never
) -> list[Result | Exception]:
    """Run the calls one after the other; a failed one does not affect the others.

    Args:
        calls: The calls to run.
        stops: Recognizes errors that end everything: no further call begins, and the error is raised.

    Returns:
        For each call, in order, its result or its error.

    Raises:
        Exception: The first error that `stops` recognizes.

    Example:
        >>> run_each([lambda: 1, lambda: 1 // 0])
        [1, ZeroDivisionError('integer division or modulo by zero')]
    """
    results: list[Result | Exception] = []
    for call in calls:
        try:
            results.append(call())
        except Exception as error:
            if stops(error):
                raise
            results.append(error)
    return results


async def arun_each(
    calls: Sequence[Callable[[], Awaitable[Result]]], stops: Callable[[Exception], bool] = never
) -> list[Result | Exception]:
    """`run_each`, awaited."""
    results: list[Result | Exception] = []
    for call in calls:
        try:
            results.append(await call())
        except Exception as error:
            if stops(error):
                raise
            results.append(error)
    return results


async def in_thread(call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Await a blocking call in a separate thread; if the caller is cancelled, the thread runs to its end.

    Unlike `asyncio.to_thread`, whose pool depends on the number of cores, any number of calls can wait at the same
    time.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="medprm")
    try:
        work = partial(copy_context().run, partial(call, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(pool, work)
    finally:
        pool.shutdown(wait=False)
