"""Kill `medprm evaluate` at random moments, again and again, and see that what it writes is that of an undisturbed run.

    python -m benchmarks.kill_evaluate [--records 400] [--kills 50] [--seed 0] [--model M]

As `benchmarks.kill_score`, for the command that keeps computed rewards in a journal. After the kills its rows and its
questions with rewards must be the same to the last byte, and no half file may be left.
"""

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kill_score import QUIET, kill_again_and_again, requests

_OUTPUTS = {"--per-question": "rows.jsonl", "--scored": "scored.jsonl"}


def command(file: Path, folder: Path, model: str) -> list[str]:
    """The command that writes everything into a folder."""
    folder.mkdir(exist_ok=True)
    outputs = [part for option, name in _OUTPUTS.items() for part in (option, str(folder / name))]
    journal = ["--journal", str(folder / "journal.sqlite3")]
    options = ["--model", model, "--deterministic", "--resamples", "20", *journal, *outputs]
    return [sys.executable, "-m", "medprm_scorer", "evaluate", str(file), *options]


def kept(folder: Path) -> int:
    """How many questions have their rewards in the journal, whatever they were computed with."""

    with sqlite3.connect(folder / "journal.sqlite3") as database:
        return int(database.execute("SELECT count(*) FROM done").fetchone()[0])


def main() -> int:
    """Read the arguments, do the runs, print what came of them; 0 if the outputs are the same."""
    parser = argparse.ArgumentParser(description="Kill medprm evaluate at random moments and compare its outputs.")
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="demo", help="hub id or folder; demo: the one inside the package")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        file, clean, killed = (Path(temporary, name) for name in ("judged.jsonl", "undisturbed", "killed"))
        judged = [one for one in requests(2 * options.records, options.seed) if one["candidates"] != [" "]]
        with file.open("w", encoding="utf-8") as lines:
            for place, record in enumerate(judged[: options.records]):
                lines.write(json.dumps(record | {"correct_answer": "ABCD"[place % 4]}) + "\n")

        begun = time.perf_counter()
        whole = subprocess.Popen(command(file, clean, options.model), **QUIET)
        while whole.poll() is None and not (clean / "journal.sqlite3").exists():
            time.sleep(0.01)
        start = time.perf_counter() - begun
        whole.wait()
        work = time.perf_counter() - begun - start
        print(
            f"undisturbed: {start:.1f} s until the first reward, {work:.1f} s until the end, status {whole.returncode}"
        )
        draw = random.Random(options.seed)
        kills = kill_again_and_again(command(file, killed, options.model), start, work, options.kills, draw)
        before = kept(killed) if (killed / "journal.sqlite3").exists() else 0
        last = subprocess.run(command(file, killed, options.model), check=False, **QUIET)
        same = {name: (clean / name).read_bytes() == (killed / name).read_bytes() for name in _OUTPUTS.values()}
        left = sorted(path.name for path in killed.iterdir() if path.name not in {*same, "journal.sqlite3"})
        print(f"{kills} kills, after which {before} of {options.records} questions were in the journal")
        print(f"last run: status {last.returncode}; the same bytes: {same}; files left beside them: {left or 'none'}")
    well = all(same.values()) and not left and last.returncode == whole.returncode == 0
    return 0 if well and kills == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
