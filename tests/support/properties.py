"""How much a property test tries."""

from hypothesis import settings


def examples(count: int) -> int:
    """The number of examples for `max_examples`: `count` by default, ten times as many under `make fuzz`."""
    return count * settings().max_examples // 100
