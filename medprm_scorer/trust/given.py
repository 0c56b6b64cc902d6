"""The values that `trust=` accepts."""

from pathlib import Path

from medprm_scorer.errors import InputError
from medprm_scorer.trust.floors import Floors
from medprm_scorer.trust.trust import Trust

GivenTrust = Trust | Floors | str | Path | None
"""A calibration, the path of its file, floors, or nothing."""


def given_trust(trust: GivenTrust) -> Trust | Floors | None:
    """The value of `trust=`; a path is read.

    Raises:
        InputError: It is something else, or the file is not a trust file.

    Example:
        >>> given_trust(0.9)
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: trust must be a Trust, the path of its file, or Floors, not float
    """
    if isinstance(trust, str | Path):
        return Trust.load(trust)
    if trust is None or isinstance(trust, Trust | Floors):
        return trust
    raise InputError(f"trust must be a Trust, the path of its file, or Floors, not {type(trust).__name__}")
