"""The kernels that PyTorch makes of `flex_attention` for a GPU, run in Triton's interpreter, against the plain twin.

    TRITON_INTERPRET=1 python -m tests.support.interpreted_flex float32 8 0

The last line is JSON: for each row the largest difference from the attention with a mask, and the kernels' names.
"""

import json
import random
import sys

import torch
from torch.nn.attention import flex_attention as module

from medprm_scorer.local import flex
from medprm_scorer.local.masked import mask_attention
from tests.support.absent_gpu import absent_gpu
from tests.support.rows import HEADS, KEY_HEADS, SCALE, SIZE, TREE, make

INTERPRETED = [(0, 1), (0, 100), (100, 400), (399, 401), (TREE.size - 1, TREE.size)]
"""The interpreter takes seconds for hundreds of tokens."""


def main(dtype: torch.dtype, capability: tuple[int, int]) -> dict[str, object]:
    """Largest differences by row and by who asks: all tokens, or some."""
    rng = random.Random(2)
    gaps = {}
    with absent_gpu(capability) as gpu:
        graph = gpu.compile_flex(dtype, HEADS, KEY_HEADS, SIZE, SCALE)
        run = torch.compile(module.flex_attention, backend=lambda *_: graph, dynamic=True, fullgraph=True)
        flex._compiled = lambda _: run  # type: ignore[assignment]
        # as an engine does on a GPU: sizes that no later row has anew are taken from it
        flex._warm_up(run, torch.device("cpu"), dtype, HEADS, KEY_HEADS, SIZE, SCALE)
        for begin, stop in INTERPRETED:
            queries, own, before, row = make(begin, stop, dtype)
            some = torch.tensor(sorted(rng.sample(range(stop - begin), min(stop - begin, 40))))
            for asking in (None, some):
                asked = queries if asking is None else queries[:, asking]
                given = (asked, own, before, row, asking, SCALE)
                gap = (flex.flex_attention(*given).float() - mask_attention(*given).float()).abs().max()
                gaps[f"{begin} to {stop}, {asked.shape[1]} ask"] = gap.item()
    return {"gaps": gaps, "kernels": [kernel.name for kernel in gpu.kernels]}


if __name__ == "__main__":
    print(json.dumps(main(getattr(torch, sys.argv[1]), (int(sys.argv[2]), int(sys.argv[3])))))  # noqa: T201
