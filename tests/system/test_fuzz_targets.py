"""The fuzz targets hold on their seeds, on bytes of hypothesis, and would tell if something broke."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.targets import TARGETS
from tests.support.paths import ROOT

SEEDS = sorted((ROOT / "tests" / "fuzz" / "seeds").glob("*/*"))


def test_every_target_has_seeds_and_they_are_small():
    assert {seed.parent.name for seed in SEEDS} == set(TARGETS)
    assert sum(seed.stat().st_size for seed in SEEDS) < 100_000


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{seed.parent.name}/{seed.name}")
def test_seeds_hold(seed):
    TARGETS[seed.parent.name](seed.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_hold(name):
    @given(st.binary(max_size=200))
    def holds(data):
        TARGETS[name](data)

    holds()


def test_a_lost_text_is_a_finding(monkeypatch):
    whole = targets.split_steps
    monkeypatch.setattr(targets, "split_steps", lambda chain, *rule: whole(chain[:-1], *rule))
    with pytest.raises(AssertionError):
        targets.text(b"Step 1: Fever.")


def test_markup_from_outside_is_a_finding(monkeypatch):
    whole = targets.to_html
    monkeypatch.setattr(targets, "to_html", lambda ranking, *documents: whole(ranking) + ranking.question)
    with pytest.raises((AssertionError, IndexError)):  # elements that are not ours, or that do not nest
        targets.report((ROOT / "tests" / "fuzz/seeds/report/one").read_bytes())


def test_another_error_than_ours_is_a_finding(monkeypatch):
    def fails(path):
        raise KeyError(path)

    monkeypatch.setattr(targets, "read_request", fails)
    with pytest.raises(KeyError):
        targets.files((ROOT / "tests" / "fuzz/seeds/files/request").read_bytes())
