"""Limits on the cost of a search."""

import math
from dataclasses import dataclass

from medprm_scorer.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Limits on the cost of a search. When one is reached, the finished chains are ranked.

    Args:
        max_tokens: Tokens that the policy may generate: the call that reaches it is the last. None for no limit.
        max_calls: How often the policy may be asked; None for no limit.
        max_steps: Most steps of a chain; a chain that is unfinished by then is cut off.
        timeout: Seconds after which the policy is not asked again; None for no limit.

    Raises:
        InputError: A limit is not a positive number.
    """

    max_tokens: int | None = None
    max_calls: int | None = None
    max_steps: int = 16
    timeout: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_calls", "max_steps"):
            value = getattr(self, name)
            if value is None and name != "max_steps":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1")
        number = isinstance(self.timeout, int | float) and not isinstance(self.timeout, bool)
        if self.timeout is not None and not (number and 0 < self.timeout < math.inf):
            raise InputError("timeout must be a positive number of seconds, or None")

    def reached(self, tokens: int, calls: int, seconds: float) -> str | None:
        """The limit that is reached, in a few words; None if none is.

        Args:
            tokens: Tokens generated so far.
            calls: Calls of the policy so far.
            seconds: Seconds since the search began.

        Example:
            >>> Limits(max_calls=3).reached(100, 3, 0.5), Limits(max_calls=3).reached(100, 2, 0.5)
            ('the budget of 3 calls was spent', None)
        """
        if self.max_tokens is not None and tokens >= self.max_tokens:
            return f"the budget of {self.max_tokens} tokens was spent"
        if self.max_calls is not None and calls >= self.max_calls:
            return f"the budget of {self.max_calls} calls was spent"
        if self.timeout is not None and seconds >= self.timeout:
            return f"the time of {self.timeout:g} s was over"
        return None
