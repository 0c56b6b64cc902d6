"""What the rule for steps does to rewards: how well they tell right chains from wrong ones under each rule.

    python -m benchmarks.step_rules [--questions 40] [--model M]

Chains of the made-up formulary, 16 for each held-out question, one sentence a step, are written in three ways: as in
training (`labels`), with two sentences to a step (`pairs`), and as prose on one line without labels (`prose`). They are
scored with their documents under several rules. Each row gives the mean number of steps; the mean chain reward of
chains with the right answer and of the others; the share of pairs of one right and one wrong chain of the same question
in which the right one has the higher reward (AUROC within questions, ties count half); and how often the weighted vote
is right. `python -m benchmarks.step_rules` gave for the demo model, on 2026-11-26 on two CPU cores:

     written  rule       aggregate     steps  right  wrong  AUROC  vote
     labels   marker     min             4.7  0.602  0.031  0.801   95%
     labels   marker     min_of_three    4.7  0.693  0.263  0.795   80%
     pairs    marker     min             2.7  0.635  0.100  0.796   92%
     pairs    marker     min_of_three    2.7  0.624  0.095  0.789   92%
     pairs    sentences  min             4.7  0.591  0.032  0.809   95%
     prose    sentences  min             4.7  0.563  0.028  0.805   95%
     prose    sentences  min_of_three    4.7  0.646  0.220  0.788   82%
     prose    whole      min             1.0  0.770  0.453  0.704   62%
     prose    whole      min_of_three    1.0  0.615  0.359  0.704   62%

So prose is judged almost as well by its sentences as with labels, and much worse as one step. This is the demo model in
its made-up world, whose steps are single sentences: with other weights, measure again before using `sentences`.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from examples.formulary.chains import Chain
from examples.formulary.evaluate import CANDIDATES, held_out
from examples.formulary.world import Question
from medprm_scorer import MedPRM
from medprm_scorer.selection import Scored, select
from medprm_scorer.text.steps import split_steps

WAYS: dict[str, Callable[[Chain], str]] = {
    "labels": lambda chain: chain.text,
    "pairs": lambda chain: "\n".join(
        f"Step {place // 2 + 1}: {' '.join(step.text for step in chain.steps[place : place + 2])}"
        for place in range(0, len(chain.steps), 2)
    ),
    "prose": lambda chain: " ".join(step.text for step in chain.steps),
}
"""Ways to write a chain."""

CELLS = (("labels", "marker"), ("pairs", "marker"), ("pairs", "sentences"), ("prose", "sentences"), ("prose", "whole"))
"""What is compared: a way to write, and a rule for steps."""

AGGREGATES = ("min", "min_of_three", "mean")


@dataclass
class Cell:
    """What is found for one way to write, one rule and one aggregate."""

    right: list[float] = field(default_factory=list)
    wrong: list[float] = field(default_factory=list)
    steps: int = 0
    wins: float = 0.0
    pairs: int = 0
    votes: int = 0

    def add(self, rewards: Sequence[float], answers: Sequence[str], correct: str, steps: int) -> None:
        """Add one question's chains."""
        right = [reward for reward, answer in zip(rewards, answers, strict=True) if answer == correct]
        wrong = [reward for reward, answer in zip(rewards, answers, strict=True) if answer != correct]
        self.right += right
        self.wrong += wrong
        self.steps += steps
        self.pairs += len(right) * len(wrong)
        self.wins += sum((one > two) + (one == two) / 2 for one in right for two in wrong)
        entries = [Scored(index, *entry) for index, entry in enumerate(zip(rewards, answers, strict=True))]
        self.votes += select(entries, "weighted_vote").answer == correct


def measure(prm: MedPRM, questions: int) -> dict[tuple[str, str, str], Cell]:
    """Score the chains of so many questions in all ways.

    Args:
        prm: The reward model.
        questions: Number of held-out questions, at least 1.

    Returns:
        What was found, by way to write, rule and aggregate.
    """
    found: dict[tuple[str, str, str], Cell] = defaultdict(Cell)
    drawn: list[tuple[Question, list[Chain]]] = [held_out(number, "seen") for number in range(questions)]
    for question, chains in drawn:
        answers = [chain.answer for chain in chains]
        for way, rule in CELLS:
            split = [split_steps(WAYS[way](chain), rule) for chain in chains]
            scored = prm.score(question.text, [steps.steps for steps in split], question.documents)
            for aggregate in AGGREGATES:
                rewards = [chain.reward(aggregate) for chain in scored]
                found[way, rule, aggregate].add(rewards, answers, question.answer, sum(len(s.steps) for s in split))
    return found


def to_table(found: dict[tuple[str, str, str], Cell], questions: int) -> Table:
    """One row for each cell."""
    table = Table(title=f"{questions} questions, {CANDIDATES} chains each", box=None)
    for name in ("written", "rule", "aggregate", "steps", "right", "wrong", "AUROC", "vote"):
        table.add_column(name, justify="left" if name in ("written", "rule", "aggregate") else "right", no_wrap=True)
    for (way, rule, aggregate), cell in found.items():
        table.add_row(
            way,
            rule,
            aggregate,
            f"{cell.steps / (len(cell.right) + len(cell.wrong)):.1f}",
            f"{sum(cell.right) / max(len(cell.right), 1):.3f}",
            f"{sum(cell.wrong) / max(len(cell.wrong), 1):.3f}",
            f"{cell.wins / max(cell.pairs, 1):.3f}",
            f"{cell.votes / questions:.0%}",
        )
    return table


def main() -> None:
    """Read the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(
        description="How well rewards tell right chains from wrong ones, by rule for steps."
    )
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--model", type=Path, help="folder of the reward model; the demo model if left out")
    arguments = parser.parse_args()
    prm = MedPRM.from_pretrained(*([arguments.model] if arguments.model else []))
    Console().print(to_table(measure(prm, arguments.questions), arguments.questions))


if __name__ == "__main__":
    main()
