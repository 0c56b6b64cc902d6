"""Warnings that are given once for each object and not at every call."""

from collections.abc import Hashable
from weakref import finalize

_told: set[tuple[int, Hashable]] = set()


def first_time(source: object, about: Hashable) -> bool:
    """Whether nobody asked this before of this object.

    Args:
        source: The object; forgotten when it is gone.
        about: What is to be told of it.

    Example:
        >>> source = lambda: None
        >>> first_time(source, "slow"), first_time(source, "slow"), first_time(source, "loud")
        (True, False, True)
    """
    key = (id(source), about)
    if key in _told:
        return False
    _told.add(key)
    finalize(source, _told.discard, key)
    return True
