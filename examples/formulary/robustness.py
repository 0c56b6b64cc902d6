"""Whether rewards depend on what must not matter: `python -m examples.formulary.robustness`.

Held-out questions are scored again with their documents in another order, and with their chains in other layouts, as
other policies write them.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from examples.formulary.chains import Chain
from examples.formulary.evaluate import fill, held_out
from medprm_scorer import MedPRM, ScoredChain
from medprm_scorer.selection import Scored, select

MARKS = ("<!-- figures: written by robustness.py -->", "<!-- end of robustness -->")


def _each(form: str, between: str = "\n") -> Callable[[Chain], str]:
    """A way to write a chain, step by step."""
    return lambda chain: between.join(form.format(number, step.text) for number, step in enumerate(chain.steps, 1))


LAYOUTS: dict[str, Callable[[Chain], str]] = {
    "as trained": lambda chain: chain.text,
    "steps in markdown": _each("**Step {}:** {}", "\n\n"),
    "headings": _each("### Step {}\n\n{}", "\n\n"),
    "numbered list": _each("{}. {}"),
    "bullets": _each("- {1}"),
    "paragraphs": _each("{1}", "\n\n"),
}
"""Ways to write a chain; the package finds the steps in each."""


@dataclass
class Change:
    """What one change does to rewards and winners."""

    rewards: list[float] = field(default_factory=list)
    winners: list[bool] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def row(self, name: str) -> str:
        """A row of the table."""
        if name == "as trained":
            return f"| {name} | — | — | — | {100 * np.mean(self.right):.1f} |"
        low, high = np.quantile(self.rewards, (0.95, 0.99))
        winners = 100 * np.mean(self.winners)
        return f"| {name} | {low:.3f} | {high:.3f} | {winners:.1f} | {100 * np.mean(self.right):.1f} |"


def winner(scored: Sequence[ScoredChain]) -> str | None:
    """The answer of the weighted vote."""
    return select([Scored(s.index, s.reward("min"), s.answer) for s in scored], "weighted_vote").answer


def measure(prm: MedPRM, questions: int) -> dict[str, Change]:
    """Score so many questions under each change, every other one with pairs of names that training never uses."""
    found = {name: Change() for name in [*LAYOUTS, "documents in another order"]}
    for number in tqdm(range(questions), desc="robustness", disable=None):
        question, chains = held_out(number, "reserved" if number % 2 else "seen")
        shuffled = random.Random(f"order-{number}").sample(question.documents, len(question.documents))
        base: list[ScoredChain] = []
        for name, change in found.items():
            texts = [LAYOUTS.get(name, LAYOUTS["as trained"])(chain) for chain in chains]
            documents = question.documents if name in LAYOUTS else shuffled
            scored = prm.score(question.text, texts, documents)
            base = base or scored
            change.rewards += [abs(a.reward("min") - b.reward("min")) for a, b in zip(base, scored, strict=True)]
            change.winners.append(winner(scored) != winner(base))
            change.right.append(winner(scored) == question.answer)
    return found


def to_markdown(found: dict[str, Change], questions: int) -> str:
    """The table for the model card."""
    head = (
        f"**{questions} questions, 16 candidates each, weighted vote**\n\n"
        "| change | 95 % of chain rewards change by at most | 99 % by at most | winner changes, % | right, % |\n"
        "|---|---|---|---|---|\n"
    )
    return head + "\n".join(change.row(name) for name, change in found.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a reward model; the one inside the package if left out")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--card", type=Path, help="put the table into this model card, between its two marks")
    arguments = parser.parse_args()
    prm = MedPRM.from_pretrained(arguments.model, device="cpu", dtype="float32")
    table = to_markdown(measure(prm, arguments.questions), arguments.questions)
    print(table)
    if arguments.card:
        fill(arguments.card, table, MARKS)
