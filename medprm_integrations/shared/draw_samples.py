"""Draws the samples of many questions, not in rounds: a call that ends is replaced by the next one, up to a limit.

The scheduling is written once (`_Plan`, a generator that does nothing itself), and is carried out in threads or in
tasks. A question's samples are judged while others still run. As soon as its stopping rule is satisfied, its other
samples are cancelled, and the freed calls go to the next question that needs them. Cancelled tasks are awaited, so that
their connections are closed. A call in a thread cannot be cancelled: it is no longer waited for, its result is ignored,
and its thread ends with it.
"""

import asyncio
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic

from medprm_integrations.shared.concurrency import in_thread, never
from medprm_integrations.shared.evidence import agathered, gathered
from medprm_integrations.shared.jobs import Job, Value
from medprm_integrations.shared.judging import Judging
from medprm_integrations.shared.settings import DEFAULT_CONCURRENCY, SamplingSettings
from medprm_integrations.shared.wave import Wave


@dataclass(eq=False, repr=False)
class _Work(Generic[Value]):
    """Work that takes time: drawing one sample, or judging some.

    Args:
        job: The question.
        call: The function to call; for a sample it is the adapter's, and awaited in tasks.
        number: The sample's number; None for judging, which always blocks.
        release: Called once, when it has ended.
        begun: When it began.
    """

    job: Job[Value]
    call: Callable[[], Any]
    number: int | None
    release: Callable[[], object]
    begun: float = field(default_factory=lambda: time.monotonic())


@dataclass(frozen=True, repr=False)
class _Gather(Generic[Value]):
    """Action: get documents from a user's function."""

    job: Job[Value]


@dataclass(frozen=True, repr=False)
class _Begin(Generic[Value]):
    """Action: begin some work. If it is alone, nothing else can happen before it has ended."""

    works: list[_Work[Value]]
    alone: bool


@dataclass(frozen=True, repr=False)
class _Drop(Generic[Value]):
    """Action: cancel some samples."""

    works: list[_Work[Value]]


@dataclass(frozen=True)
class _Wait:
    """Action: wait until some work has ended, a call for another caller has ended, or so many seconds have passed.

    Answered with the ended work and its results.
    """

    seconds: float | None


_Ended = tuple[_Work[Value], Any]

_LATE = 2.0  # times the duration of the slowest sample so far
_SHORTEST_PATIENCE = 1.0  # seconds


def draw_samples(
    settings: SamplingSettings,
    jobs: Sequence[Job[Value]],
    stops: Callable[[Exception], bool] = never,
    limit: int | None = None,
) -> None:
    """Draw the samples of some questions in threads; a single sample, or with a limit of one, in this thread.

    Args:
        settings: How many samples, and when there are enough.
        jobs: The questions, whose `drawing` receives the samples.
        stops: Errors of a sample that end everything.
        limit: Most calls of the language model at once, where the settings do not say.

    Raises:
        Exception: The first error that `stops` recognizes, or one of the user's own functions.
    """
    inbox: SimpleQueue[_Ended[Value] | None] = SimpleQueue()
    plan = _Plan(settings, jobs, stops, limit, lambda: inbox.put(None), awaited=False)

    def do(work: _Work[Value]) -> None:
        try:
            outcome = work.call()
        except BaseException as error:  # noqa: BLE001 - the plan handles it, in the caller's thread
            outcome = error
        inbox.put((work, outcome))  # before another call starts: the result may show that it is not needed
        work.release()

    def carry_out(step: Any) -> Any:
        if isinstance(step, _Gather):
            return gathered(step.job.evidence, step.job.read)
        if isinstance(step, _Begin):
            for work in step.works:
                if step.alone:
                    do(work)
                else:  # a daemon: the end of the program does not wait for abandoned calls
                    Thread(target=copy_context().run, args=(do, work), name="medprm", daemon=True).start()
        if isinstance(step, _Wait):
            with suppress(Empty):
                return [inbox.get(timeout=step.seconds), *_rest(inbox)]
        return []

    steps = plan.steps()
    try:
        step = _next(steps, None)
        while step is not None:
            step = _next(steps, carry_out(step))
    finally:
        steps.close()


def _next(steps: Generator[Any, Any, None], answer: Any) -> Any:
    """The next step; None if that was the last."""
    try:
        return steps.send(answer)
    except StopIteration:
        return None


