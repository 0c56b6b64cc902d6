"""Kill commands repeatedly at random moments, and check that their output is that of an undisturbed run.

    python -m benchmarks.kills score evaluate calibrate search [--records N] [--kills 50] [--seed 0] [--model M]

Each run is the command itself, in a fork of this process, which has imported what takes long. It is killed by SIGKILL:
one run in four before it has written anything, the others after a random number of changes of its files. After each
kill a file that is written as a whole is missing or complete, and the lines of `score` are the first ones of an
undisturbed run. The last run is left alone: the files must then be the same to the last byte, but for `seconds`, and
there may be no other files. `search` stores nothing, so it starts from the beginning each time. Without `--model` the
demo model inside the package scores.
"""

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: F401 - so that no run has to import them

from medprm_scorer import MedPRM  # noqa: F401
from medprm_scorer.cli.app import main as run_command

_ROOT = Path(__file__).resolve().parents[1]
_JOURNAL = "journal.sqlite3"
_SEARCH = ["--policy", str(_ROOT / "examples/formulary/policy_model"), "--width", "2", "--expansions", "2"]
_OPTIONS = {
    "score": ["scored.jsonl"],
    "evaluate": ["--resamples", "20", "--journal", _JOURNAL, "--per-question", "rows.jsonl", "--scored", "scored.json"],
    "calibrate": ["--risk", "0.5", "--journal", _JOURNAL, "--out", "trust.json"],
    "search": [*_SEARCH, "--html", "page.html"],
}
"""What follows the name of the file that is read; files are in the folder that the command runs in."""
_RECORDS = {"score": 2000, "evaluate": 400, "calibrate": 400, "search": 1}
"""Most questions that a command works on: the default."""
_SECONDS = re.compile(rb'"seconds": [0-9.e+-]+|\b\d+\.\d\d s\b')  # in results, and on pages


