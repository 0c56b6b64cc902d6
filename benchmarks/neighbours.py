"""How much a chain's rewards depend on what else is scored, and what `deterministic=True` costs.

    python -m benchmarks.neighbours [--dtype bfloat16] [--chains 12] [--words 300] [--shape 300m] [--model M]

Each chain is scored alone, then with all the others, then together with other questions, and in a session that grew
step by step. The largest difference of a reward from the one alone is printed, and how long the chains took together.
Without `--model` a Llama with random weights is made, of a shape of `medprm bench`; `--model demo` takes the demo model
inside the package.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer

from medprm_scorer import MedPRM
from medprm_scorer.cli.benchmark.workload import SHAPES, make_model
from medprm_scorer.local.loading import DEMO_MODEL
from medprm_scorer.results.models import ScoredChain

_WORDS = ["the", "patient", "has", "renal", "failure", "and", "takes", "5", "mg", "of", "drug", "daily", "so", "dose"]
_QUESTION = "Which dose?\n\n(A) 5 mg\n(B) 9 mg"


def text(draw: random.Random, words: int) -> str:
    """Random words."""
    return " ".join(draw.choices(_WORDS, k=words))


def gap(alone: Sequence[ScoredChain], found: Sequence[ScoredChain]) -> float:
    """Largest difference between the rewards of the same chains."""
    pairs = zip(alone, found, strict=True)
    return max(abs(a - b) for one, two in pairs for a, b in zip(one.step_rewards, two.step_rewards, strict=True))


def measure(prm: MedPRM, chains: list[list[str]], documents: list[str]) -> tuple[dict[str, float], float]:
    """Differences by where the chains were scored, and the seconds that the chains took together."""
    alone = [prm.score(_QUESTION, [chain], documents)[0] for chain in chains]
    begun = time.perf_counter()
    together = prm.score(_QUESTION, chains, documents)
    seconds = time.perf_counter() - begun
    texts = ["\n\n".join(chain) for chain in chains]
    asked: list[dict[str, Any]] = [
        {"question": _QUESTION, "candidates": texts, "documents": documents[place:]} for place in (0, 1, 2)
    ]
    first, *_ = prm.rank_many(asked)
    beside = sorted(first.chains, key=lambda chain: chain.index)
    alone_as_text = [prm.score(_QUESTION, [chain], documents)[0] for chain in texts]
    with prm.session(_QUESTION, documents) as session:
        for count in range(1, max(map(len, chains)) + 1):
            grown = session.score([chain[:count] for chain in chains])
    return {
        "with the others": gap(alone, together),
        "in rank_many": gap(alone_as_text, beside),
        "in a session": gap(alone, grown),
    }, seconds


def main() -> int:
    """Read the arguments, measure, print; 0 if the deterministic rewards did not differ at all."""
    parser = argparse.ArgumentParser(description="Measure how much rewards depend on what is scored beside them.")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--chains", type=int, default=12)
    parser.add_argument("--words", type=int, default=300, help="words of the documents")
    parser.add_argument("--shape", default="300m", choices=SHAPES)
    parser.add_argument("--model", help="hub id or folder; demo: the one inside the package")
    options = parser.parse_args()
    draw = random.Random(0)
    documents = [text(draw, options.words // 2) for _ in range(2)]
    chains = [[f"Step {n + 1}: {text(draw, draw.randint(10, 60))}." for n in range(4)] for _ in range(options.chains)]
    worst = 0.0
    for deterministic in (False, True):
        if options.model:
            name = None if options.model == "demo" else options.model
            prm = MedPRM.from_pretrained(name, dtype=options.dtype, deterministic=deterministic)
        else:
            model = make_model(options.shape, torch.device("cpu"), getattr(torch, options.dtype))
            tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL, use_fast=True, local_files_only=True)
            prm = MedPRM.from_model(model, tokenizer, deterministic=deterministic)
        found, seconds = measure(prm, chains, documents)
        told = ", ".join(f"{where} {size:.1e}" for where, size in found.items())
        print(f"deterministic={deterministic}: {told}; {options.chains} chains together in {seconds:.2f} s")
        worst = max(found.values())
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
