"""Nothing is unpickled, no code of a model runs, nothing is connected to: Python's own audit events say so."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medprm_scorer.local.loading import DEMO_MODEL
from tests.support.paths import ROOT


@pytest.fixture
def trapped(tmp_path) -> Path:
    """The demo model beside code that would run, and pickles that would be read, if anything were to."""
    folder = Path(shutil.copytree(DEMO_MODEL, tmp_path / "model"))
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\n"
    (folder / "modeling_llama.py").write_text(trap)
    (folder / "__init__.py").write_text(trap)
    bomb = pickle.dumps(Path("x"))
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin"):
        (folder / name).write_bytes(bomb)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "modeling_llama.C", "AutoModelForCausalLM": "modeling_llama.M"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def watched(folder: Path, commands: list[list[str]], tmp_path: Path) -> tuple[list[int], list[str]]:
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    arguments = [
        sys.executable,
        str(ROOT / "tests" / "support" / "watched_run.py"),
        str(folder),
        str(tmp_path / "commands.json"),
    ]
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == 0, done.stderr
    statuses, seen = json.loads(done.stderr.splitlines()[-1])
    return statuses, seen


def test_no_command_unpickles_runs_a_models_code_or_connects(trapped, tmp_path):
    requests = sorted(DEMO_MODEL.parent.glob("formulary_*.json"))[:2]
    one, many = tmp_path / "one.json", tmp_path / "many.jsonl"
    one.write_bytes(requests[0].read_bytes())
    judged = [json.loads(path.read_text()) | {"correct_answer": "A"} for path in requests]
    many.write_text("\n".join(map(json.dumps, judged)))
    model = ["--model", str(trapped)]
    commands = [
        ["demo"],
        ["rank", str(one), *model, "--html", str(tmp_path / "page.html")],
        ["rank", str(one), *model, "--json", "--dtype", "bfloat16"],
        ["score", str(many), str(tmp_path / "out.jsonl"), *model],
        ["evaluate", str(many), *model, "--html", str(tmp_path / "e.html"), "--plot", str(tmp_path / "e.svg")],
        ["vllm-command", str(trapped)],
    ]
    statuses, seen = watched(trapped, commands, tmp_path)
    assert statuses == [0] * len(commands)
    assert seen == []
    assert not (tmp_path / "sprung").exists()


def test_the_watch_sees_what_it_is_to_see(tmp_path):
    trap = tmp_path / "model"
    trap.mkdir()
    (trap / "code.py").write_text("import pickle, socket\npickle.loads(pickle.dumps(socket.AF_INET))\n")
    code = (
        f"import runpy, socket, sys; sys.argv = ['x', {str(trap)!r}]; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.support import watched_run; sys.addaudithook(watched_run.watch)\n"
        f"runpy.run_path({str(trap / 'code.py')!r})\n"
        "try: socket.create_connection(('127.0.0.1', 9), 1)\n"
        "except OSError: pass\n"
        "print([one.split()[0] for one in watched_run.seen])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(done.stdout, {})) == {"exec", "pickle.find_class", "socket.getaddrinfo", "socket.connect"}  # noqa: S307


def test_the_sources_never_unpickle_or_allow_remote_code():
    packages = (ROOT / "medprm_scorer", ROOT / "medprm_integrations")
    sources = [path for package in packages for path in package.rglob("*.py")]
    forbidden = ("import pickle", "torch.load(", "trust_remote_code=True", "weights_only=False", "joblib", "shelve")
    assert len(sources) > 50
    for path in sources:
        text = path.read_text()
        for word in forbidden:
            assert word not in text, f"{path} has {word}"
