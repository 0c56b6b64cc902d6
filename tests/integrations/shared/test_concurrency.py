"""Calls whose errors take the place of their results, and calls that block together with the caller's context."""

import asyncio
import contextvars
import threading

import pytest

from medprm_integrations.shared.concurrency import arun_each, in_thread, run_each

variable = contextvars.ContextVar("variable", default="unset")


def both(calls, *more):
    """What both ways give, which must be the same."""

    def awaited(call):
        async def run():
            return call()

        return run

    found = run_each(calls, *more)
    also = asyncio.run(arun_each([awaited(call) for call in calls], *more))
    assert list(map(repr, also)) == list(map(repr, found))
    return found


def test_an_error_takes_the_place_of_a_result():
    first, second, third = both([lambda: 1, lambda: 1 // 0, lambda: 3])
    assert (first, third) == (1, 3)
    assert isinstance(second, ZeroDivisionError)
    assert both([]) == []


def test_an_error_that_stops_is_raised_and_the_rest_is_not_begun():
    begun = []

    def work(place):
        begun.append(place)
        if place == 2:
            raise KeyError
        raise ValueError

    async def awork(place):
        work(place)

    def stops(error):
        return isinstance(error, KeyError)

    with pytest.raises(KeyError):
        run_each([lambda place=place: work(place) for place in range(9)], stops)
    with pytest.raises(KeyError):
        asyncio.run(arun_each([lambda place=place: awork(place) for place in range(9)], stops))
    assert begun == [0, 1, 2, 0, 1, 2]


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
