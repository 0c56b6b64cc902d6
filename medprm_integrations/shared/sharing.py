"""What happens to a `MedPRM` when an object that holds it is copied or pickled: it is shared, never copied.

A copy, shallow or deep, holds the same `MedPRM`. A pickle holds only a key: where it is read in the same process, or in
one that was forked from it, that is the same `MedPRM` again; elsewhere there is a `Absent` in its place, which says
so when it is used. A pickle with the weights in it would be gigabytes, and loading it would run code.
"""

import copyreg
import os
from typing import Any, NoReturn
from uuid import uuid4
from weakref import WeakValueDictionary

from medprm_scorer.errors import ModelError
from medprm_scorer.scorer import MedPRM

_here: "WeakValueDictionary[str, MedPRM]" = WeakValueDictionary()


class Absent:
    """Stands for a `MedPRM` that lives in another process."""

    def __repr__(self) -> str:
        return "Absent()"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # copy, pickle and pydantic look for these
            raise AttributeError(name)
        raise ModelError(
            "this object comes from a pickle of another process, and a pickle does not hold the reward model: "
            "set its prm again, such as to MedPRM.from_pretrained()"
        )


def share() -> None:
    """Make copies and pickles of every `MedPRM` share it. Calling it again changes nothing."""
    copyreg.pickle(MedPRM, _reduce)


def _reduce(prm: MedPRM) -> tuple[Any, tuple[str]]:
    for key, known in list(_here.items()):
        if known is prm:
            return _restore, (key,)
    key = f"{os.getpid()}-{uuid4()}"
    _here[key] = prm
    return _restore, (key,)


def _restore(key: str) -> "MedPRM | Absent":
    return _here.get(key) or Absent()
