"""What a search adds to the time of its policy, in one process: `python -m benchmarks.search_overhead`.

A beam search over the formulary's questions, with its policy and its reward model, which are of the same size; and the
same calls of the policy without a search, which write the same tokens. The two alternate, and before each the policy
knows nothing of the question. A ratio means something on a busy machine, too.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from examples.formulary.experiment import held_out
from examples.formulary.sample import POLICY
from examples.formulary.world import Question
from medprm_scorer import MedPRM
from medprm_scorer.cli.benchmark.measure import CLOCKS
from medprm_scorer.local.loading import load
from medprm_scorer.search import Continuation, GrowingChain, Limits, LocalPolicy, SearchTree, beam_search


class Noted:
    """A policy that records its calls."""

    def __init__(self, policy: LocalPolicy) -> None:
        self._policy = policy
        self.calls: list[tuple[Sequence[GrowingChain], int]] = []

    def extend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> list[list[Continuation]]:
        """See `medprm_scorer.search.Policy`."""
        self.calls.append((chains, n))
        return self._policy.extend(question, documents, chains, n)


def compare(
    prm: MedPRM, loaded: tuple[Any, Any], question: Question, clock: Any, **numbers: Any
) -> tuple[float, float, SearchTree]:
    """Seconds of a search and of its policy's calls alone, and the search's tree.

    Args:
        prm: The reward model.
        loaded: The policy's model and tokenizer.
        question: The question.
        clock: Gives the time in seconds.
        **numbers: Of the search.
    """
    noted, alone = Noted(LocalPolicy(*loaded)), LocalPolicy(*loaded)
    begun = clock()
    tree = beam_search(noted, prm, question.text, question.documents, **numbers).tree
    between = clock()
    for chains, n in noted.calls:
        alone.extend(question.text, question.documents, chains, n)
    return between - begun, clock() - between, tree


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5, help="how often each question is searched")
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--expansions", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6, help="most steps of a chain")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of both models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: the process's own time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prm, loaded = MedPRM.from_pretrained(device="cpu", dtype=options.dtype), load(POLICY, "cpu", options.dtype)
    numbers = {"width": options.width, "expansions": options.expansions, "limits": Limits(max_steps=options.steps)}
    rows: list[tuple[float, float, SearchTree]] = []
    for number in tqdm(range(options.questions), desc="questions", disable=None):
        _, question = held_out(number)
        compare(prm, loaded, question, time.perf_counter, **numbers)  # to warm up
        rows += [compare(prm, loaded, question, CLOCKS[options.clock], **numbers) for _ in range(options.rounds)]
    whole, alone = statistics.median(one for one, _, _ in rows), statistics.median(one for _, one, _ in rows)
    added = sorted(100 * (one / other - 1) for one, other, _ in rows)
    low, high = added[len(added) // 4], added[3 * len(added) // 4]
    written, read = (
        statistics.mean(getattr(tree, kind) for _, _, tree in rows) for kind in ("generated_tokens", "reward_tokens")
    )
    print(
        f"{options.width} x {options.expansions}, {options.steps} steps at most, {len(rows)} searches of "
        f"{options.questions} questions, {options.clock} time, {options.dtype}, threads: {options.threads}\n"
        f"search {1000 * whole:.0f} ms, policy alone {1000 * alone:.0f} ms (medians); added "
        f"{statistics.median(added):.1f} % (median; half of the searches between {low:.1f} and {high:.1f} %)\n"
        f"tokens of a search: {written:.0f} generated, {read:.0f} of the reward model"
    )


if __name__ == "__main__":
    main()
