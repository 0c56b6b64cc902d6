"""Kill `medprm score` at random moments, again and again, and see that its output is the one of an undisturbed run.

    python -m benchmarks.kill_score [--records 2000] [--kills 50] [--seed 0] [--model M]

Each run is the command itself, in a process of its own, killed by SIGKILL after a random time from its start; the last
one is left alone. The two outputs must then be the same to the last byte, but for `seconds`. Without `--model` the demo
model inside the package scores.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

QUIET: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_SECONDS = re.compile(rb'"seconds": [0-9.e+-]+')


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


def without_seconds(path: Path) -> bytes:
    """What a file of results holds, but for the time that each took."""
    return _SECONDS.sub(b'"seconds": 0', path.read_bytes())


def written(out: Path) -> int:
    """How many records have their result."""
    return out.read_bytes().count(b"\n") if out.exists() else 0


def kill_again_and_again(command: list[str], start: float, work: float, kills: int, draw: random.Random) -> int:
    """Run a command, killed again and again, until it was killed so often or has finished.

    Args:
        command: The command.
        start: Seconds until it begins to work.
        work: Seconds that it works.
        kills: How often.
        draw: Draws the moments.

    Returns:
        How often it was killed.
    """
    most = start + 1.6 * work / kills  # so that the kills are spread over the whole run
    for killed in range(kills):
        process = subprocess.Popen(command, **QUIET)
        try:
            process.wait(draw.uniform(0.6 * start, most))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        else:  # done before the last kill: the rest of them would hit finished work
            print(f"finished after {killed} kills, status {process.returncode}")
            return killed
    return kills


def main() -> int:
    """Read the arguments, do the runs, print what came of them; 0 if the outputs are the same."""
    parser = argparse.ArgumentParser(description="Kill medprm score at random moments and compare its output.")
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="demo", help="hub id or folder; demo: the one inside the package")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, clean, out = (Path(folder, name) for name in ("requests.jsonl", "undisturbed.jsonl", "killed.jsonl"))
        with file.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(record) + "\n" for record in requests(options.records, options.seed))
        model = ["--model", options.model, "--deterministic"]  # else rewards depend on what is packed, by rounding
        command = [sys.executable, "-m", "medprm_scorer", "score", str(file)]

        begun = time.perf_counter()
        whole = subprocess.Popen([*command, str(clean), *model], **QUIET)
        while whole.poll() is None and not (clean.exists() and clean.stat().st_size):
            time.sleep(0.01)
        start = time.perf_counter() - begun
        whole.wait()
        work = time.perf_counter() - begun - start
        print(
            f"undisturbed: {start:.1f} s until the first result, {work:.1f} s until the last, status {whole.returncode}"
        )
        draw = random.Random(options.seed)
        kills = kill_again_and_again([*command, str(out), *model], start, work, options.kills, draw)
        print(f"{kills} kills, after which {written(out)} of {options.records} records were written")
        last = subprocess.run([*command, str(out), *model], check=False, **QUIET)
        same = without_seconds(clean) == without_seconds(out)
        print(f"last run: status {last.returncode}; outputs are {'the same' if same else 'NOT the same'}: ", end="")
        print(f"{clean.stat().st_size:,} and {out.stat().st_size:,} bytes, with times")
    return 0 if same and kills == options.kills and last.returncode == whole.returncode else 1


if __name__ == "__main__":
    sys.exit(main())
