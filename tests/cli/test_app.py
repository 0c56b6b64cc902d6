"""The command line, as a user runs it: other processes, exit statuses, what goes to stdout and what to stderr."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.cli import app as cli
from medprm_scorer.errors import InputError, MedPRMError, ModelError, ScoringError
from medprm_scorer.results.models import Ranking
from medprm_scorer.results.request_parsing import parse_request
from medprm_scorer.selection import STRATEGIES
from medprm_scorer.text.prompts import RELEASED_MODEL
from tests.support.example_rankings import example_ranking
from tests.support.paths import ROOT

SECRET = "Mrs Example, born 1950"
REQUEST = {
    "id": "q1",
    "question": "Which? (A) (B)",
    "documents": ["One document.", "Another one."],
    "candidates": ["Step 1: X.\nStep 2: The answer is (A)", "Step 1: The answer is (B)", "", "Step 1: Y, so (A)"],
}
# A process whose model is a stand-in, for what must be tried in a process of its own but not with a model
STAND_IN = """
import sys, types
sys.path.insert(0, {root!r})
from tests.support.example_rankings import example_ranking
class MedPRM:
    @classmethod
    def from_pretrained(cls, *args, **options): return cls()
    def rank_batch(self, *args, **options):
        {action}
        return [example_ranking()]
