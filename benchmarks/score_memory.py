"""The most memory that `medprm score` takes, by the number of records: it should not grow with the file.

    python -m benchmarks.score_memory [--records 1000,20000] [--seed 0] [--model M]

Each size is one run of the command in a separate process; the output is the largest resident size that the system saw
of it. Without `--model` the demo model inside the package scores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kills import requests


def main() -> int:
    """Read the arguments, do the runs, print a line for each; 0 if every run succeeded but for records with errors."""
    parser = argparse.ArgumentParser(description="Measure the memory that medprm score takes.")
    parser.add_argument("--records", default="1000,20000", help="numbers of records, with commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="demo", help="hub id or folder; demo: the one inside the package")
    options = parser.parse_args()
    model = ["--model", options.model]
    well = True
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, options.records.split(",")):
            file, out = Path(folder, f"{count}.jsonl"), Path(folder, f"{count}.out.jsonl")
            with file.open("w", encoding="utf-8") as lines:
                lines.writelines(json.dumps(record) + "\n" for record in requests(count, options.seed))
            begun = time.perf_counter()
            command = [sys.executable, "-m", "medprm_scorer", "score", str(file), str(out), *model]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - begun
            with out.open("rb") as results:
                written = sum(1 for _ in results)
            well = well and written == count and process.returncode in (0, 1)  # 1: some records have an error
            print(
                f"{count:,} records: at most {used.ru_maxrss / 1024:,.0f} MiB, {written:,} results, "
                f"{seconds:.0f} s, status {process.returncode}",
                flush=True,
            )
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
