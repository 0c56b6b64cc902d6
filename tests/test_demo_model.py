"""The model inside the package: small, loads offline, and reads its documents."""

import re

import pytest

from examples.formulary.chains import CITING_STAGES, ERROR_KINDS
from examples.formulary.evaluate import evaluate
from examples.formulary.robustness import measure
from medprm_scorer.local.loading import DEMO_MODEL

CARD = (DEMO_MODEL / "README.md").read_text()


def test_it_is_small_and_safe():
    files = [file for file in DEMO_MODEL.iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 16 * 2**20
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".jinja", ".md"}


def test_its_card_says_what_it_is_not():
    assert "It knows no medicine" in CARD
    assert len(re.findall(r"pairs of names, 500 questions, 16 candidates each", CARD)) == 2


@pytest.fixture(scope="module", params=[pytest.param(names, marks=pytest.mark.slow) for names in ("seen", "reserved")])
def report(request, demo):
    return evaluate(demo, questions=150, names=request.param)  # fewer hold too few rivals of each kind


def test_every_kind_of_step_and_error_is_told(report):
    """The card's figures, on fewer questions: with documents every kind is told; citing steps need their documents."""
    told = report["documents"]["auroc"]
    assert {kind: figure[0] for kind, figure in told.items() if not figure[0] > 0.93} == {}
    assert all(0.35 < report[setting]["auroc"]["citing"][0] < 0.65 for setting in ("withheld", "another's"))
    for kind in (kind for stage in CITING_STAGES for kind in ERROR_KINDS[stage]):
        assert report["documents"]["auroc"][kind][0] > report["withheld"]["auroc"][kind][0] + 0.2
    assert report["documents"]["calibration error"] < 0.03


def test_documents_matter(report):
    citing = {setting: figures["auroc"]["citing"][0] for setting, figures in report.items()}
    assert citing["documents"] - citing["withheld"] > 0.3
    assert citing["documents"] - citing["another's"] > 0.3


def test_choosing_by_rewards_beats_majority_vote(report):
    mean, low, _ = report["documents"]["weighted vote above majority vote"]
    assert low > 0
    assert mean > 0.15


@pytest.mark.slow
def test_the_order_of_documents_and_the_layout_of_chains_do_not_matter(demo):
    """The card's figures, on fewer questions."""
    found = measure(demo, 40)
    winners = {name: sum(change.winners) for name, change in found.items()}
    assert winners["documents in another order"] <= 2
    assert max(winners.values()) <= 4
