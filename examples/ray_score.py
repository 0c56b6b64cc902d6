"""Score a file of requests on all machines of a Ray cluster.

    pip install "medprm[ray]"
    python -m examples.ray_score requests.jsonl rankings.jsonl --model M [--actors 8] [--gpus 1]

Ray Data reads the requests and passes batches of them to a pool of actors, each with its own model; the results are
written in the order of the requests, and are those that `medprm score` writes. What is not here is what Ray has: the
cluster, the pool, the queue, moving work away from a machine that is lost. What `medprm score` has and this has not is
going on after the driver itself was killed: for a run of days, score one file after another. As with `medprm score`,
the output appears when it is complete, only its owner can read it, and errors give the exit status 1.

IN is a file, or a folder of files, in any form that `medprm score` reads; every machine must be able to read them. One
task reads each, so many files are read side by side. Each actor takes a CPU; leave one for reading.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext

from medprm_scorer import MedPRM
from medprm_scorer.aggregate import Aggregate
from medprm_scorer.bulk.line_ranking import LineRanker
from medprm_scorer.bulk.request_lines import read_request_lines
from medprm_scorer.errors import InputError
from medprm_scorer.files.whole_file import whole_file
from medprm_scorer.selection import Strategy

_LINES = 64  # handed to Ray at a time


def read(files: dict[str, Any]) -> Iterator[dict[str, list[bytes | None]]]:
    """The requests in the files of a batch, a block at a time, in the column `line`."""
    for path in files["path"]:
        lines = read_request_lines(path)
        while block := [line.text for line in islice(lines, _LINES)]:
            yield {"line": block}


class Scorer:
    """What each actor of the pool is: a model, loaded once, that turns lines of requests into lines of results.

    Args:
        model: Hub id or folder; None: the demo model inside the package.
        strategy: As in `MedPRM.rank`.
        aggregate: As in `MedPRM.rank`.
    """

    def __init__(self, model: str | None, strategy: Strategy, aggregate: Aggregate) -> None:
        self._rank = LineRanker(MedPRM.from_pretrained(model), strategy, aggregate)
        self._loop = asyncio.new_event_loop()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """The results of a batch of requests, in the columns `result` and `error`, which is empty if there is none."""
        found = self._loop.run_until_complete(self._rank(list(batch["line"])))
        return {"result": [one.text for one in found], "error": [one.error or "" for one in found]}


def score(
    path: str | Path,
    out: str | Path,
    *,
    model: str | None = None,
    strategy: Strategy = "weighted_vote",
    aggregate: Aggregate = "min",
    actors: int = 1,
    gpus: float = 0,
    batch: int = 8,
) -> tuple[int, list[tuple[int, str]]]:
    """Rank the requests in a file on the cluster that Ray is connected to.

    Args:
        path: A file of requests, or a folder of such files; readable from every machine.
        out: The file to write, by this process.
        model: As in `Scorer`, like the two after it.
        strategy: How the answer is chosen.
        aggregate: How step rewards become a chain reward.
        actors: How many models there are, over all machines.
        gpus: GPUs that each of them needs.
        batch: Most requests in one call of a model.

    Returns:
        How many results were written; and for each that is an error its number, from 0, and the reason.

    Raises:
        InputError: The cluster has too few CPUs: each actor takes one, and reading takes another. Ray would wait.
    """
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if cpus < actors + 1:
        raise InputError(f"the cluster has {cpus} CPUs: at most {max(0, cpus - 1)} actors, as reading takes one, too")
    DataContext.get_current().execution_options.preserve_order = True
    paths = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    files = ray.data.from_items([{"path": str(one.absolute())} for one in paths], override_num_blocks=len(paths))
    lines = files.map_batches(read, batch_size=1).repartition(target_num_rows_per_block=batch)  # one for each call
    results = lines.map_batches(
        Scorer,
        fn_constructor_args=(model, strategy, aggregate),
        compute=ActorPoolStrategy(size=actors),
        batch_size=batch,
        num_gpus=gpus,
    )
    count, errors = 0, []
    with whole_file(out) as file:
        for row in results.iter_rows():
            file.write(row["result"])
            if row["error"]:
                errors.append((count, row["error"]))
            count += 1
    return count, errors


def main() -> int:
    """Read the arguments and score the file; the exit status is 1 if some results are errors."""
    parser = argparse.ArgumentParser(description="Score a file of requests on all machines of a Ray cluster.")
    parser.add_argument("path", metavar="IN")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--model", required=True, help="hub id or folder; demo: the small model inside medprm")
    parser.add_argument("--strategy", default="weighted_vote")
    parser.add_argument("--aggregate", default="min")
    parser.add_argument("--actors", type=int, default=1, help="models, over all machines")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs for each")
    options = parser.parse_args()
    ray.init(log_to_driver=False)  # a cluster that is there, by RAY_ADDRESS; else one on this machine
    count, errors = score(
        options.path,
        options.out,
        model=None if options.model == "demo" else options.model,
        strategy=options.strategy,
        aggregate=options.aggregate,
        actors=options.actors,
        gpus=options.gpus,
    )
    for number, error in errors:
        print(f"record {number}: {error}", file=sys.stderr)
    print(f"{count} results in {options.out}, {len(errors)} of them errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
