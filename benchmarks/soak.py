"""Many callers at once for a long time: no number may be wrong, and memory must stay flat.

    python -m benchmarks.soak [--minutes 20] [--callers 32] [--url http://127.0.0.1:8000] [--model M]

Half of the callers are threads that call `rank`, half are tasks that call `arank`, of which some are cancelled on the
way. One of the threads is the main one, where some calls are interrupted as by Ctrl-C. Each draws one of many requests,
and asks the model in this process or, with `--url`, the vLLM server, one as often as the other. Every reward is held to
that of the same request when it was asked alone, before. Without `--model` the demo model inside the package scores;
the server must have the same model.
"""

import argparse
import asyncio
import gc
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.kills import requests
from medprm_scorer import MedPRM
from medprm_scorer.results.models import Ranking

LOCAL, REMOTE = "local", "remote"
TOLERANCE = {LOCAL: 1e-5, REMOTE: 0.005}
"""Largest difference from the request sent alone: packed passes in float32, and a server's own batching."""
WARM_UP = 0.25  # the first part of the run, after which memory is to be flat


class Soak:
    """Calls, checks and counts.

    Args:
        scorers: The model in this process and, if there is one, the server, by name.
        asked: Requests.
        seconds: How long.
    """

    def __init__(self, scorers: dict[str, MedPRM], asked: list[dict[str, Any]], seconds: float) -> None:
        self._scorers, self._asked = scorers, asked
        self._alone = {name: [self._rewards(self._rank(name, one)) for one in asked] for name in scorers}
        self._end = time.monotonic() + seconds
        self._counting = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.largest = dict.fromkeys(scorers, 0.0)
        self.faults: list[str] = []

    def thread(self, seed: int) -> None:
        """One caller that is a thread."""
        draw = random.Random(seed)
        while not self._over():
            name, place = self._drawn(draw)
            try:
                self._check(name, place, self._rank(name, self._asked[place]))
            except Exception as error:  # noqa: BLE001 - a caller that dies would hide what it saw
                self.faults.append(f"{name} request {place}: {type(error).__name__}: {error}")

    def interrupted(self, seed: int, each: Callable[[], None]) -> None:
        """One caller in the main thread; every other call is interrupted wherever it is, unless it is quick.

        Args:
            seed: Of what is drawn.
            each: Called after each call.
        """
        draw, armed = random.Random(seed), False

        def strike(*_: object) -> None:
            nonlocal armed
            if armed:
                armed = False
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, strike)
        while not self._over():
            name, place = self._drawn(draw)
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.001, 0.5) if draw.random() < 0.5 else 0)
            try:
                armed = True
                ranking = self._rank(name, self._asked[place])
                armed = False
                self._check(name, place, ranking)
            except KeyboardInterrupt:
                self._count("interrupted")
            except Exception as error:  # noqa: BLE001
                self.faults.append(f"{name} request {place}: {type(error).__name__}: {error}")
            each()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    async def task(self, seed: int) -> None:
        """One caller that is a task; every tenth call is cancelled after a moment."""
        draw = random.Random(seed)
        while not self._over():
            name, place = self._drawn(draw)
            one = self._asked[place]
            call = self._scorers[name].arank(one["question"], one["candidates"], one["documents"])
            patience = draw.uniform(0.0, 0.3) if draw.random() < 0.1 else None
            try:
                self._check(name, place, await asyncio.wait_for(call, patience))
            except asyncio.TimeoutError:
                self._count("cancelled")
            except Exception as error:  # noqa: BLE001
                self.faults.append(f"{name} request {place}: {type(error).__name__}: {error}")

    async def tasks(self, seeds: range) -> None:
        """All the callers that are tasks."""
        await asyncio.gather(*map(self.task, seeds))

    def _over(self) -> bool:
        return time.monotonic() >= self._end or len(self.faults) > 20

    def _drawn(self, draw: random.Random) -> tuple[str, int]:
        return draw.choice(list(self._scorers)), draw.randrange(len(self._asked))

    def _rank(self, name: str, one: dict[str, Any]) -> Ranking:
        return self._scorers[name].rank(one["question"], one["candidates"], one["documents"])

    def _rewards(self, ranking: Ranking) -> dict[int, list[float]]:
        return {chain.index: chain.step_rewards for chain in ranking.chains}

    def _check(self, name: str, place: int, ranking: Ranking) -> None:
        found, right = self._rewards(ranking), self._alone[name][place]
        same = found.keys() == right.keys() and all(len(found[index]) == len(right[index]) for index in right)
        gaps = [abs(a - b) for i in right for a, b in zip(found[i], right[i], strict=True)] if same else [1.0]
        gap = max(gaps, default=0.0)
        with self._counting:
            self.counts[name] += 1
            self.largest[name] = max(self.largest[name], gap)
        if not gap <= TOLERANCE[name]:
            self.faults.append(f"{name} request {place}: rewards differ by {gap:.1e} from those asked alone")

    def _count(self, what: str) -> None:
        with self._counting:
            self.counts[what] += 1


def resident() -> float:
    """MiB of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    """Read the arguments, run, print the figures; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(description="Call one model from many callers for a long time.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--url", help="a vLLM server with the same model, asked as often")
    parser.add_argument("--model", help="default: the demo model")
    options = parser.parse_args()
    scorers = {LOCAL: MedPRM.from_pretrained(options.model, device="cpu", dtype="float32")}
    if options.url:
        scorers[REMOTE] = MedPRM.from_vllm(options.url)
    asked = [one for one in requests(2 * options.requests, 0) if one["candidates"] != [" "]][: options.requests]
    seconds = options.minutes * 60
    soak = Soak(scorers, asked, seconds)
    half = options.callers // 2
    callers = [threading.Thread(target=soak.thread, args=(seed,)) for seed in range(1, half)]
    callers.append(threading.Thread(target=lambda: asyncio.run(soak.tasks(range(half, options.callers)))))
    for caller in callers:
        caller.start()
    before = resident()
    sizes: list[float] = []
    step, begun = max(seconds / 40, 0.5), time.monotonic()

    def note() -> None:
        if time.monotonic() < begun + step * (len(sizes) + 1):
            return
        gc.collect()
        sizes.append(resident())
        print(f"{time.strftime('%H:%M:%S')} {dict(soak.counts)} {sizes[-1]:,.0f} MiB", flush=True)

    soak.interrupted(0, note)
    sizes.append(resident())
    for caller in callers:
        caller.join()
    gc.collect()
    warm = sizes[int(len(sizes) * WARM_UP) : -1] or sizes
    third = max(len(warm) // 3, 1)
    early, late = (sum(part) / len(part) for part in (warm[:third], warm[-third:]))
    print(f"{options.callers} callers, {options.minutes:g} minutes: {dict(soak.counts)}")
    print(f"largest difference from the same request asked alone: {soak.largest}")
    print(f"memory after the warm-up: {early:,.0f} MiB in its first third, {late:,.0f} in its last")
    print(f"memory before the first call {before:,.0f} MiB, after the last {resident():,.0f}")
    for fault in soak.faults[:20]:
        print(f"FAULT {fault}")
    return 1 if soak.faults or not all(soak.counts[name] for name in scorers) else 0


if __name__ == "__main__":
    sys.exit(main())
