"""Every error can be copied, pickled, and named anew with its place: what it carries stays."""

import copy
import pickle

import pytest

import medprm_scorer.lazy_imports
from medprm_scorer.errors import DoubtfulAnswerError, MedPRMError, with_message
from medprm_scorer.vllm.client import RefusedError, UnavailableError

CARRY = {
    DoubtfulAnswerError: DoubtfulAnswerError("no", ranking=[1]),
    RefusedError: RefusedError("no", 401),
    UnavailableError: UnavailableError("no", retry_limited=True, pause=2.0),
}


def kinds(kind: type) -> list[type]:
    """The kind and all below it in this package."""
    return [kind, *(one for below in kind.__subclasses__() for one in kinds(below))]


@pytest.mark.parametrize("kind", [one for one in kinds(MedPRMError) if one.__module__.startswith("medprm_scorer")])
def test_what_an_error_carries_stays(kind):
    error = CARRY.get(kind) or kind("no")
    named = with_message(error, "request 3: no")
    assert (type(named), str(named), vars(named)) == (kind, "request 3: no", vars(error))
    for copied in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own
        assert (type(copied), str(copied), vars(copied)) == (kind, "no", vars(error))


def test_all_kinds_are_tried():
    assert medprm_scorer.lazy_imports.MissingPackageError in kinds(MedPRMError)
    assert {RefusedError, UnavailableError} <= set(kinds(MedPRMError))
