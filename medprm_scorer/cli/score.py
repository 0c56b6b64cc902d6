"""The command `medprm score`: its options, and what it says at the end."""

from pathlib import Path
from typing import Annotated

import typer

from medprm_scorer.cli.options import Aggregate, ModelOptions, Strategy, takes_model
from medprm_scorer.cli.terminal import be_quiet, check_in, check_out, say
from medprm_scorer.errors import InputError
from medprm_scorer.selection import check_settings


@takes_model
def score(
    requests: Annotated[Path, typer.Argument(metavar="IN", help="JSONL, a JSON list, or gzip of either.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="JSONL to write, one line per request.")],
    strategy: Strategy = "weighted_vote",
    aggregate: Aggregate = "min",
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Most requests in one engine call.")] = 4,
    in_flight: Annotated[int, typer.Option(min=1, max=1024, help="Most engine calls at a time.")] = 4,
    *,
    which: ModelOptions,
) -> int:
    """Rank many requests, from a file to a file.

    Each line of OUT is {"id": ..., "ranking": {...}}, or {"id": ..., "error": "..."} for a request that cannot be
    ranked, in the order of IN; medprm evaluate reads it. A run that was stopped or killed resumes with the same
    command. The exit status is 0 if every request has its ranking, and 1 if some have an error, or the engine failed.
    """
    check_settings(strategy, aggregate)
    check_in("score", requests)
    if out.exists() and not out.is_file():
        raise InputError(f"{out} is not a file: score writes a file, not a folder, a pipe or a device")
    check_out("OUT", out, requests)
    which.require("score")
    from medprm_scorer.bulk.score_file import score_file

    be_quiet()
    found = score_file(
        requests,
        out,
        which.load,
        strategy=strategy,  # type: ignore[arg-type]  # both are checked above
        aggregate=aggregate,  # type: ignore[arg-type]
        batch=batch,
        in_flight=in_flight,
    )
    for problem in found.problems:
        say(problem)
    more = found.errors - found.earlier_errors - len(found.problems)
    if more:
        say(f"{more:,} more errors: see their lines in {out}")
    earlier = f" ({found.earlier:,} of them by earlier runs)" if found.earlier else ""
    typer.echo(f"{found.records:,} requests{earlier}: {found.records - found.errors:,} ranked, {found.errors:,} errors")
    return 1 if found.errors else 0
