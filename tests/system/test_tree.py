"""The tree is the design: few entries at the top, a module beside its only user, CONTRIBUTING shows what is there."""

import re

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "medprm_scorer"
ENTRIES = sorted(entry.name for entry in PACKAGE.iterdir() if entry.name != "__pycache__")


def test_the_package_can_be_taken_in_at_a_glance():
    assert len(ENTRIES) <= 25


def test_contributing_shows_every_entry_once():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tree = re.search(r"^medprm_scorer/\n(.*?)^medprm_integrations/", text, re.M | re.S)[1]
    shown = [name for line in tree.splitlines() for name in re.findall(r"^  ([\w.]+)/?(?: |$)", line)]
    ours = [name for name in ENTRIES if (PACKAGE / name).suffix != ".typed" and not name.startswith("__")]
    assert sorted(shown) == ours


def test_a_module_with_one_user_is_beside_it():
    """Or it is where the folder is entered, from the trunk or the command line: else it is a piece of its user."""
    grimp = pytest.importorskip("grimp")
    packages = ("medprm_scorer", "medprm_integrations", "examples", "benchmarks")
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)
    apart = {}
    for module in graph.find_descendants("medprm_scorer"):
        users = graph.find_modules_that_directly_import(module)
        if len(users) == 1:
            (user,) = users
            folder = user.rpartition(".")[0]
            if folder not in (module.rpartition(".")[0], "medprm_scorer", "medprm_scorer.cli"):
                apart[module] = user
    assert apart == {}