def _rest(inbox: "SimpleQueue[_Ended[Value] | None]") -> list[_Ended[Value] | None]:
    """Everything else that is already in the inbox."""
    found = []
    with suppress(Empty):
        while True:
            found.append(inbox.get_nowait())
    return found


async def adraw_samples(
    settings: SamplingSettings,
    jobs: Sequence[Job[Value]],
    stops: Callable[[Exception], bool] = never,
    limit: int | None = None,
) -> None:
    """`draw_samples` in tasks. If the caller is cancelled, so are they."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    inbox: list[_Ended[Value]] = []
    tasks: dict[_Work[Value], asyncio.Future[Any]] = {}

    def wake() -> None:
        with suppress(RuntimeError):  # the event loop of a waiting caller was closed
            loop.call_soon_threadsafe(ready.set)

    async def do(work: _Work[Value]) -> None:
        try:
            outcome = await (in_thread(work.call) if work.number is None else work.call())
        except Exception as error:  # noqa: BLE001 - the plan handles it
            outcome = error
        inbox.append((work, outcome))

    def ended(work: _Work[Value], task: "asyncio.Future[Any]") -> None:
        work.release()
        tasks.pop(work, None)
        if task.cancelled():  # not by the plan, unless it has dropped it
            inbox.append((work, RuntimeError("the sample was cancelled")))
        ready.set()

    async def drop(works: Sequence[_Work[Value]]) -> None:
        dropped = [tasks[work] for work in works if work in tasks]
        for task in dropped:
            task.cancel()
        await asyncio.gather(*dropped, return_exceptions=True)

    async def carry_out(step: Any) -> Any:
        if isinstance(step, _Gather):
            return await agathered(step.job.evidence, step.job.read)
        if isinstance(step, _Begin):
            for work in step.works:
                tasks[work] = task = asyncio.ensure_future(do(work))
                task.add_done_callback(partial(ended, work))
        if isinstance(step, _Drop):
            await drop(step.works)
        if isinstance(step, _Wait):
            with suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(ready.wait(), step.seconds)
            ready.clear()
            found = list(inbox)
            inbox.clear()
            return found
        return []

    steps = _Plan(settings, jobs, stops, limit, wake, awaited=True).steps()
    try:
        step = _next(steps, None)
        while step is not None:
            step = _next(steps, await carry_out(step))
    finally:
        steps.close()
        await drop(list(tasks))


class _Plan(Generic[Value]):
    """Decides the next action, and handles the results.

    Args:
        settings: How many samples, and when there are enough.
        jobs: The questions, in the order in which they are served.
        stops: Errors of a sample that end everything.
        limit: Most calls of the language model at once, where the settings do not say.
        wake: Ends a wait, from any thread.
        awaited: Whether samples are awaited.
    """

    def __init__(
        self,
        settings: SamplingSettings,
        jobs: Sequence[Job[Value]],
        stops: Callable[[Exception], bool],
        limit: int | None,
        wake: Callable[[], object],
        *,
        awaited: bool,
    ) -> None:
        self._settings, self._stops, self._wake, self._awaited = settings, stops, wake, awaited
        self._limit = settings.max_concurrency or limit or DEFAULT_CONCURRENCY
        self._judgings = {id(job): Judging(settings, job) for job in jobs}
        self._open = list(self._judgings.values())
        self._running: set[_Work[Value]] = set()
        self._failed: list[_Work[Value]] = []
        self._longest: dict[int, float] = {}  # seconds of a sample, by job
        self._begun: dict[int, float] = {}
        self._deadline = None if settings.deadline is None else time.monotonic() + settings.deadline

    def steps(self) -> Generator[Any, Any, None]:
        """The actions, one after the other; each is answered with its result."""
        try:
            while True:
                works, blocked = yield from self._next_samples()
                works += yield from self._next_judging()
                if works:
                    timed = self._deadline is not None or self._settings.timeout is not None
                    alone = len(works) == 1 and not self._running and not timed and (not blocked or self._limit == 1)
                    self._running.update(works)
                    yield _Begin(works, alone)
                elif not self._running and not blocked:
                    return
                for ended in (yield _Wait(self._seconds())):
                    if ended is not None and ended[0] in self._running:
                        self._running.discard(ended[0])
                        self._take_in(*ended)
                self._expire()
                gone = [work for work in self._running if work.number is not None and work.job.drawing.stopped]
                self._running.difference_update(gone)
                if gone or self._failed:
                    yield _Drop(gone + self._failed)
                self._failed.clear()
                self._open = [judging for judging in self._open if not judging.is_done()]
        finally:
            self._settings.calls_in_flight.forget(self._wake)
            for judging in self._judgings.values():
                judging.close()

    def _next_samples(self) -> Generator[Any, Any, tuple[list[_Work[Value]], bool]]:
        """The samples to request now, and whether some must wait for calls that run elsewhere."""
        works: list[_Work[Value]] = []
        for judging in self._open:
            job, drawing, first = judging.job, judging.job.drawing, len(works)
            blocked = False
            while drawing.needed():
                if job.given is None and not (drawing.probe and not drawing.finished):
                    # before samples are paid for, but after one that may call tools: a failing function then costs only
                    # that one sample, and a turn that calls tools needs no evidence
                    job.given = yield _Gather(job)
                if not self._settings.calls_in_flight.take(self._limit, self._wake):
                    blocked = True
                    break
                works.append(_Work(job, job.ask, drawing.start(), self._settings.calls_in_flight.release))
                self._begun.setdefault(id(job), works[-1].begun)
            _join(works[first:], awaited=self._awaited)
            if blocked:
                return works, True
        return works, False

    def _next_judging(self) -> Generator[Any, Any, list[_Work[Value]]]:
        """The samples to judge now."""
        works: list[_Work[Value]] = []
        for judging in self._open:
            if not judging.job.drawing.started:
                break  # so are those after it
            if judging.is_due():
                if judging.job.given is None:
                    judging.job.given = yield _Gather(judging.job)
                works.append(_Work(judging.job, judging.begin(), None, lambda: None))
        return works

    def _take_in(self, work: _Work[Value], outcome: Any) -> None:
        """Handle work that has ended.

        Raises:
            BaseException: An error that ends everything.
        """
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
        judging = self._judgings[id(work.job)]
        if work.number is None:
            judging.take_in(outcome)
        else:
            if isinstance(outcome, Exception) and self._stops(outcome):
                raise outcome
            judging.add(work.number, outcome)
            longest = self._longest.get(id(work.job), 0.0)
            self._longest[id(work.job)] = max(longest, time.monotonic() - work.begun)
        if work.job.drawing.stopped is not None:
            self._note_end(work.job)

    def _seconds(self) -> float | None:
        """How long to wait at most."""
        times = [when for work in self._running if (when := self._patience(work)) is not None]
        if self._deadline is not None and any(one.job.drawing.stopped is None for one in self._open):
            times.append(self._deadline)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _expire(self) -> None:
        """Fail the samples that took too long, start others for those that are late, and check the deadline."""
        now = time.monotonic()
        for work in [work for work in self._running if (self._patience(work) or math.inf) <= now]:
            if self._settings.timeout is not None and work.begun + self._settings.timeout <= now:
                self._running.discard(work)
                self._failed.append(work)
                self._take_in(work, TimeoutError(f"the sample took longer than {self._settings.timeout:g} s"))
            elif work.number is not None:
                work.job.drawing.late.add(work.number)
        if self._deadline is not None and self._deadline <= now:
            for judging in self._open:
                judging.job.drawing.end("deadline")
                self._note_end(judging.job)

    def _patience(self, work: _Work[Value]) -> float | None:
        """When running work needs attention; None for never.

        A sample fails after the user's `timeout`. If only a few are still missing, one that takes twice as long as any
        before is late, and another is requested in addition.
        """
        if work.number is None:
            return None
        drawing, limits = work.job.drawing, []
        if self._settings.timeout is not None:
            limits.append(self._settings.timeout)
        if drawing.stop is not None and work.number not in drawing.late and id(work.job) in self._longest:
            limits.append(max(_LATE * self._longest[id(work.job)], _SHORTEST_PATIENCE))
        return work.begun + min(limits) if limits else None

    def _note_end(self, job: Job[Value]) -> None:
        if id(job) in self._begun:
            job.seconds = time.monotonic() - self._begun.pop(id(job))


def _join(works: Sequence[_Work[Value]], *, awaited: bool) -> None:
    """Get samples of one question that begin together from one call, if possible."""
    if len(works) < 2 or works[0].job.ask_several is None:
        return
    wave = Wave(works[0].job, len(works), awaited)
    for work in works:
        assert work.number is not None
        work.call, work.begun = wave.sample(work.number), works[0].begun  # they become late together