sys.modules["medprm_scorer.scorer"] = types.SimpleNamespace(MedPRM=MedPRM)
from medprm_scorer.cli.app import main
sys.exit(main({arguments!r}))
"""


def run(*arguments: str, stdin: str = "", program: Sequence[str] = ("-m", "medprm_scorer"), **environment: str):
    return subprocess.run(
        [sys.executable, *program, *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
        timeout=120,
        check=False,
    )


def stand_in(*arguments: str, action: str = "pass") -> list[str]:
    return ["-c", STAND_IN.format(root=str(ROOT), action=action, arguments=list(arguments))]


@pytest.fixture
def request_file(tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps(REQUEST), encoding="utf-8")
    return str(path)


class FakePRM:
    """Stands in for `MedPRM`: records how it was called and returns, or raises, what the test says."""

    def __init__(self, outcome):
        self.outcome = outcome
        self.loaded = None
        self.asked = None

    def from_pretrained(self, model=None, **options):
        self.loaded = (model, options)
        return self

    def rank_batch(self, requests, **options):
        self.asked = (*requests, options)
        if isinstance(self.outcome, BaseException) and not isinstance(self.outcome, MedPRMError):
            raise self.outcome
        return [self.outcome]


@pytest.fixture
def fake(monkeypatch):
    def install(outcome=None):
        prm = FakePRM(example_ranking() if outcome is None else outcome)
        monkeypatch.setattr("medprm_scorer.scorer.MedPRM", prm)
        return prm

    monkeypatch.setattr(cli, "be_quiet", lambda: None)  # the test process keeps its warnings
    return install


def assert_one_error_line(stderr: str, says: str) -> None:
    (line,) = [line for line in stderr.splitlines() if not line.startswith("medprm: demo model")]
    assert line.startswith("medprm: error: ")
    assert says in line
    assert SECRET not in stderr


# ---------------------------------------------------------------- help and version


@pytest.mark.parametrize("arguments", [["--help"], ["rank", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    shown = run(*arguments, program=["-X", "importtime", "-m", "medprm_scorer"])
    assert shown.returncode == 0
    imported = set(re.findall(r"\| +([\w.]+)$", shown.stderr, re.M))
    assert "medprm_scorer.cli.app" in imported
    assert not imported & {"torch", "transformers", "numpy", "medprm_scorer.scorer", "medprm_scorer.results.models"}


def test_importing_the_command_line_imports_nothing_heavy():
    heavy = ("torch", "transformers", "pydantic")
    program = f"import sys, medprm_scorer.cli.app; print([name for name in {heavy} if name in sys.modules])"
    assert run(program=["-c", program]).stdout.strip() == "[]"


def test_help_lists_commands_and_choices():
    assert {"demo", "rank"} <= set(run("--help").stdout.split())
    text = " ".join(run("rank", "--help").stdout.split())
    for name in (*STRATEGIES, *AGGREGATES):
        assert name in text


def test_no_command_shows_help():
    assert run().stdout == run("--help").stdout


def test_version():
    result = run("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("medprm ")


# ---------------------------------------------------------------- bad usage and bad input: 2, one line, no model loaded


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnk"], "See medprm --help."),
        (["rank"], "'REQUEST'. See medprm rank --help."),
        (["rank", "x.json", "--nonsense"], "--nonsense"),
        (["rank", "nowhere.json"], "cannot read nowhere.json"),
        (["rank", "nowhere.json", "--strategy", "best"], "choose one of weighted_vote, best_of_n, majority_vote"),
        (["rank", "nowhere.json", "--aggregate", "sum"], "choose one of min, last, mean, prod, geomean, max"),
        (["rank", "nowhere\x1b[31m\n.json"], "cannot read nowhere\ufffd[31m .json"),
    ],
)
def test_bad_usage(arguments, says):
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert_one_error_line(result.stderr, says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{oops", "not valid JSON at line 1, column 2"),
        ("", "empty"),
        ("[1]", "holds one request"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps({"question": SECRET}), "candidates: missing"),
        (json.dumps({"candidates": [SECRET]}), "question: missing"),
        (json.dumps({**REQUEST, "candidates": []}), "the list is empty"),
        (json.dumps({**REQUEST, "candidates": [SECRET, 5]}), "candidates[1]: expected"),
        (json.dumps({**REQUEST, "documents": SECRET}), "documents: expected a list"),
    ],
)
def test_bad_input(fake, capsys, tmp_path, content, says):
    prm = fake()
    path = tmp_path / "request.json"
    path.write_text(content, encoding="utf-8")
    assert cli.main(["rank", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert_one_error_line(captured.err, says)
    assert prm.loaded is None


def test_bad_input_from_stdin_in_a_process():
    result = run("rank", "-", stdin='{"question": 3}')
    assert result.returncode == 2
    assert_one_error_line(result.stderr, "standard input: question: expected a string, found a number")


# ---------------------------------------------------------------- rank


PASSED = {
    "device": "cpu",
    "dtype": "float32",
    "quantization": "int8",
    "revision": "abc",
    "max_batch_tokens": 64,
    "deterministic": False,
}


def test_rank_passes_everything_on(fake, capsys, request_file):
    prm = fake()
    options = ["--strategy", "best_of_n", "--aggregate", "mean", "--device", "cpu", "--dtype", "float32"]
    options += ["--quantization", "int8", "--revision", "abc", "--max-batch-tokens", "64"]
    assert cli.main(["rank", request_file, "--model", "some/model", *options]) == 0
    assert prm.loaded == ("some/model", PASSED)
    request, chosen = prm.asked
    assert request == parse_request(REQUEST)
    assert chosen == {"strategy": "best_of_n", "aggregate": "mean"}
    captured = capsys.readouterr()
    assert "Answer: C" in captured.out
    assert captured.err == ""


def test_rank_passes_the_prompt_and_the_rule_for_steps_on(fake, request_file):
    prm = fake()
    assert cli.main(["rank", request_file, "--model", "m", "--system", "outcome", "--steps", "whole"]) == 0
    name, options = prm.loaded
    assert (name, options["system"], options["steps"]) == ("m", "outcome", "whole")
    assert cli.main(["rank", request_file, "--model", "demo"]) == 0
    assert prm.loaded[0] is None


def test_without_a_model_the_demo_model_is_named(fake, capsys, request_file):
    prm = fake()
    assert cli.main(["rank", request_file]) == 0
    assert prm.loaded == (None, {**dict.fromkeys(PASSED), "deterministic": False})
    captured = capsys.readouterr()
    assert "knows no medicine" in captured.err
    assert RELEASED_MODEL in captured.err
    assert "knows no medicine" not in captured.out


def test_json_is_the_ranking_and_nothing_else(fake, capsysbinary, request_file):
    fake()
    assert cli.main(["rank", request_file, "--json"]) == 0
    assert Ranking.model_validate_json(capsysbinary.readouterr().out) == example_ranking()


def test_json_cannot_steer_a_terminal_and_means_the_same(fake, capsysbinary, request_file):
    hostile = example_ranking().model_copy(update={"question": "a\x1b[2J \x9b2J \u202e \x7f é 😀"})
    fake(hostile)
    assert cli.main(["rank", request_file, "--json"]) == 0
    out = capsysbinary.readouterr().out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out.decode())
    assert "é 😀" in out.decode()
    assert Ranking.model_validate_json(out) == hostile


def test_html_is_written_beside_the_text(fake, capsys, request_file, tmp_path):
    fake()
    page = tmp_path / "out.html"
    assert cli.main(["rank", request_file, "--html", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == example_ranking().to_html(REQUEST["documents"])
    assert "Answer: C" in capsys.readouterr().out


def test_html_takes_the_place_of_a_page_and_of_nothing_else(fake, capsys, request_file, tmp_path):
    prm = fake()
    page = tmp_path / "out.html"
    for _ in range(2):
        assert cli.main(["rank", request_file, "--html", str(page)]) == 0
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "Which?"}')
    prm.loaded = None
    for mistaken in (request_file, str(data)):
        before = Path(mistaken).read_bytes()
        assert cli.main(["rank", request_file, "--html", mistaken]) == 2
        assert_one_error_line(capsys.readouterr().err, "not a medprm page")
        assert Path(mistaken).read_bytes() == before
    assert prm.loaded is None


def test_html_that_cannot_be_written(fake, capsys, request_file, tmp_path):
    prm = fake()
    assert cli.main(["rank", request_file, "--html", str(tmp_path / "nowhere" / "out.html")]) == 2
    assert_one_error_line(capsys.readouterr().err, "its folder does not exist")
    assert cli.main(["rank", request_file, "--html", str(tmp_path)]) == 2
    assert_one_error_line(capsys.readouterr().err, "is a folder")
    assert prm.loaded is None  # said before the model is loaded


@pytest.mark.parametrize(
    ("error", "status"),
    [(InputError("too\nlong"), 2), (ModelError("no tag"), 1), (ScoringError("NaN"), 1), (KeyboardInterrupt(), 130)],
)
def test_what_the_work_raises_becomes_a_status(fake, capsys, request_file, error, status):
    fake(error)
    assert cli.main(["rank", request_file]) == status
    stderr = capsys.readouterr().err
    if status == 130:
        assert "error" not in stderr
    else:
        assert_one_error_line(stderr, str(error).replace("\n", " "))


def test_a_reader_that_leaves_is_no_error(request_file):
    command = [sys.executable, *stand_in("rank", request_file, action="sys.stdin.read()")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, env=environment) as process:
        process.stdout.close()
        process.stdin.close()  # from here on it prints
        stderr = process.stderr.read().decode()
        assert process.wait(60) == 1
    assert all(line.startswith("medprm: demo model") for line in stderr.splitlines()), stderr


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to send")
def test_interrupt_exits_130_without_a_traceback(request_file):
    # a shell without job control, and nohup, have their children ignore the signal: not so this one
    action = "import os, signal; signal.signal(2, signal.default_int_handler); os.kill(os.getpid(), signal.SIGINT)"
    result = run(program=stand_in("rank", request_file, action=action))
    assert result.returncode in (130, -signal.SIGINT)
    assert result.stderr.endswith("medprm: stopped\n")
    assert "Traceback" not in result.stderr


def test_an_ascii_terminal_gets_ascii_marks(request_file):
    result = run(program=stand_in("rank", request_file), PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert result.stdout.isascii()
    assert "##########" in result.stdout


def test_a_pipe_gets_no_ansi_codes(request_file):
    result = run(program=stand_in("rank", request_file))
    assert "\x1b" not in result.stdout
    assert re.search(r"\+ 0\.990 █{10} Step 1", result.stdout)


# ---------------------------------------------------------------- with the demo model


def test_a_model_folder_that_is_not_there(request_file, tmp_path):
    result = run("rank", request_file, "--model", str(tmp_path / "nowhere"))
    assert result.returncode == 1
    assert result.stdout == ""
    assert_one_error_line(result.stderr, "nowhere")


def test_rank_with_the_demo_model(request_file, tmp_path):
    page = tmp_path / "out.html"
    result = run("rank", request_file, "--json", "--html", str(page), HF_HUB_OFFLINE="1")
    assert result.returncode == 0, result.stderr
    ranking = Ranking.model_validate_json(result.stdout)
    assert ranking.id == "q1"
    assert len(ranking.chains) == 4
    assert ranking.chains[-1].index == 2  # the blank candidate
    assert ranking.chains[-1].error is not None
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == ["demo model"]
    assert page.read_text(encoding="utf-8") == ranking.to_html(REQUEST["documents"])


def test_demo():
    result = run("demo", HF_HUB_OFFLINE="1")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "Right answer:" in result.stdout
    shown = " ".join(result.stdout.split())
    assert shown.count("<- breaks here") == shown.count("Losing chain: ") > 0
    assert re.search(r"Right answers: \d+ of \d+ with rewards, \d+ of \d+ by majority vote\.", result.stdout)
    command = result.stdout.strip().splitlines()[-1].split()
    assert Path(command[0]).name == "medprm"
    assert command[1] == "rank"
    assert command[-2:] == ["--model", RELEASED_MODEL]
    assert json.loads(Path(command[2]).read_text(encoding="utf-8"))["id"] == "model-card"


def test_html_needs_a_name(fake, request_file, capsys):
    fake()
    assert cli.main(["rank", request_file, "--html", "-"]) == 2
    assert "file's name" in capsys.readouterr().err
