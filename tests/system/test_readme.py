"""Everything in the README is true: its Python and its commands run, its files exist, its figures are the card's."""

import json
import re
import shlex

import pytest
import yaml

import medprm_scorer
from examples.formulary.chains import ERROR_KINDS, STAGES
from examples.formulary.experiment import MARKS
from medprm_scorer import cli
from medprm_scorer.local.loading import DEMO_MODEL
from medprm_scorer.text.prompts import RELEASED_MODEL
from tests.support.documents import QUIET, blocks_of, run_command
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
CARD = (DEMO_MODEL / "README.md").read_text()
BLOCKS = blocks_of(README)
COMMANDS = [command for block in BLOCKS if block.kind == "console" for command in block.commands]
FIGURES = r"<!-- figures: written by evaluate.py -->\n(.*?)\n<!-- end of figures -->"


def test_every_block_is_of_a_kind_that_is_tested():
    assert {block.kind for block in BLOCKS} <= {"console", "python"}
    assert README.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("code", [block.text for block in BLOCKS if block.kind == "python"])
def test_python_runs(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_targets_are_there(command):
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("medprm ")])
def test_commands_run(command, tmp_path, monkeypatch):
    """In this process: tests/cli tries what only a process of its own can show."""
    (tmp_path / "request.json").write_bytes((DEMO_MODEL.parent / "formulary_1.json").read_bytes())
    requests = [json.loads(file.read_text()) for file in sorted(DEMO_MODEL.parent.glob("formulary_*.json"))]
    for name in ("samples.jsonl", "requests.jsonl"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, requests)))
    # cannot be downloaded here: with a folder in its place, the same command runs
    command = command.replace(RELEASED_MODEL, shlex.quote(str(DEMO_MODEL)))
    monkeypatch.chdir(tmp_path)
    for name in QUIET:
        monkeypatch.setenv(name, "error")  # which the commands would set for good
    run_command(command)
    words = shlex.split(command)
    if "--html" in words:
        assert "<html" in (tmp_path / words[words.index("--html") + 1]).read_text()
    if "--plot" in words:
        assert (tmp_path / words[words.index("--plot") + 1]).read_bytes().startswith(b"\x89PNG")


def test_there_is_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == medprm_scorer.__version__
    assert (
        re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1] == citation["version"]
    )


def test_every_command_is_tested():
    assert all(command.startswith(("make ", "medprm ")) for command in COMMANDS)


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CONTRIBUTING.md"])
def test_files_that_are_named_are_there(name):
    text = (ROOT / name).read_text()
    named = re.findall(r"`((?:tests|medprm_scorer|examples|benchmarks|docs)/[\w./]+)`", text)
    named += re.findall(r"\]\(([\w./]+)\)", text)
    assert named
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_the_figures_are_those_of_the_model_card():
    summary = re.search(FIGURES, README, flags=re.DOTALL)[1]
    card = re.search(FIGURES, CARD, flags=re.DOTALL)[1]
    cells = re.findall(r"\d+\.\d+ \[[^]]+\]", summary)
    assert len(cells) == 2 * 4 * 3
    assert all(cell in card for cell in cells)


def test_the_weak_point_that_is_named_is_the_cards():
    kind, value = re.search(r"the hardest with documents is the ([a-z ]+) \(AUROC (\d\.\d+)\)", README).groups()
    rows = re.findall(r"^\| (?:\*\*)?([a-z ]+?)(?:\*\*)? \| (\d\.\d+) \[", CARD, flags=re.MULTILINE)
    kinds = {*STAGES, *(kind.replace("_", " ") for kinds in ERROR_KINDS.values() for kind in kinds)}
    in_card = [(float(figure), name) for name, figure in rows if name in kinds]
    assert len(in_card) == 2 * len(kinds)
    assert min(in_card) == (float(value), kind)


def test_the_help_names_every_command_of_the_readme(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        if command.startswith("medprm "):
            assert command.split()[1] in shown


def test_the_experiments_figures_are_those_of_its_results():
    marked = re.search(f"{re.escape(MARKS[0])}\n(.*?)\n{re.escape(MARKS[1])}", README, flags=re.DOTALL)[1]
    results = ROOT / "examples" / "formulary" / "results"
    assert marked.startswith("| % right | n = 1 |")
    assert marked in (results / "README.md").read_text()
    found = json.loads((results / "experiment.json").read_text())
    last = found["documents"]["sizes"][-1]
    cells = {cell["choice"]: cell for cell in found["documents"]["total"]["cells"] if cell["n"] == last}
    assert f"| {100 * cells['majority_vote']['accuracy']['value']:.1f} |" in marked


def test_the_numbers_of_the_speed_table_are_those_of_its_results():
    found = json.loads((ROOT / "benchmarks" / "results" / "speed-300m-cpu.json").read_text())
    by_count = {line["candidates"]: line for line in found["one_question"]}
    rows = {row.split("|")[1].strip(): row for row in README.splitlines() if row.startswith("| ")}
    for count, line in by_count.items():
        cells = [cell.strip() for cell in rows[str(count)].split("|")]
        assert cells[2:7] == [
            f"{line['seconds']:.2f}",
            f"{line['seconds_card']:.1f}",
            f"{line['seconds_padded']:.1f}",
            f"{line['times_card']:.1f}",
            f"{line['times_padded']:.1f}",
        ]
    times = [f"{by_count[count]['times_card']:.1f}" for count in (16, 64)]
    assert f"{times[0]} and {times[1]} times as fast" in README
    assert f"{by_count[64]['peak_bytes'] / 1e6:.0f} MB" in README
