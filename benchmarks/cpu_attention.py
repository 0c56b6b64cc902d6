"""Which attention this processor runs fastest, measured as at load: `python -m benchmarks.cpu_attention`."""

import argparse

import torch

from medprm_scorer.cli.benchmark.workload import SHAPES
from medprm_scorer.local.cpu_speed import chosen, measured, usual_on_cpu, workload


def main() -> None:
    """Print milliseconds by way and tile, and the choice, for each dtype."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="with commas")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    heads = shape["num_attention_heads"]
    for name in options.dtypes.split(","):
        dtype: torch.dtype = getattr(torch, name)
        times = measured(workload(dtype, heads, heads // 4, shape["hidden_size"] // heads))
        said = ", ".join(f"{way} {tile}: {1000 * seconds:,.0f} ms" for (way, tile), seconds in times.items())
        way, tile = chosen(times, usual_on_cpu(dtype))
        print(f"{options.shape}, {name}, {torch.get_num_threads()} threads: {said}; chosen: {way} {tile}")


if __name__ == "__main__":
    main()
