"""`medprm score` as a user runs it, stops it and kills it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from medprm_scorer import MedPRM, ScoringError, cli, score_file
from medprm_scorer.local.loading import DEMO_MODEL
from tests.bulk.test_score_file import without_times
from tests.support.cheap_engine import CheapEngine, cheap_prm, requests
from tests.support.paths import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in requests(200)))
    return path


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "rankings.jsonl"


@pytest.fixture
def engine(demo, monkeypatch):
    """What `--model` loads."""
    engine = CheapEngine()
    monkeypatch.setattr(MedPRM, "from_pretrained", lambda *_, **__: cheap_prm(demo, engine))
    monkeypatch.setattr("medprm_scorer.cli.score.be_quiet", lambda: None)
    monkeypatch.setattr("medprm_scorer.cli.terminal.be_quiet", lambda: None)
    return engine


def run(capsys, *arguments: object, model: str = "demo") -> tuple[int, str, str]:
    status = cli.main(["score", *map(str, arguments), *(["--model", model] if model else [])])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def test_the_status_tells(engine, file, out, capsys):
    status, said, err = run(capsys, file, out)
    assert (status, said) == (1, "200 requests: 188 ranked, 12 errors\n")
    assert "medprm: line 6: no candidate could be scored: candidate 0: it is blank" in err
    assert len(out.read_text().splitlines()) == 200
    status, said, err = run(capsys, file, out)
    assert (status, said) == (1, "200 requests (200 of them by earlier runs): 188 ranked, 12 errors\n")
    good = file.with_name("good.jsonl")
    good.write_text(file.read_text().splitlines()[0])
    status, said, err = run(capsys, good, out.with_name("good.out"), "--strategy", "best_of_n", "--aggregate", "prod")
    assert (status, said) == (0, "1 requests: 1 ranked, 0 errors\n")
    ranking = json.loads(out.with_name("good.out").read_text())["ranking"]
    assert (ranking["strategy"], ranking["aggregate"]) == ("best_of_n", "prod")


def test_an_engine_that_fails_is_status_1_and_one_line(engine, file, out, capsys):
    def gone(prompts):
        if len(engine.calls) > 5:
            raise ScoringError("the server is away")

    engine.fault = gone
    status, said, err = run(capsys, file, out)
    assert (status, said) == (1, "")
    assert err.splitlines()[-1] == "medprm: error: the server is away"
    assert 0 < len(out.read_text().splitlines()) <= 20
    engine.fault = None
    assert run(capsys, file, out)[0] == 1
    assert len(out.read_text().splitlines()) == 200


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.jsonl", "{out}"], "cannot read nowhere.jsonl"),
        (["-", "{out}"], "is not a file"),
        (["/", "{out}"], "is not a file"),
        (["{file}", "-"], "standard output"),
        (["{file}", "/"], "is not a file"),
        (["{file}", "/dev/null"], "is not a file"),
        (["{file}", "/nowhere/out.jsonl"], "its folder does not exist"),
        (["{file}", "{file}"], "would overwrite"),
        (["{file}", "{out}", "--strategy", "best"], "choose one of"),
        (["{file}", "{out}", "--batch", "0"], "--batch"),
    ],
)
def test_bad_usage_is_status_2_and_one_line(engine, file, out, capsys, arguments, says):
    before = file.read_bytes()
    status, said, err = run(capsys, *[argument.format(file=file, out=out) for argument in arguments])
    assert (status, said) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert file.read_bytes() == before
    assert engine.calls == []
    assert not out.exists()


def test_without_a_model_it_says_what_to_give_and_does_nothing(engine, file, out, capsys):
    status, said, err = run(capsys, file, out, model="")
    assert (status, said) == (2, "")
    assert err == (
        "medprm: error: score needs --model dmis-lab/llama-3.1-medprm-reward-v1.0, a folder, demo, or --url\n"
    )
    assert engine.calls == []
    assert not out.exists()
    assert run(capsys, file, model="")[0] == 2


def test_an_output_that_is_not_ours_is_left_alone(engine, file, out, capsys):
    out.write_text("my own notes\n")
    status, _, err = run(capsys, file, out)
    assert status == 2
    assert "holds something that medprm score did not write" in err
    assert out.read_text() == "my own notes\n"
    out.unlink()
    run(capsys, file, out)
    status, _, err = run(capsys, file, out, "--strategy", "best_of_n")
    assert status == 2
    assert "begun with a different strategy (weighted_vote, not best_of_n)" in err


def test_the_bar_shows_how_far_how_fast_and_how_long(engine, file, out, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    run_status = score_file(file, out, MedPRM.from_pretrained(), progress=True)
    err = capsys.readouterr().err
    assert run_status.records == 200
    assert "scoring: 100%" in err
    assert "200 records, 12 errors" in err
    assert "B/s" in err
    assert "<00:00" in err


RUNS = """
import os, sys
from tests.support.cheap_engine import CheapEngine
from transformers import AutoTokenizer
from medprm_scorer import MedPRM, score_file
from medprm_scorer.bulk import result_file
from medprm_scorer.encoding import PromptEncoder
import time
tokenizer = AutoTokenizer.from_pretrained(sys.argv[3])  # no model: its threads would not outlive a fork
encoder = PromptEncoder(tokenizer, "auto")
for line in sys.stdin:  # one process for each run, with the tokenizer loaded once
    if (child := os.fork()) == 0:
        result_file._SYNC_SECONDS = float(line)
        prm = MedPRM(CheapEngine(lambda prompts: time.sleep(0.002), delay=0.002), encoder)
        score_file(sys.argv[1], sys.argv[2], prm, progress=False)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to start many processes in little time")
