"""Everything in the README is true: its Python and its commands run, its files exist, its figures are their pages'."""

import re

import pytest
import yaml

import medprm_scorer
from docs import readme_figures
from tests.support.documents import blocks_of, run_document
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = blocks_of(README)
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_every_block_is_of_a_kind_that_is_tested():
    assert {block.kind for block in BLOCKS} == {"console", "python"}
    assert README.count("```") == 2 * len(BLOCKS)


def test_what_it_shows_runs(tmp_path, monkeypatch):
    printed = [out for block, out in run_document(ROOT / "README.md", tmp_path, monkeypatch) if block.kind == "python"]
    assert len(printed) == 3
    assert "Answer: A" in printed[0]
    assert "The answer is 5 mg per kg.\n" in printed[1]
    assert "Not trusted: too few chains" in printed[1]
    assert printed[2].strip() == "I am not sure. Please ask a pharmacist."


def test_it_can_be_read_in_five_minutes():
    assert len(README.splitlines()) <= 135
    assert len(re.sub(r"```.*?```", "", README, flags=re.DOTALL).split()) < 1200


def test_the_figures_are_those_of_their_pages():
    marked = README.split(readme_figures.MARKS[0])[1].split(readme_figures.MARKS[1])[0]
    assert marked.strip() == readme_figures.figures(), "python -m docs.readme_figures writes them"


def test_a_figure_that_is_nowhere_is_an_error():
    page = "| n | right |\n|---|---|\n| 1 | 50 % |\n| 1 | 60 % |"
    assert readme_figures.row_of(page, "1") == ["1", "50 %"]
    with pytest.raises(LookupError, match="no row begins with"):
        readme_figures.row_of(page, "2")


def test_there_is_one_version():
    assert CITATION["version"] == medprm_scorer.__version__
    assert (
        re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1] == CITATION["version"]
    )


def test_the_citations_are_those_of_the_file():
    (paper,) = CITATION["references"]
    (entries,) = [block.text for block in blocks_of((ROOT / "docs" / "index.md").read_text()) if block.kind == "bibtex"]
    first = paper["authors"][0]
    for part in (paper["title"], paper["collection-title"], f"{paper['start']}--{paper['end']}", str(paper["year"])):
        assert part in entries
    assert f"author = {{{first['family-names']}, {first['given-names']} and " in entries
    assert f"title = {{{CITATION['title']}}}, " in entries
    assert f"version = {{{CITATION['version']}}}" in entries
    assert paper["identifiers"][0]["value"].removeprefix("arXiv:") in README


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CONTRIBUTING.md"])
def test_files_that_are_named_are_there(name):
    text = (ROOT / name).read_text()
    named = re.findall(r"[` ]((?:tests|medprm_scorer|examples|benchmarks|docs)/[\w./]+)`", text)
    named += re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    named += [f"{module.replace('.', '/')}.py" for module in re.findall(r"`python -m ([\w.]+)", text)]
    assert named
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_headings_that_are_linked_are_there():
    for file, heading in re.findall(r"\]\(([\w./-]+)#([\w-]+)\)", README):
        headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), flags=re.MULTILINE)
        assert heading in [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]
