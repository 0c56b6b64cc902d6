"""What a document shows is done: its Python and its commands run, its files are written, what it prints is compared.

A block's title says what to do with it, and the reader sees the same title:

- a file's name: the reader saves the block under it;
- `Output`: what the block before it prints, numbers to within `TOLERANCE`; a `…` that was not printed is for anything;
- `Needs …` (a GPU, the released weights): Python is only compiled, and commands are only parsed.
"""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from medprm_scorer.cli.app import app, main
from tests.support.paths import ROOT

TOLERANCE = 0.05
KINDS = {"python", "console", "json", "text", "bibtex"}
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"-?\d+\.\d+")
_TIMES_AND_BARS = re.compile(r"\b\d+\.\d+ s\b|[█▉▊▋▌▍▎▏░]+")
QUIET = ("TRANSFORMERS_VERBOSITY", "TRANSFORMERS_NO_ADVISORY_WARNINGS", "HF_HUB_DISABLE_PROGRESS_BARS")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        kind: Its language.
        title: Its title, or "".
        text: What is between the fences.
        line: The line of its first fence.
    """

    kind: str
    title: str
    text: str
    line: int

    @property
    def needs(self) -> bool:
        """Whether it needs what no test has."""
        return self.title.startswith("Needs ")

    @property
    def commands(self) -> list[str]:
        """The commands of a console block, each on one line, without its comment."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.removeprefix("$ ").split(" #")[0].strip() for line in lines if line.startswith("$ ")]


def blocks_of(text: str) -> list[Block]:
    """The blocks of a document, in order."""
    return [
        Block(match[1], match[2] or "", match[3], text.count("\n", 0, match.start()) + 1)
        for match in _BLOCK.finditer(text)
    ]


def run_document(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Block, str]]:
    """Do what a document shows, in order, in a folder of its own, as one reader would.

    Yields:
        Each block that was run, and what it printed.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    for name in QUIET:
        monkeypatch.setenv(name, "error")  # which the commands would set for good
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in blocks_of(path.read_text(encoding="utf-8")):
        if block.title == "Output":
            yield block, printed
        elif block.kind == "python" and not block.needs:
            printed = _printed_by_python(block, path.name, names)
            yield block, printed
        elif block.kind == "python":
            compile(block.text, f"{path.name}:{block.line}", "exec")
        elif block.kind == "console":
            printed = "".join(run_command(one, parse_only=block.needs) for one in block.commands)
            yield block, printed
        elif block.title and not block.needs:
            Path(block.title).write_text(block.text, encoding="utf-8")


def _printed_by_python(block: Block, name: str, names: dict[str, Any]) -> str:
    code = "\n" * block.line + block.text  # a traceback then names the line in the page
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, name, "exec"), names)
    return out.getvalue()


def run_command(command: str, *, parse_only: bool = False) -> str:
    """Run one command of a document in this process, or check it as far as can be.

    `medprm` runs, its exit status is 0 and it prints something; `make`, `python -m` and `pip install` are looked up:
    the target, the module and the extras must be there.

    Returns:
        What it printed.
    """
    command, _, source = command.partition(" < ")
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), command
    elif words[:2] == ["python", "-m"]:
        assert (ROOT / f"{words[2].replace('.', '/')}.py").exists() or words[2] == "venv", command
    elif words[:2] == ["pip", "install"]:
        for extra in re.findall(r"\[([\w,-]+)\]", command):
            for name in extra.split(","):
                assert re.search(rf"^{name} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE), command
    elif words[0] == "medprm" and parse_only:
        _parse(words[1:])
    elif words[0] == "medprm":
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)  # JSON is written as bytes
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
            given = Path(source.strip()).read_bytes() if source else b""
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
            assert main(words[1:]) == 0, command
        printed = out.buffer.getvalue().decode()  # type: ignore[attr-defined]  # it is a BytesIO
        assert printed.strip(), command
        return str(printed)
    else:
        assert words[0] in ("cd", "source", "export", "docker"), f"no test knows how to run: {command}"
    return ""


def _parse(words: list[str]) -> None:
    """Let the command line read the words of a command, without running it."""
    program: Any = typer.main.get_command(app)
    with contextlib.ExitStack() as stack:
        outer = stack.enter_context(program.make_context("medprm", list(words)))
        _, command, rest = program.resolve_command(outer, list(words))
        stack.enter_context(command.make_context(words[0], rest, parent=outer))


def normalised(text: str) -> tuple[list[str], list[float]]:
    """The lines of a text without bars, seconds and numbers, and its decimal numbers."""
    text = _TIMES_AND_BARS.sub("", text)
    bare = [re.sub(r"\s+", " ", _NUMBER.sub("#", line)).strip() for line in text.strip().splitlines()]
    return bare, [float(number) for number in _NUMBER.findall(text)]


def same_output(shown: str, printed: str) -> bool:
    """Whether a document shows what was printed: the same words, and numbers that differ by rounding at most."""
    if shown.count("…") > printed.count("…"):
        parts = [" ".join(normalised(part)[0]) for part in shown.split("…")]
        return re.fullmatch(".*".join(map(re.escape, parts)), " ".join(normalised(printed)[0]), re.DOTALL) is not None
    (lines, numbers), (other_lines, others) = normalised(shown), normalised(printed)
    near = len(numbers) == len(others) and all(abs(a - b) <= TOLERANCE for a, b in zip(numbers, others, strict=True))
    return lines == other_lines and near


def with_outputs(text: str, printed: dict[int, str]) -> str:
    """A document with other outputs, by the line of the block; one with a `…` that was not printed is left alone."""

    def filled(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start()) + 1
        if match[2] != "Output" or line not in printed or match[3].count("…") > printed[line].count("…"):
            return match[0]
        lines = [shown.rstrip() for shown in printed[line].strip("\n").splitlines()]
        return "\n".join([f'```{match[1]} title="Output"', *lines, "```"])

    return _BLOCK.sub(filled, text)


def files_of_the_quick_start(folder: Path) -> None:
    """The files that its reader has saved: other pages take them for granted."""
    for block in blocks_of((ROOT / "docs" / "quick-start.md").read_text(encoding="utf-8")):
        if "." in block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
