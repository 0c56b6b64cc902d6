"""The documentation is true: every block of code runs, every output is what was printed, every public name is there.

`make docs-outputs` (MEDPRM_WRITE_OUTPUTS=1) writes what the pages print into them.
"""

import json
import os
import re

import pytest
import yaml

import medprm_integrations.langchain
import medprm_integrations.llama_index
import medprm_scorer
import medprm_scorer.search
from benchmarks.speed import MARKS
from benchmarks.speed_report import to_markdown
from examples.formulary.evaluate import MARKS as EVALUATE_MARKS
from examples.formulary.evaluate import fill
from medprm_scorer.local.loading import DEMO_MODEL
from tests.support.chat_server import chat_server
from tests.support.documents import (
    KINDS,
    blocks_of,
    files_of_the_quick_start,
    normalised,
    run_document,
    same_output,
    with_outputs,
)
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
REFERENCE = "\n".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
SLOW = {"speed.md", "guides/evaluation.md"}
PACKAGES = [
    medprm_scorer,
    medprm_scorer.search,
    medprm_integrations.langchain,
    medprm_integrations.llama_index,
]


@pytest.fixture(scope="module")
def language_model():
    with chat_server() as url:
        yield url


def in_nav(entry) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [name for one in (entry.values() if isinstance(entry, dict) else entry) for name in in_nav(one)]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, path in PAGES.items()
        if blocks_of(path.read_text())
    ],
)
def test_what_a_page_shows_is_so(name, tmp_path, monkeypatch, language_model):
    path = PAGES[name]
    monkeypatch.setenv("OPENAI_BASE_URL", language_model)  # as its reader sets it
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    if name != "quick-start.md":
        files_of_the_quick_start(tmp_path)
    wrong, outputs = [], {}
    for block, printed in run_document(path, tmp_path, monkeypatch):
        if block.title == "Output":
            outputs[block.line] = printed
            if not same_output(block.text, printed):
                wrong.append(f"{name}:{block.line} shows\n{block.text}\nand this was printed:\n{printed}")
    if wrong and os.environ.get("MEDPRM_WRITE_OUTPUTS"):
        path.write_text(with_outputs(path.read_text(), outputs))
    else:
        assert not wrong, "\n".join([*wrong, "make docs-outputs writes what is printed into the pages"])


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_of_a_kind_that_is_tested(name):
    text = PAGES[name].read_text()
    assert {block.kind for block in blocks_of(text)} <= KINDS
    assert len(re.findall(r"^\s*```", text, flags=re.MULTILINE)) == 2 * len(blocks_of(text)), "a fence that is not read"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_reference_has_every_public_name(package):
    public = {f"{package.__name__}.{name}" for name in package.__all__ if name != "__version__"}
    shown = re.findall(rf"^::: ({re.escape(package.__name__)}\.\w+)$", REFERENCE, flags=re.MULTILINE)
    assert sorted(shown) == sorted(public)


def test_the_contents_have_every_page_once():
    listed = in_nav(SITE["nav"])
    assert sorted(name for name in listed if (DOCS / name).exists()) == sorted(PAGES)
    assert [name for name in listed if not (DOCS / name).exists() and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", [name for name in PAGES if not name.startswith("reference/")])
def test_files_that_a_page_names_are_there(name):
    named = re.findall(r"`((?:tests|medprm_scorer|examples|benchmarks|docs)/[\w./]+)`", PAGES[name].read_text())
    modules = [one.replace(".", "/") for one in re.findall(r"python -m ([\w.]+)", PAGES[name].read_text())]
    named += [one if (ROOT / one).is_dir() else f"{one}.py" for one in modules]
    assert [file for file in named if file != "venv.py" and not (ROOT / file).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_lead_somewhere_in_the_repository_too(name):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", PAGES[name].read_text())
    assert [link for link in links if not (PAGES[name].parent / link).exists()] == []


@pytest.mark.parametrize("shape", ["300m", "8b-2"])
def test_the_speed_is_that_of_its_results(shape, tmp_path):
    found = json.loads((ROOT / "benchmarks" / "results" / f"speed-{shape}-cpu.json").read_text())
    page = tmp_path / "speed.md"
    page.write_text(PAGES["speed.md"].read_text())
    fill(page, to_markdown(found), MARKS[shape])
    assert page.read_text() == PAGES["speed.md"].read_text()
    if shape != "300m":
        return
    by_count = {line["candidates"]: line for line in found["one_question"]}
    times = " and ".join(f"{by_count[count]['times_card']:.1f}" for count in (16, 64))
    assert f"{times} times as fast" in PAGES["results.md"].read_text()
    assert f"{by_count[64]['peak_bytes'] / 1e6:.0f} MB" in PAGES["results.md"].read_text()


def test_the_demo_models_figures_are_those_of_its_card():
    begin, end = map(re.escape, EVALUATE_MARKS)
    summary = re.search(f"{begin}\n(.*?)\n{end}", PAGES["results.md"].read_text(), flags=re.DOTALL)[1]
    card = re.search(f"{begin}\n(.*?)\n{end}", (DEMO_MODEL / "README.md").read_text(), flags=re.DOTALL)[1]
    cells = re.findall(r"\d+\.\d+ \[[^]]+\]", summary)
    assert len(cells) == 2 * 4 * 3
    assert [cell for cell in cells if cell not in card] == []


def test_the_site_loads_nothing_from_elsewhere():
    assert SITE["theme"]["font"] is False
    assert "offline" not in SITE["plugins"]
    assert not [value for value in SITE.get("extra_css", []) + SITE.get("extra_javascript", []) if "//" in value]


def test_outputs_are_compared_by_words_and_by_numbers():
    assert same_output("Reward 0.97\n", "Reward   0.9712 ██\n".replace("0.9712", "0.95"))
    assert not same_output("Reward 0.97\n", "Reward 0.80\n")
    assert not same_output("Reward 0.97\n", "Share 0.97\n")
    assert same_output("answer …\nend", "answer B\nmore\nend")
    assert not same_output("answer …\nend", "answer B\nmore\n")
    assert not same_output("Reward 0.97 of a long…\n", "Reward 0.80 of a long…\n")
    assert normalised("a 1.5\n") == (["a #"], [1.5])


def test_outputs_are_written_where_they_belong():
    text = 'A\n```python\nprint(1)\n```\n```text title="Output"\n2\n```\nB ```text title="Output"\n2\n```\n'
    (line,) = [block.line for block in blocks_of(text) if block.title == "Output"]
    assert with_outputs(text, {line: "1\n"}) == text.replace("2\n", "1\n", 1)
