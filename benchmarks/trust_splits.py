"""Does the promise of a calibration hold? `python -m benchmarks.trust_splits [FILE]` splits questions again and again.

In each of 200 random splits, 300 questions calibrate and 300 others are answered. Counted is how often the part of
wrong answers among the trusted ones was at most the risk, beside what a threshold on the majority's share and one on
the raw reward of the best chain answer, both found with the same test. Nothing is chosen on the questions that are
answered. Without a file the questions are of the made-up formulary, with documents and with the documents withheld; a
file has known answers, as for `medprm evaluate`, and a model computes the rewards that it lacks.
"""

import argparse
import datetime
import json
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from examples.formulary.evaluate import fill, held_out
from medprm_scorer import MedPRM, Ranking
from medprm_scorer.evaluation.calibrate import JudgedRankings
from medprm_scorer.evaluation.questions import Questions, Selection
from medprm_scorer.evaluation.reward_sources import ComputedRewards, StoredRewards
from medprm_scorer.trust.calibration import chosen_of, divided, fit, judged
from medprm_scorer.trust.features import NAMES

MARKS = ("<!-- figures: written by trust_splits.py -->", "<!-- end of trust_splits.py -->")
RISKS = (0.02, 0.05, 0.10)
WAYS: dict[str, tuple[str, Sequence[str]]] = {  # strategy, and the numbers of a ranking that enter
    "calibrated": ("weighted_vote", NAMES),
    "majority's share": ("majority_vote", ("count_share",)),
    "best raw reward": ("best_of_n", ("best",)),
}
Record = tuple[Ranking, bool]


@dataclass(frozen=True)
class Splits:
    """The results of the splits for one method and risk.

    Args:
        kept: Part of the splits in which at most `risk` of the trusted answers were wrong.
        coverage: Mean part of the questions that were answered.
        error: Wrong answers of all splits over all that were trusted; None if none was.
        nothing: Part of the splits in which calibration said that nothing can be trusted.
    """

    kept: float
    coverage: float
    error: float | None
    nothing: float


def run_splits(
    records: Sequence[Record],
    risk: float,
    delta: float = 0.1,
    *,
    numbers: Sequence[str] = NAMES,
    size: int = 300,
    splits: int = 200,
    seed: int = 0,
) -> Splits:
    """Calibrate on some of the questions and answer others, again and again.

    Args:
        records: Rankings, and whether each is right.
        risk: Largest error rate.
        delta: Largest probability that the promise fails.
        numbers: Which numbers of a ranking enter.
        size: Questions to calibrate on, and questions to answer; at most half of all.
        splits: How many splits.
        seed: Of the splits.
    """
    questions = [judged(ranking, right) for ranking, right in records]
    size = min(size, len(questions) // 2)
    draw = np.random.default_rng(seed)
    kept, nothing, covered, wrong = 0, 0, 0, 0
    for _ in range(splits):
        order = draw.permutation(len(questions)).tolist()
        curve, rows = fit(*divided([questions[place] for place in order[:size]]), risk, delta, numbers)
        chosen = chosen_of(rows)
        answered = [questions[place] for place in order[size : 2 * size]]
        trusted = [one.right for one in answered if chosen is not None and curve.of(one) >= chosen.threshold]
        errors = trusted.count(False)
        kept += errors <= risk * len(trusted)
        nothing += chosen is None
        covered += len(trusted)
        wrong += errors
    return Splits(kept / splits, covered / (splits * size), wrong / covered if covered else None, nothing / splits)


def write_formulary(path: Path, questions: int, candidates: int) -> None:
    """Made-up questions with made-up chains, as `medprm evaluate` reads them."""
    with path.open("w") as lines:
        for number in range(questions):
            question, chains = held_out(number, "reserved" if number % 2 else "seen")
            record = {
                "id": number,
                "question": question.text,
                "documents": question.documents,
                "candidates": [chain.text for chain in chains[:candidates]],
                "correct_answer": question.answer,
            }
            lines.write(json.dumps(record) + "\n")


def read(path: Path, journal: Path, prm: Callable[[], MedPRM], documents: Any = "given") -> dict[str, list[Record]]:
    """The rankings of a file by each strategy; rewards are computed once and kept in the journal."""
    found = {}
    questions = Questions(path, Selection(documents=documents))
    stored = not questions.check().missing
    for strategy in dict.fromkeys(strategy for strategy, _ in WAYS.values()):
        if stored:
            found[strategy] = list(JudgedRankings(questions, StoredRewards(), strategy))  # type: ignore[arg-type]
            continue
        with closing(ComputedRewards(prm, journal)) as source:
            found[strategy] = list(JudgedRankings(questions, source, strategy))  # type: ignore[arg-type]
    return found


def table(records: dict[str, list[Record]], **how: Any) -> list[str]:
    """A row for each risk and way."""
    rows = [
        "| risk | trust by | splits with at most that error | mean coverage | error among trusted | nothing trusted |",
        "|---|---|---|---|---|---|",
    ]
    for risk in RISKS:
        for way, (strategy, numbers) in WAYS.items():
            found = run_splits(records[strategy], risk, numbers=numbers, **how)
            error = "-" if found.error is None else f"{found.error:.2%}"
            rows.append(
                f"| {risk:g} | {way} | {found.kept:.1%} | {found.coverage:.1%} | {error} | {found.nothing:.1%} |"
            )
            tqdm.write(rows[-1])
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?", help="judged questions; made-up ones if left out")
    parser.add_argument("--model", help="computes rewards that the file lacks; the demo model if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/trust"), help="folder for questions and rewards")
    parser.add_argument("--questions", type=int, default=2400, help="made-up questions")
    parser.add_argument("--candidates", type=int, default=8, help="chains of each made-up question, at most 16")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--size", type=int, default=300, help="questions to calibrate on, and to answer, in a split")
    parser.add_argument(
        "--results", type=Path, help="put the tables of the formulary into this text, between its marks"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    how = {"splits": arguments.splits, "size": arguments.size}
    loaded: list[MedPRM] = []

    def prm() -> MedPRM:
        if not loaded:
            loaded.append(MedPRM.from_pretrained(arguments.model))
        return loaded[0]

    if arguments.file is not None:
        records = read(arguments.file, arguments.out / f"{arguments.file.name}.sqlite3", prm)
        print(f"\n{len(records['weighted_vote']):,} questions of {arguments.file.name}\n")
        print("\n".join(table(records, **how)))
        return
    path = arguments.out / "formulary.jsonl"
    write_formulary(path, arguments.questions, arguments.candidates)
    given = read(path, arguments.out / "given.sqlite3", prm)
    withheld = read(path, arguments.out / "withheld.sqlite3", prm, "none")
    parts = [
        f"`python -m benchmarks.trust_splits --questions {arguments.questions} --candidates {arguments.candidates} "
        f"--splits {arguments.splits} --size {arguments.size}`, {datetime.date.today().isoformat()}, "
        f"{os.cpu_count()} CPU cores, {prm().engine.name}; delta 0.1"
    ]
    for name, found in (("with their documents", given), ("with the documents withheld", withheld)):
        parts.append(f"{len(found['weighted_vote']):,} made-up questions, {name}:")
        parts.append("\n".join(table(found, **how)))
    print("\n\n".join(parts))
    if arguments.results:
        fill(arguments.results, "\n\n".join(parts), MARKS)


if __name__ == "__main__":
    main()
