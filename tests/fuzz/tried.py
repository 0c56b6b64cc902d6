"""What an input is allowed to do: to be taken, or to be refused by an error of ours in one line."""

from collections.abc import Callable
from typing import TypeVar

from medprm_scorer.errors import MedPRMError

T = TypeVar("T")


def tried(work: Callable[[], T]) -> T | None:
    """What the work gives; None if it refuses its input as it should."""
    try:
        return work()
    except MedPRMError as error:
        if "\n" in str(error):
            raise AssertionError("an error of more than one line") from error
        return None
