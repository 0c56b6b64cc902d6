"""The command `medprm bench`: its options and what it prints."""

from typing import Annotated

import typer

from medprm_scorer.cli.options import Device
from medprm_scorer.cli.terminal import be_quiet, console, say, write_json


def bench(
    shape: Annotated[str, typer.Option(help="Random model: tiny, 300m or 8b.")] = "300m",
    n: Annotated[int, typer.Option("--n", min=1, max=1024, help="Candidates.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often each method is timed.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    device: Device = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
) -> None:
    """Time the scorer against the model card's quick start.

    The model has random weights, and the question has 3,000 tokens of documents. The full benchmark is python -m
    benchmarks.speed, in the source repository.
    """
    be_quiet()
    from medprm_scorer.cli.benchmark.measure import Bench, BenchPlan
    from medprm_scorer.cli.benchmark.report import to_rich
    from medprm_scorer.cli.benchmark.workload import SHAPES
    from medprm_scorer.errors import check_choice
    from medprm_scorer.local.loading import choose_device, choose_dtype

    check_choice("shape", shape, SHAPES)
    target = choose_device(device)
    choose_dtype(dtype, target)
    plan = BenchPlan(shape=shape, device=str(target), dtype=dtype, candidates=(n,), rounds=rounds)
    found = Bench(plan, say).run()
    if json:
        import json as format_

        write_json(format_.dumps(found, indent=2))
    else:
        console().print(to_rich(found))
