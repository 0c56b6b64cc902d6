"""Deep copies: they share the language model and the callbacks, which hold connections and cannot be copied."""

from typing import Any


def sharing(memo: dict[int, Any] | None, *objects: object) -> dict[int, Any]:
    """What to give to `deepcopy` so that these objects are shared and not copied.

    Args:
        memo: What `__deepcopy__` was given.
        objects: The objects.

    Example:
        >>> from copy import deepcopy
        >>> shared, other = [1], [2]
        >>> again = deepcopy([shared, other], sharing(None, shared))
        >>> again[0] is shared, again[1] is other
        (True, False)
    """
    memo = {} if memo is None else memo
    memo.update({id(one): one for one in objects})
    return memo
