"""Calls that come together are served together: order, bounds, faults, cancellation, nobody left waiting."""

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from medprm_scorer.errors import ScoringError
from medprm_scorer.local.request_queue import Coalescer


class Server:
    """Doubles numbers, slowly if told so, and keeps the batches that it was given."""

    def __init__(self, most=100, **options):
        self.batches: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()
        self.lock = threading.Lock()
        self.calls = Coalescer(self.serve, self.lock, size=lambda item: 1, most=lambda: most, **options)

    def serve(self, items):
        assert self.lock.locked()
        self.batches.append(items)
        assert self.free.wait(10)
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_lone_call_waits_for_nobody():
    server = Server(linger=30)
    assert server.calls.call([1, 2]) == [2, 4]
    assert server.calls.call([]) == []
    assert server.batches == [[1, 2], []]


def test_calls_from_threads_that_wait_are_served_together_and_within_the_bound():
    server = Server(most=5)
    server.free.clear()
    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(server.calls.call, [0])
        wait_until(lambda: server.batches == [[0]])
        others = [pool.submit(server.calls.call, [n, n + 100]) for n in range(1, 8)]
        wait_until(lambda: len(server.calls._queue) == 7)
        server.free.set()
        assert first.result(10) == [0]
        assert [other.result(10) for other in others] == [[2 * n, 2 * n + 200] for n in range(1, 8)]
    assert sorted(len(batch) for batch in server.batches[1:]) == [2, 4, 4, 4]
    assert sorted(item for batch in server.batches for item in batch) == sorted(
        [0, *range(1, 8), *range(101, 108)]
    )  # each once


def test_a_call_larger_than_a_batch_is_served_alone():
    server = Server(most=3)
    assert server.calls.call(list(range(10))) == [2 * n for n in range(10)]
    assert server.batches == [list(range(10))]


def test_tasks_that_come_together_make_one_batch():
    server = Server(linger=0.2)

    async def main():
        return await asyncio.gather(*(server.calls.acall([n]) for n in range(20, 40)))

    assert asyncio.run(main()) == [[2 * n] for n in range(20, 40)]
    assert len(server.batches) <= 2


def test_a_full_batch_does_not_linger():
    server = Server(most=4, linger=30)

    async def main():
        return await asyncio.wait_for(asyncio.gather(*(server.calls.acall([n, n]) for n in range(2))), 10)

    assert asyncio.run(main()) == [[0, 0], [2, 2]]


def test_the_fault_of_one_call_is_its_own():
    server = Server(linger=0.2)

    async def main():
        return await asyncio.gather(*(server.calls.acall([n]) for n in (1, 13, 2)), return_exceptions=True)

    one, fault, two = asyncio.run(main())
    assert (one, two) == ([2], [4])
    assert isinstance(fault, ValueError)
    with pytest.raises(ValueError, match="thirteen"):
        server.calls.call([13])
    assert server.calls.call([3]) == [6]


def test_a_cancelled_call_is_not_served_and_harms_nobody():
    server = Server()
    server.free.clear()

    async def main():
        first = asyncio.create_task(server.calls.acall([1]))
        while not server.batches:
            await asyncio.sleep(0.001)
        waiting = [asyncio.create_task(server.calls.acall([n])) for n in (2, 3, 4)]
        await asyncio.sleep(0.01)
        waiting[1].cancel()
        first.cancel()  # it is being served: its answer is thrown away
        await asyncio.sleep(0.01)
        server.free.set()
        return await asyncio.gather(first, *waiting, return_exceptions=True)

    first, two, three, four = asyncio.run(main())
    assert (two, four) == ([4], [8])
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(three, asyncio.CancelledError)
    assert 3 not in [item for batch in server.batches for item in batch]
    assert server.calls.call([5]) == [10]


def test_the_queue_is_bounded_and_drains():
    server = Server(waiting=4)
    server.free.clear()

    async def main():
        tasks = [asyncio.create_task(server.calls.acall([n])) for n in range(20, 70)]
        await asyncio.sleep(0.05)
        longest = len(server.calls._queue)
        server.free.set()
        return longest, await asyncio.gather(*tasks)

    longest, answers = asyncio.run(main())
    assert longest <= 4
    assert answers == [[2 * n] for n in range(20, 70)]


def test_an_interrupted_server_leaves_nobody_waiting():
    server = Server()
    server.free.clear()
    whole = server.serve

    def interrupted(items):
        whole(items)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(server.calls.call, [1])
        wait_until(lambda: server.batches)
        server.calls._serve = interrupted
        others = [pool.submit(server.calls.call, [n]) for n in (2, 3)]
        wait_until(lambda: len(server.calls._queue) == 2)
        server.free.set()
        assert first.result(10) == [2]
        faults = [type(other.exception(10)) for other in others]
    assert sorted(fault.__name__ for fault in faults) == ["KeyboardInterrupt", "ScoringError"]
    assert ScoringError in faults


def test_many_threads_and_tasks_at_once():
    server = Server(most=7)

    async def tasks(start):
        return await asyncio.gather(*(server.calls.acall([n]) for n in range(start, start + 40)))

    with ThreadPoolExecutor(16) as pool:
        loops = [pool.submit(lambda start=start: asyncio.run(tasks(start))) for start in (1000, 2000)]
        calls = [pool.submit(server.calls.call, [n]) for n in range(200, 300)]
        assert [call.result(20) for call in calls] == [[2 * n] for n in range(200, 300)]
        assert [loop.result(20) for loop in loops] == [[[2 * n] for n in range(s, s + 40)] for s in (1000, 2000)]
    assert all(len(batch) <= 7 for batch in server.batches)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_serves_its_own_calls():
    queue = Coalescer(lambda items: [2 * item for item in items], threading.Lock(), size=int, most=lambda: 9)
    assert asyncio.run(queue.acall([1])) == [2]
    with queue._lock:  # a fork in the middle of a batch would inherit the closed lock
        time.sleep(0.05)
    if (child := os.fork()) == 0:
        os._exit(asyncio.run(queue.acall([3]))[0])
    deadline = time.monotonic() + 30
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 6
