"""Every line of SECURITY.md names a guard and a test that exist; where there is none, it says so or names a command."""

import ast
import re

import pytest

from tests.fuzz.targets import TARGETS
from tests.support.paths import ROOT

TEXT = (ROOT / "SECURITY.md").read_text()
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| what an attacker")
]


def functions(path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_the_table_is_read_whole():
    assert len(ROWS) >= 20
    assert {len(row) for row in ROWS} == {5}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:40])
def test_what_a_line_names_exists(row):
    _, _, guard, where, shown = row
    modules = re.findall(r"`([^`]+)`", where)
    assert all((ROOT / module).is_file() and module.startswith("medprm_scorer/") for module in modules), modules
    tests = re.findall(r"`((?:tests|\.ci)/[^`]+)`", shown)
    for named in tests:
        file, _, test = named.partition("::")
        assert (ROOT / file).is_file(), named
        assert not test or test in functions(ROOT / file), named
    fuzzed = [name for words in re.findall(r"fuzz targets? ([^,|]+)", shown) for name in re.findall(r"`(\w+)`", words)]
    assert set(fuzzed) <= set(TARGETS)
    if modules:
        assert tests
    else:
        assert "**" in guard or "`make " in guard


def test_a_test_that_is_not_there_would_be_seen():
    row = ["", "", "a guard", "`medprm_scorer/errors.py`", "`tests/system/test_tree.py::test_of_nothing`"]
    with pytest.raises(AssertionError, match="test_of_nothing"):
        test_what_a_line_names_exists(row)