def requests(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Made-up requests, a few of them without a candidate that can be scored."""
    draw = random.Random(seed)
    for number in range(count):
        chains = [
            f"Step 1: The patient weighs {draw.randrange(40, 99)} kg.\nStep 2: The answer is ({draw.choice('ABCD')})"
            for _ in range(draw.randint(1, 4))
        ]
        yield {
            "id": number,
            "question": f"Which daily dose is right for patient {number}?\n\n(A) 1 mg\n(B) 2 mg\n(C) 3 mg\n(D) 4 mg",
            "documents": ["Label: give 2 mg, whatever the weight."] * draw.randint(0, 2),
            "candidates": chains if draw.random() > 0.02 else [" "],
        }


class Run:
    """One run of the command in a folder.

    Args:
        command: The command.
        folder: Where its files are.

    Attributes:
        status: Its status once it has ended; None before, and below 0 if it was killed.
    """

    def __init__(self, command: list[str], folder: Path) -> None:
        self._folder = folder
        self._seen = self._files()
        self._begun = time.perf_counter()
        self.status: int | None = None
        self._process = os.fork()
        if not self._process:
            status = 70
            try:
                os.chdir(folder)
                for stream in (1, 2):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
                status = run_command(command)
            finally:
                os._exit(status)

    def wait(self, changes: float = float("inf"), seconds: float = float("inf")) -> tuple[int, float]:
        """Wait until its files have changed so often, so much time has passed, or it has ended.

        Returns:
            How often they have changed, and the seconds until they first did.
        """
        count, first = 0, 0.0
        while count < changes and self._is_running() and time.perf_counter() < self._begun + seconds:
            now = self._files()
            if now != self._seen:
                self._seen, count = now, count + 1
                first = first or time.perf_counter() - self._begun
            time.sleep(0.002)
        return count, first

    def kill(self) -> bool:
        """Kill it; False if it had ended."""
        if self._is_running():
            os.kill(self._process, signal.SIGKILL)
            self._is_running(wait=True)
        return self.status is not None and self.status < 0

    def _is_running(self, *, wait: bool = False) -> bool:
        if self.status is None:
            process, status = os.waitpid(self._process, 0 if wait else os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if process else None
        return self.status is None

    def _files(self) -> set[tuple[str, int, int]]:
        found = set()
        for path in self._folder.iterdir():
            try:
                state = path.stat()
            except FileNotFoundError:  # moved or removed just now
                continue
            found.add((path.name, state.st_size, state.st_mtime_ns))
        return found


def outputs(folder: Path) -> dict[str, bytes]:
    """The files in a folder without the journal's, but for the seconds in them."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(_JOURNAL)]
    return {path.name: _SECONDS.sub(b"", path.read_bytes()) for path in paths}


def half_written(name: str, clean: dict[str, bytes], killed: dict[str, bytes]) -> list[str]:
    """The files that are present but wrong after a kill."""
    if name == "score":
        killed = {file: text[: text.rfind(b"\n") + 1] for file, text in killed.items()}
        return [file for file in clean if not clean[file].startswith(killed.get(file, b""))]
    return [file for file in clean if killed.get(file, clean[file]) != clean[file]]


def compare(name: str, count: int, kills: int, seed: int, model: str) -> bool:
    """Kill a command so often, print the result, and return whether everything was right.

    Args:
        name: The command.
        count: How many questions it works on.
        kills: How often it is killed.
        seed: Of the questions and the moments.
        model: As `--model`.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as temporary:
        file, clean, killed = (Path(temporary, part) for part in ("requests.jsonl", "undisturbed", "killed"))
        made = [one for one in requests(2 * count, seed) if name == "score" or one["candidates"] != [" "]]
        answers = [{} if name == "score" else {"correct_answer": "ABCD"[place % 4]} for place in range(count)]
        records = [one | answer for one, answer in zip(made, answers, strict=False)]
        file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        command = [name, str(file), *_OPTIONS[name]]
        command += ["--model", model, "--deterministic"]  # else rewards depend on what is packed, by rounding
        for folder in (clean, killed):
            folder.mkdir()
        begun = time.perf_counter()
        whole = Run(command, clean)
        changes, start = whole.wait()
        right = outputs(clean)
        print(
            f"{name}, undisturbed: {start:.1f} s until files change, {changes} changes, status {whole.status}",
            flush=True,
        )
        most = changes if name == "search" else 1.5 * changes / kills  # so that the kills are spread over it
        done, ended, wrong = 0, 0, []
        while done < kills and ended < kills:
            run = Run(command, killed)
            early = draw.random() < 0.25
            run.wait(1 if early else draw.uniform(0, most), draw.uniform(0, start) if early else float("inf"))
            if run.kill():
                done += 1
            elif name != "search":
                break
            else:
                ended += 1
            wrong += half_written(name, right, outputs(killed))
        sizes = {path.name: path.stat().st_size for path in sorted(killed.iterdir())}
        print(f"{done} kills ({ended} runs ended before theirs), after which there were, in bytes: {sizes}")
        print(f"files that a kill left half written: {wrong or 'none'}")
        last = Run(command, killed)
        last.wait()
        same = outputs(killed) == right
        print(f"last run: status {last.status}; files are {'the same' if same else 'NOT the same'}: ", end="")
        print(", ".join(f"{key} {len(value):,} bytes" for key, value in outputs(killed).items()))
        left = sorted(path.name for path in killed.iterdir() if path.name not in {*right, _JOURNAL})
        print(f"left beside them: {left or 'nothing'}; {time.perf_counter() - begun:.0f} s in all", flush=True)
    return bool(right) and done == kills and same and not wrong and not left and last.status == whole.status


def main() -> int:
    """Read the arguments and do the runs; 0 if everything was right."""
    parser = argparse.ArgumentParser(description="Kill commands at random moments and compare what they write.")
    parser.add_argument("names", nargs="+", choices=_OPTIONS)
    parser.add_argument("--records", type=int)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="demo", help="hub id or folder; demo: the one inside the package")
    given = parser.parse_args()
    well = [
        compare(name, min(given.records or _RECORDS[name], _RECORDS[name]), given.kills, given.seed, given.model)
        for name in given.names
    ]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
