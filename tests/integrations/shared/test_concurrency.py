"""Calls that run together: in order, bounded, with the caller's context, cancelled with the caller."""

import asyncio
import contextvars
import threading
import time

import pytest

from medprm_integrations.shared.concurrency import arun_all, in_thread, run_all

variable = contextvars.ContextVar("variable", default="unset")


def test_calls_run_together_in_order_and_with_the_callers_context():
    variable.set("set")
    now, most, lock, together = 0, 0, threading.Lock(), threading.Barrier(3, timeout=60)

    def work(place):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if place < 3:
            together.wait()  # for the other two, which therefore run at the same time
        with lock:
            now -= 1
        if place == 2:
            raise ValueError(place)
        return place, variable.get()

    results = run_all([lambda place=place: work(place) for place in range(8)], limit=3)
    assert [r for r in results if not isinstance(r, Exception)] == [(p, "set") for p in range(8) if p != 2]
    assert isinstance(results[2], ValueError)
    assert most == 3
    assert run_all([], limit=3) == []
    assert asyncio.run(arun_all([], limit=3)) == []


def test_tasks_are_bounded_too():
    now, most = 0, 0

    async def work():
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return 1

    assert asyncio.run(arun_all([work] * 8, limit=3)) == [1] * 8
    assert most == 3


def test_an_error_that_stops_is_raised_and_the_rest_is_not_begun():
    begun = []

    stopped = threading.Event()

    def work(place):
        begun.append(place)
        if place == 0:
            stopped.set()
            raise KeyError
        stopped.wait(60)
        time.sleep(0.05)

    calls = [lambda place=place: work(place) for place in range(50)]
    with pytest.raises(KeyError):
        run_all(calls, limit=2, stops=lambda error: isinstance(error, KeyError))
    assert len(begun) < 10

    async def awork(place):
        begun.append(place)
        await asyncio.sleep(0 if place == 0 else 30)
        raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(arun_all([lambda place=place: awork(place) for place in range(9)], 9, lambda error: True))


def test_cancelling_the_caller_cancels_the_calls():
    ended = []

    async def work():
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(1)

    async def main():
        task = asyncio.create_task(arun_all([work] * 4, limit=2))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == [1, 1]  # the other two never began


def test_calls_that_block_wait_together_and_keep_the_context():
    variable.set("set")

    together = threading.Barrier(24, timeout=60)

    def work(place, *, twice):
        together.wait()  # for all the others
        return place * twice, variable.get()

    async def main():
        return await asyncio.gather(*(in_thread(work, place, twice=2) for place in range(24)))

    assert asyncio.run(main()) == [(2 * place, "set") for place in range(24)]
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(lambda: 1 // 0))
