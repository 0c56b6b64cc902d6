"""How often different ways of answering are right, on the same patients, with paired differences.

For the integrations' examples: each way is a whole chain, agent or query engine, asked through the real server.
A comparison that was stopped is resumed by the same command.
"""

import argparse
import datetime
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from examples.formulary.evaluate import fill
from examples.formulary.hospital import Case, Hospital
from medprm_scorer import Ranking
from medprm_scorer.evaluation.bootstrap import bootstrap_means, sign_flip_p_values
from medprm_scorer.evaluation.journal import Journal

Answers = Mapping[str, tuple[str | None, int]]
"""For each way of answering, the option's letter that it gave, or None, and how many calls of the model it took."""

_Result = TypeVar("_Result")

Pair = tuple[str, str]
"""A way of answering and the one that it is compared with."""

_RESAMPLES = 10_000


def majority(ranking: Ranking) -> str | None:
    """The self-consistency answer of the same samples: the most frequent one; the first seen wins a tie."""
    in_order = sorted(ranking.chains, key=lambda chain: chain.index)
    votes = Counter(chain.answer for chain in in_order if chain.answer is not None)
    return max(votes, key=lambda answer: votes[answer]) if votes else None


def voted_and_selected(ranking: Ranking, calls: int, votes: str, selects: str) -> Answers:
    """The answers of two ways that share their samples: a majority vote of them, and the one that rewards choose."""
    return {votes: (majority(ranking), calls), selects: (ranking.answer, calls)}


def counted(run: Callable[[], _Result], calls: Callable[[], int]) -> tuple[_Result, int]:
    """The answer of one method, and how many requests the server received for it."""
    before = calls()
    return run(), calls() - before


def compare(ask: Callable[[Case], Answers], hospital: Hospital, cases: int, file: Path, about: str) -> list[Answers]:
    """Ask about every patient in every way.

    Args:
        ask: The answers to one patient's question, by way of answering.
        hospital: Whose patients.
        cases: How many.
        file: Where answers are kept, so that a run that was stopped can be resumed.
        about: What they depend on; a file of another run is refused.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with Journal(file, {"about": about}) as journal:
        answers: list[Answers] = []
        for number in tqdm(range(cases), desc="patients", disable=None):
            found = journal.get(str(number))
            if found is None:
                found = dict(ask(hospital.case(number)))
                journal.add(str(number), found)
            answers.append({way: (letter, calls) for way, (letter, calls) in found.items()})
        return answers


def table(answers: Sequence[Answers], right: Sequence[str], pairs: Sequence[Pair]) -> str:
    """Accuracies, mean calls of the model and paired differences with bootstrap 95 % intervals, as Markdown.

    Args:
        answers: One entry per patient.
        right: The right letter of each.
        pairs: Ways to compare with each other.
    """
    ways = list(answers[0])
    hits = np.array(
        [[one[way][0] == letter for way in ways] for one, letter in zip(answers, right, strict=True)], float
    )
    low, high = bootstrap_means(hits, _RESAMPLES, 0)
    calls = np.array([[one[way][1] for way in ways] for one in answers], float).mean(0)
    lines = ["| way of answering | % right | calls of the model |", "|---|---|---|"]
    lines += [
        f"| {way} | {100 * mean:.1f} [{100 * a:.1f}, {100 * b:.1f}] | {count:.1f} |"
        for way, mean, a, b, count in zip(ways, hits.mean(0), low, high, calls, strict=True)
    ]
    gains = np.stack([hits[:, ways.index(one)] - hits[:, ways.index(other)] for one, other in pairs], 1)
    low, high = bootstrap_means(gains, _RESAMPLES, 0)
    p = sign_flip_p_values(gains, _RESAMPLES, 0)
    lines += ["", "| paired difference | points | p |", "|---|---|---|"]
    lines += [
        f"| {one} − {other} | {100 * mean:+.1f} [{100 * a:+.1f}, {100 * b:+.1f}] | {_p_text(value)} |"
        for (one, other), mean, a, b, value in zip(pairs, gains.mean(0), low, high, p, strict=True)
    ]
    return "\n".join(lines)


def _p_text(value: float) -> str:
    """The smallest p that so many flips can give is a bound."""
    return f"<={value:.4f}" if value <= 1 / _RESAMPLES else f"{value:.4f}"


def main(
    module: str, ask: Callable[[Case], Answers], hospital: Hospital, pairs: Sequence[Pair], options: argparse.Namespace
) -> None:
    """Compare, and print the table or put it into a text between its two marks."""
    asked: list[Case] = []

    def noted(case: Case) -> Answers:
        asked.append(case)
        return ask(case)

    begun = time.monotonic()
    answers = compare(noted, hospital, options.cases, options.out / f"{module}.sqlite3", f"{module} n={options.n}")
    right = [hospital.case(number).answer for number in range(options.cases)]
    facts = (
        f"`python -m examples.{module} --cases {options.cases} --n {options.n}`, {datetime.date.today().isoformat()}, "
        f"{os.cpu_count()} CPU cores ({platform.machine()}); {options.cases} patients, {options.n} samples. "
        "Calls were counted at the server; an agent's search is one of them."
    )
    if asked:
        facts += f" A patient took {(time.monotonic() - begun) / len(asked):.1f} s."
    text = f"{facts}\n\n{table(answers, right, pairs)}"
    print(text)
    if options.results:
        fill(options.results, text, (f"<!-- figures: written by {module}.py -->", f"<!-- end of {module}.py -->"))


def read_options(description: str) -> argparse.Namespace:
    """The options of a comparison: how many patients and samples, and where to keep what was found."""
    parser = argparse.ArgumentParser(
        description=description.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=120, help="patients")
    parser.add_argument("--n", type=int, default=8, help="samples for each answer")
    parser.add_argument("--out", type=Path, default=Path("runs/comparisons"), help="folder for the answers")
    parser.add_argument("--results", type=Path, help="put the table into this text, between its two marks")
    return parser.parse_args()
