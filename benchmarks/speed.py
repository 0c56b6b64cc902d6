"""The whole speed benchmark: one process, alternating runs, JSON and a table.

    python -m benchmarks.speed [--json OUT.json] [--shape 300m|8b|tiny] [--device cpu|cuda] [--rounds 5]
    python -m benchmarks.speed --show OUT.json --results docs/speed.md    # an earlier run's figures

On two CPU cores the 300 M shape takes about half an hour with its defaults; `--quick` takes a few minutes. On a busy
machine `--threads 1 --clock cpu` counts the process's own time, and ratios still mean something.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.speed_parts import SpeedBench, SpeedPlan
from benchmarks.speed_report import other_lines, to_markdown
from examples.formulary.evaluate import fill
from medprm_scorer.cli.benchmark.measure import CLOCKS
from medprm_scorer.cli.benchmark.report import to_rich
from medprm_scorer.cli.benchmark.workload import SHAPES
from medprm_scorer.cli.terminal import be_quiet

MARKS = {
    shape: (f"<!-- figures of {shape}: written by benchmarks/speed.py -->", f"<!-- end of {shape} -->")
    for shape in SHAPES
}
"""Where a page has the table of a shape."""


def main() -> None:
    """Read the arguments, measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description="Time the scorer against the quick start and a padded batch.")
    parser.add_argument("--json", type=Path, metavar="OUT.json", help="write all figures there")
    parser.add_argument("--results", type=Path, help="put the table into this text, between the marks of its shape")
    parser.add_argument("--show", type=Path, metavar="OUT.json", help="measure nothing: take the figures from there")
    parser.add_argument("--shape", choices=SHAPES, default="300m")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32", "float16"])
    parser.add_argument("--candidates", default="1,4,16,64", help="numbers of candidates, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=64, help="questions of 4 candidates that are packed")
    parser.add_argument("--calls", type=int, default=16, help="concurrent calls")
    parser.add_argument("--session", type=int, default=16, help="candidates that grow")
    parser.add_argument("--errors", type=int, default=4, help="candidates whose rewards are compared with float32")
    parser.add_argument("--document-tokens", type=int, default=3000)
    parser.add_argument("--max-batch-tokens", type=int)
    parser.add_argument("--threads", type=int, help="default: PyTorch's own choice")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--quick", action="store_true", help="N = 16 only, 3 rounds, 8 questions, 8 calls")
    options = parser.parse_args()
    found = json.loads(options.show.read_text(encoding="utf-8")) if options.show else measure(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    if options.results:
        fill(options.results, to_markdown(found), MARKS[found["plan"]["shape"]])
    Console(width=130).print(to_rich(found), *other_lines(found), sep="\n")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All the figures."""
    if options.threads:
        torch.set_num_threads(options.threads)
    be_quiet()
    quick = options.quick
    plan = SpeedPlan(
        shape=options.shape,
        device=options.device,
        dtype=options.dtype,
        candidates=(16,) if quick else tuple(int(count) for count in options.candidates.split(",")),
        rounds=3 if quick else options.rounds,
        questions=min(options.questions, 8) if quick else options.questions,
        calls=min(options.calls, 8) if quick else options.calls,
        session=options.session,
        errors=options.errors,
        document_tokens=options.document_tokens,
        max_batch_tokens=options.max_batch_tokens,
        clock=options.clock,
    )
    return SpeedBench(plan, lambda message: print(message, file=sys.stderr)).run()


if __name__ == "__main__":
    main()