def test_killed_thirty_times_the_output_is_the_same(file, out, demo):
    """SIGKILL at random moments. `benchmarks.kills` does it with 2,000 records and the real command."""
    clean = out.with_name("clean.jsonl")
    score_file(file, clean, cheap_prm(demo, CheapEngine()))
    rng = random.Random(3)
    starter = subprocess.Popen(
        [sys.executable, "-c", RUNS, str(file), str(out), str(DEMO_MODEL)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=ENVIRONMENT,
    )

    def noted() -> int:
        return out.read_bytes().count(b"\n") if out.exists() else 0

    done = [0]
    for number in range(30):
        starter.stdin.write("0\n" if number % 3 else "0.02\n")  # seconds between waits for the disk
        child = int(starter.stdout.readline())
        if number % 2:  # every other run gets as far as a result, however slow the machine
            patience = time.monotonic() + 20
            while noted() == done[-1] and done[-1] < 200 and time.monotonic() < patience:
                time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.03))
        with suppress(ProcessLookupError):  # it was quick, and is done
            os.kill(child, signal.SIGKILL)
        starter.stdout.readline()
        done.append(noted())
        assert without_times(out)[: done[-1]] == without_times(clean)[: done[-1]] if out.exists() else not done[-1]
    # a run that is resumed begins with a whole batch, so up to three lines of one may be written again
    assert all(after > before - 4 for before, after in pairwise(done)), done
    assert len(set(done)) > 8, done
    starter.stdin.write("1\n")
    assert int(starter.stdout.readline())
    assert starter.stdout.readline() == "0\n"
    starter.communicate()
    assert without_times(out) == without_times(clean)
    assert [path.name for path in out.parent.glob("rankings*")] == ["rankings.jsonl"]


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to send")
def test_interrupted_it_keeps_all_that_is_done_and_goes_on(file, out):
    command = [sys.executable, "-m", "medprm_scorer", "score", str(file), str(out), "--model", "demo"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # a shell without job control, and nohup, have their children ignore the signal: not so this one
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not (out.exists() and out.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert said == ""
    first, last = err.splitlines()
    assert first.startswith("medprm: demo model")
    assert last == "medprm: stopped; run the same command again to resume"
    done = out.read_text().splitlines()
    assert 0 < len(done) < 200
    few = file.with_name("few.jsonl")
    few.write_text("".join(file.open().readlines()[: len(done) + 4]))
    again = subprocess.run([*command[:4], str(few), *command[5:]], capture_output=True, text=True, env=ENVIRONMENT)
    assert f"{len(done) + 4} requests ({len(done)} of them by earlier runs)" in again.stdout
    assert out.read_text().splitlines()[: len(done)] == done
