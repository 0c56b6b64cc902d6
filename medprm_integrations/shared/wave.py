"""Samples of one question that start together, requested in one call if the language model takes `n`."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

from medprm_integrations.shared.jobs import Job, Value


@dataclass(eq=False, repr=False)
class Wave(Generic[Value]):
    """One call for several samples. The first one needed makes the call, and the others wait for it.

    If the call fails or returns fewer samples than requested, the missing ones are requested one by one, and so are all
    later samples of the question.

    Args:
        job: The question.
        size: How many samples.
        awaited: Whether the job's calls are awaited.
    """

    job: Job[Value]
    size: int
    awaited: bool
    _values: list[Value | Exception] | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _alock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def sample(self, number: int) -> Callable[[], Any]:
        """The call that gets the sample with this number; awaited if the job's own calls are."""
        return partial(self._aget if self.awaited else self._get, number)

    def _get(self, number: int) -> Value:
        with self._lock:
            if self._values is None:
                try:
                    found = self.job.ask_several(self.size)  # type: ignore[misc]
                except Exception as error:  # noqa: BLE001 - the samples are then requested one by one
                    found = error
                self._values = self._taken(found)
            if self._values:
                return _raised(self._values.pop(0))
        self._check_wanted(number)
        return self.job.ask()  # type: ignore[no-any-return]

    async def _aget(self, number: int) -> Value:
        async with self._alock:
            if self._values is None:
                try:
                    found = await self.job.ask_several(self.size)  # type: ignore[misc]
                except Exception as error:  # noqa: BLE001 - the samples are then requested one by one
                    found = error
                self._values = self._taken(found)
            if self._values:
                return _raised(self._values.pop(0))
        self._check_wanted(number)
        return await self.job.ask()  # type: ignore[no-any-return]

    def _taken(self, found: Sequence[Value | Exception] | Exception) -> list[Value | Exception]:
        values = [] if isinstance(found, Exception) else list(found)
        if len(values) < self.size:
            self.job.ask_several = None
        return values

    def _check_wanted(self, number: int) -> None:
        """Do not pay for a sample that is no longer needed: a thread cannot be cancelled."""
        if number not in self.job.drawing.running:
            raise RuntimeError("the sample is no longer needed")


def _raised(value: Value | Exception) -> Value:
    if isinstance(value, Exception):
        raise value
    return value
