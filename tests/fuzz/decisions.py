"""Fuzzed too, what rewards decide: files of calibrations, explanations, searches whose policy writes anything."""

import tempfile
from functools import cache
from pathlib import Path

from medprm_scorer import MedPRM, Trust
from medprm_scorer.search import Continuation, Limits, beam_search, dvts, early_rejection
from medprm_scorer.text.sanitize import clean_text
from tests.fuzz.cut import Cut
from tests.fuzz.tried import tried
from tests.support.example_explanations import make_explanation
from tests.support.judged_rankings import made_up
from tests.support.pages import Page
from tests.support.stub_search import DOCUMENTS, QUESTION, stub_prm

_SEARCHES = (beam_search, dvts, early_rejection)
_FATES = {"extended", "finished", "cut off", "dropped"}
_ACTIVE = {"script", "iframe", "img", "svg", "object", "link", "base", "form", "input"}


def calibration(data: bytes) -> None:
    """A file is a calibration that judges within bounds, or is refused in one line; a saved one is read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trust.json")
        path.write_bytes(data)
        trust = tried(lambda: Trust.load(path))
        if trust is None:
            return
        for ranking, _ in made_up(3, seed=0):
            judged = trust.judge(ranking)
            assert judged.confidence is None or 0 <= judged.confidence <= 1
            assert judged.trusted is False or judged.confidence >= trust.threshold
        trust.save(path)
        assert Trust.load(path) == trust


def explanation(data: bytes) -> None:
    """Documents, steps and answers stay text, on the page and in the terminal."""
    cut = Cut(data)
    steps = [cut.text(60) for _ in range(cut.number(3) + 1)]
    answer = cut.text(10)
    documents = [cut.text(100) for _ in range(cut.number(3))] + [cut.rest()]
    found = make_explanation(documents, steps, answer)
    for page in (found.to_html(), found._repr_html_()):
        assert not _ACTIVE & set(Page(page).tags)
    shown = str(found)
    assert clean_text(shown) == shown
    assert type(found).model_validate_json(found.model_dump_json()) == found


class _Writes:
    """A policy that writes what the bytes say: texts, ends, limits, and now and then one too few."""

    def __init__(self, cut: Cut) -> None:
        self._texts = [cut.text(60) for _ in range(cut.number(4) + 1)]
        self._cut = cut

    def extend(self, question, documents, chains, n):
        return [[self._one() for _ in range(n - (self._cut.number(16) == 1))] for _ in chains]

    def _one(self) -> Continuation:
        text = self._texts[self._cut.number(len(self._texts))]
        what = self._cut.number(8)
        return Continuation(text, finished=what < 3, cut_off=what == 7, tokens=self._cut.number(9) or None)


def search(data: bytes) -> None:
    """A search ends within its limits, with its books in order, or with an error of one line."""
    cut = Cut(data)
    method = _SEARCHES[cut.number(3)]
    numbers = {"n": 5} if method is early_rejection else {"expansions": 2}
    policy = _Writes(cut)
    limits = Limits(max_steps=4, max_calls=20)
    found = tried(lambda: method(policy, _prm(), QUESTION, DOCUMENTS, limits=limits, **numbers))
    if found is None:
        return
    assert found.tree.policy_calls <= 20
    for branch in found.tree.branches:
        assert branch.fate in _FATES
        assert all(0 <= reward <= 1 for reward in branch.rewards)
    assert not _ACTIVE & set(Page(found.to_html(DOCUMENTS)).tags)
    assert type(found).model_validate_json(found.model_dump_json()) == found


@cache
def _prm() -> MedPRM:
    return stub_prm(MedPRM.from_pretrained())
