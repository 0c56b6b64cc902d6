"""Calls that come together are served together: order, bounds, faults, cancellation, nobody left waiting."""

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from medprm_scorer.errors import ScoringError
from medprm_scorer.local.request_queue import DynamicBatcher


class Server:
    """Doubles numbers, when it is free to, and keeps the batches that it was given."""

    def __init__(self, most=100, **options):
        self.batches: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()
        self.calls = DynamicBatcher(self.serve, size=lambda item: 1, most=lambda: most, **options)

    def serve(self, items):
        assert self.calls.lock.locked()
        self.batches.append(items)
        assert self.free.wait(10)
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]


def wait_until(condition):
    deadline = time.monotonic() + 60  # which only a fault lets pass
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
        wait_until(lambda: len(server.calls._queue) == 8)  # the one that is served, too
        server.free.set()
        assert first.result(60) == [0]
        assert [other.result(60) for other in others] == [[2 * n, 2 * n + 200] for n in range(1, 8)]
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


def test_a_full_batch_does_not_linger(monkeypatch):
    """Its thread is woken by the call that fills the batch, and by nothing else."""
    waits: list[float] = []
    whole = threading.Condition.wait

    def wait(condition, timeout=None):
        waits.append(timeout)
        return whole(condition, timeout)

    server = Server(most=4, linger=600)
    monkeypatch.setattr(threading.Condition, "wait", wait)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("polled"))

    async def main():
        return await asyncio.wait_for(asyncio.gather(*(server.calls.acall([n, n]) for n in range(2))), 60)

    assert asyncio.run(main()) == [[0, 0], [2, 2]]
    assert server.batches == [[0, 0, 1, 1]]
    assert len([timeout for timeout in waits if timeout is not None and timeout > 60]) <= 2


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


def test_an_event_loop_that_is_closed_keeps_nobody_waiting():
    """One of its calls is being served, another waits; neither can be woken any more."""
    server = Server(linger=0)
    server.free.clear()
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(server.calls.acall([1]))]
    while not server.batches:
        loop.run_until_complete(asyncio.sleep(0.001))
    tasks.append(loop.create_task(server.calls.acall([2])))
    loop.run_until_complete(asyncio.sleep(0.001))
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(server.calls.call, [3])
        server.free.set()
        assert other.result(60) == [6]
    assert asyncio.run(asyncio.wait_for(server.calls.acall([4]), 60)) == [8]
    wait_until(lambda: not server.calls._queue)


def test_the_queue_keeps_nothing_that_is_answered():
    server = Server(most=4)

    async def main():
        return await asyncio.gather(*(server.calls.acall([n]) for n in range(20, 70)))

    assert asyncio.run(main()) == [[2 * n] for n in range(20, 70)]
    wait_until(lambda: not server.calls._queue)
    with pytest.raises(ValueError, match="thirteen"):
        server.calls.call([13])
    assert not server.calls._queue


@pytest.mark.parametrize("together", [True, False])
def test_an_interrupted_leader_harms_only_itself(together):
    """Interrupted while it serves a batch, or while it serves the calls of a failed batch one by one."""
    server = Server(linger=0)
    server.free.clear()
    whole, interrupted = server.serve, []

    def serve(items):
        if len(items) > 1 and not together:
            raise RuntimeError("not together")
        answers = whole(items)
        if items != [1] and not interrupted:
            interrupted.append(threading.get_ident())
            raise KeyboardInterrupt
        return answers

    server.calls._serve = serve
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(server.calls.call, [1])
        wait_until(lambda: server.batches)
        others = {n: pool.submit(server.calls.call, [n]) for n in (2, 3, 4)}
        wait_until(lambda: len(server.calls._queue) == 4)
        server.free.set()
        assert first.result(60) == [2]
        faults = {n: other.exception(10) for n, other in others.items()}
        assert [type(fault) for fault in faults.values() if fault] == [KeyboardInterrupt]
        assert all(others[n].result() == [2 * n] for n, fault in faults.items() if not fault)
    assert not server.calls._queue
    assert not server.calls.lock.locked()


def test_a_thread_of_the_queue_that_is_ended_leaves_no_task_waiting():
    server = Server(linger=0)

    def ended(items):
        raise SystemExit

    server.calls._serve = ended
    with pytest.raises(ScoringError, match="interrupted"):
        asyncio.run(asyncio.wait_for(server.calls.acall([1]), 60))
    server.calls._serve = server.serve
    assert asyncio.run(asyncio.wait_for(server.calls.acall([2]), 60)) == [4]


def test_a_storm_of_interrupts_loses_no_call():
    """SIGINT strikes calls of this thread, wherever they are, while other threads and tasks call, too."""
    server, stop, armed = Server(most=5, linger=0), threading.Event(), []
    server.calls._serve = lambda items: [2 * item for item in items]  # an interrupt in `Event.wait` would end the event

    def strike(*_):
        if armed:
            armed.clear()
            raise KeyboardInterrupt

    def send():
        while not stop.wait(0.0005):
            os.kill(os.getpid(), signal.SIGINT)

    def calls(start):
        count = 0
        while not stop.is_set():
            assert server.calls.call([start, start + 1]) == [2 * start, 2 * start + 2]
            count += 1
        return count

    async def tasks():
        count = 0
        while not stop.is_set():
            assert await asyncio.gather(*(server.calls.acall([n]) for n in range(500, 503))) == [[1000], [1002], [1004]]
            count += 1
        return count

    interrupts = 0
    before = signal.signal(signal.SIGINT, strike)
    try:
        with ThreadPoolExecutor(4) as pool:
            others = [pool.submit(calls, 1000), pool.submit(calls, 2000), pool.submit(lambda: asyncio.run(tasks()))]
            pool.submit(send)
            try:
                while interrupts < 100:
                    try:
                        armed.append(1)
                        assert server.calls.call([7]) == [14]
                        armed.clear()
                    except KeyboardInterrupt:
                        interrupts += 1
            finally:
                stop.set()
            assert all(other.result(60) > 0 for other in others)
    finally:
        signal.signal(signal.SIGINT, before)
    assert server.calls.call([7]) == [14]
    wait_until(lambda: not server.calls._queue)
    assert not server.calls.lock.locked()


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
@pytest.mark.parametrize("way", ["call", "acall"])
def test_a_fork_in_the_middle_of_a_batch_serves_its_own_calls(way):
    server = Server(linger=0)
    assert asyncio.run(server.calls.acall([1])) == [2]
    server.free.clear()
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(server.calls.call, [n]) for n in (50, 51)]
        wait_until(lambda: len(server.calls._queue) == 2 and len(server.batches) == 2)
        if (child := os.fork()) == 0:
            server.free = threading.Event()
            server.free.set()
            os._exit((server.calls.call([3]) if way == "call" else asyncio.run(server.calls.acall([3])))[0])
        server.free.set()
        assert [other.result(60) for other in others] == [[100], [102]]
    assert exit_status(child) == 6


def exit_status(child: int, seconds: float = 60) -> int:
    """The exit status of a forked process; it is killed when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])
