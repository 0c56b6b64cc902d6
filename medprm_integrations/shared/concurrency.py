"""Calls whose errors take the place of their results, and calls that block, awaited."""

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


def run_each(
    calls: Sequence[Callable[[], Result]], stops: Callable[[Exception], bool] = never
) -> list[Result | Exception]:
    """Run the calls one after the other; what fails does not end the others.

    Args:
        calls: What to run.
        stops: Errors that end everything: no further call begins, and the error is raised.

    Returns:
        For each call, in order, its result or its error.

    Raises:
        Exception: The first error that `stops` picks out.

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
    """Await a call that blocks, in a thread of its own; when the caller is cancelled, the thread runs to its end.

    Unlike in `asyncio.to_thread`, whose pool is as small as the machine, as many can wait together as one likes.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="medprm")
    try:
        work = partial(copy_context().run, partial(call, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(pool, work)
    finally:
        pool.shutdown(wait=False)
