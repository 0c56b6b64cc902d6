"""Limits on time that another process on the machine cannot break."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within_cpu_seconds(limit: float) -> Iterator[None]:
    """Fail if the block keeps this process busy for longer. For what is linear: quadratic time would be minutes."""
    begun = time.process_time()
    yield
    taken = time.process_time() - begun
    assert taken < limit, f"took {taken:.1f} s of processor time, more than {limit} s"
