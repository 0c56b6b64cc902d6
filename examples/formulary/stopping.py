"""How many samples the stopping rules save: `python -m examples.formulary.stopping --out FOLDER`.

Two sets of formulary questions, each with 64 chains by the solver that the policy model learns to be, scored by the
demo reward model. On the first set a confidence and a smallest number of samples are chosen; on the second, which
nothing was chosen by, the package's default rule is compared with all 64 samples, against a fixed number of samples
with the same mean, and agreement with the same mean. A run that was stopped is resumed.
"""

import argparse
import datetime
import json
import os
import platform
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from examples.formulary.chains import make_chain
from examples.formulary.evaluate import fill
from examples.formulary.experiment import held_out, source
from examples.formulary.habits import habit
from medprm_scorer import MedPRM
from medprm_scorer.aggregate import aggregate_rewards
from medprm_scorer.evaluation.bootstrap import bootstrap_means, sign_flip_p_values
from medprm_scorer.evaluation.choices import Candidates
from medprm_scorer.evaluation.evaluate import Plan, evaluate
from medprm_scorer.evaluation.questions import Questions, Selection
from medprm_scorer.evaluation.stopping import draw_orders, simulate
from medprm_scorer.evaluation.table import Resampling
from medprm_scorer.sampling.stopping import Agree, Confident

Floats = npt.NDArray[np.float64]

MARKS = ("<!-- figures: written by stopping.py -->", "<!-- end of stopping.py -->")
CONFIDENCES = (0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
FEWEST = (2, 3, 4, 5)
AGREEING = range(2, 17)
ALLOWED_LOSS = 0.0025
"""Accuracy that a rule may lose on the first set against all samples."""
MOST_SAMPLES = 12.0
"""Samples that it may take there, on average."""

_ORDERS = 20
_RESAMPLES = 10_000


def write_questions(file: Path, numbers: Iterable[int], samples: int) -> None:
    """The file that `medprm evaluate` reads: held-out questions by their numbers, the same ones in each run."""
    with file.open("w") as lines:
        for number in numbers:
            _, question = held_out(number)
            rng = random.Random(f"stopping-{number}")
            record = {
                "id": number,
                "data_source": source(question),
                "question": question.text,
                "documents": question.documents,
                "candidates": [make_chain(question, rng, habit(question)).text for _ in range(samples)],
                "correct_answer": question.answer,
            }
            lines.write(json.dumps(record) + "\n")


def scored_file(folder: Path, part: str, prm: MedPRM, numbers: Iterable[int], samples: int) -> Path:
    """The questions of a part with their rewards; `medprm evaluate --stop` reads it, too."""
    file, scored = folder / f"{part}.jsonl", folder / f"{part}-scored.jsonl"
    write_questions(file, numbers, samples)
    plan = Plan(sizes=(samples,), subsets=1, how=Resampling(resamples=1, flips=1))
    evaluate(file, prm, plan=plan, journal=folder / "rewards.sqlite3", scored=scored, model="the demo model")
    return scored


def read_candidates(file: Path) -> list[Candidates]:
    """What the samples of each question answer, whether that is right, and their chain rewards."""
    found = []
    for question in Questions(file, Selection()):
        labelled = question.labelled
        assert labelled is not None
        assert labelled.right is not None
        assert labelled.rewards is not None
        rewards = [None if steps is None else aggregate_rewards(steps, "min") for steps in labelled.rewards]
        found.append(Candidates(labelled.answers, labelled.right, tuple(rewards)))
    return found


class Simulated:
    """Rules on the questions of one part: for each question, the accuracy and the mean number of samples.

    Args:
        questions: Their candidates.
        rules: When to stop.
    """

    def __init__(self, questions: Sequence[Candidates], rules: Sequence[Confident | Agree]) -> None:
        total = len(questions[0].right)
        orders = [draw_orders(total, total, _ORDERS, [0, place]) for place in range(len(questions))]
        stops = [one for place in range(0, len(questions), 100) for one in self._some(questions, orders, rules, place)]
        self.fixed: Floats = np.array([one.fixed for one in stops]) / _ORDERS
        """By question and by n − 1."""
        self.right = dict(zip(rules, (np.array([one.right for one in stops]) / _ORDERS).T, strict=True))
        self.drawn = dict(zip(rules, (np.array([one.drawn for one in stops]) / _ORDERS).T, strict=True))

    @staticmethod
    def _some(questions, orders, rules, place):  # type: ignore[no-untyped-def]
        return simulate(questions[place : place + 100], orders[place : place + 100], rules)

    def fixed_at(self, mean: float) -> Floats:
        """The accuracy with a fixed number of samples of this mean, interpolated between two whole numbers."""
        means = np.arange(1.0, self.fixed.shape[1] + 1)
        return _mixed(mean, means, list(self.fixed.T))

    def agree_at(self, mean: float) -> Floats:
        """The accuracy of agreement with this mean, interpolated between the two nearest numbers k."""
        rules = [Agree(k) for k in AGREEING]
        return _mixed(mean, np.array([self.drawn[rule].mean() for rule in rules]), [self.right[rule] for rule in rules])


def _mixed(mean: float, means: Floats, values: Sequence[Floats]) -> Floats:
    """Drawing by the cheaper of two ways for some questions, by chance, and by the dearer one for the others."""
    place = int(np.clip(np.searchsorted(means, mean, side="right"), 1, len(means) - 1))
    part = float(np.clip((mean - means[place - 1]) / (means[place] - means[place - 1]), 0.0, 1.0))
    return (1.0 - part) * values[place - 1] + part * values[place]


def choose_rule(simulated: Simulated) -> Confident:
    """The most careful rule that is cheap enough: the highest confidence within both bounds, from 3 samples on."""
    all_samples = simulated.fixed[:, -1].mean()
    good = [
        rule
        for rule in (Confident(confidence, min_samples=3) for confidence in CONFIDENCES)
        if simulated.drawn[rule].mean() <= MOST_SAMPLES and simulated.right[rule].mean() >= all_samples - ALLOWED_LOSS
    ]
    return max(good, key=lambda rule: rule.confidence, default=Confident())


def tuning_table(simulated: Simulated) -> str:
    """Accuracy and mean samples by confidence and smallest number of samples."""
    lines = [f"| % right (samples) | {' | '.join(f'at least {n}' for n in FEWEST)} |", "|---" * (len(FEWEST) + 1) + "|"]
    for confidence in CONFIDENCES:
        rules = [Confident(confidence, min_samples=n) for n in FEWEST]
        cells = [f"{100 * simulated.right[r].mean():.1f} ({simulated.drawn[r].mean():.1f})" for r in rules]
        lines.append(f"| confidence {confidence} | {' | '.join(cells)} |")
    return "\n".join(lines)


def report_table(simulated: Simulated, rules: Sequence[Confident | Agree]) -> str:
    """The rules against all samples, and at equal mean samples against fixed n and agreement, with intervals."""
    total = simulated.fixed.shape[1]
    lines = ["| rule | samples | % right |", "|---|---|---|"]
    lines += [
        f"| n = {n} | {n} | {100 * simulated.fixed[:, n - 1].mean():.1f} |" for n in (1, 4, 8, 16, 32, 64) if n <= total
    ]
    for rule in rules:
        drawn, right = simulated.drawn[rule].mean(), simulated.right[rule].mean()
        lines.append(f"| {rule.name} | {drawn:.1f} | {100 * right:.1f} |")
    confident = [rule for rule in rules if isinstance(rule, Confident)]
    names, gains = [], []
    for rule in confident:
        mean, right = float(simulated.drawn[rule].mean()), simulated.right[rule]
        names += [
            f"{rule.name} − n = {total}",
            f"{rule.name} − n = {mean:.1f}",
            f"{rule.name} − agree, {mean:.1f} samples",
        ]
        gains += [right - simulated.fixed[:, -1], right - simulated.fixed_at(mean), right - simulated.agree_at(mean)]
    values = np.stack(gains, axis=1)
    low, high = bootstrap_means(values, _RESAMPLES, 0)
    p_values = sign_flip_p_values(values, _RESAMPLES, 0)
    lines += ["", "| paired difference | points | p |", "|---|---|---|"]
    for name, mean, a, b, p in zip(names, values.mean(axis=0), low, high, p_values, strict=True):
        shown = "≤0.0001" if p <= 1 / _RESAMPLES else f"{p:.4f}"
        lines.append(f"| {name} | {100 * mean:+.1f} [{100 * a:+.1f}, {100 * b:+.1f}] | {shown} |")
    return "\n".join(lines)


def main() -> None:
    """Make and score both sets, choose on one, and report on the other."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a reward model; the one inside the package if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/stopping"), help="folder for questions and rewards")
    parser.add_argument("--results", type=Path, help="put the tables into this text, between its two marks")
    parser.add_argument("--tuning", type=int, default=292, help="questions of the first set")
    parser.add_argument("--questions", type=int, default=500, help="questions of the second set")
    parser.add_argument("--samples", type=int, default=64)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    first, total, samples = arguments.tuning, arguments.tuning + arguments.questions, arguments.samples
    prm = MedPRM.from_pretrained(arguments.model, device="cpu", dtype="float32")
    sets = {"tuning": range(first), "report": range(first, total)}
    found = {part: read_candidates(scored_file(arguments.out, part, prm, sets[part], samples)) for part in sets}
    grid = [Confident(confidence, min_samples=n) for confidence in CONFIDENCES for n in FEWEST]
    tuning = Simulated(found["tuning"], grid)
    chosen = choose_rule(tuning)
    rules = list(dict.fromkeys([Confident(0.8), Confident(), Confident(0.9), Confident(0.95), chosen]))
    report = Simulated(found["report"], [*rules, *(Agree(k) for k in AGREEING)])
    command = f"python -m examples.formulary.stopping --tuning {first} --questions {total - first} --samples {samples}"
    text = (
        f"`{command}`, {datetime.date.today().isoformat()}, {os.cpu_count()} CPU cores ({platform.machine()}). "
        f"Weighted vote, chain reward = min, {_ORDERS} random orders of each question's {samples} samples.\n\n"
        f"To choose by, {first} questions; with all {samples} samples {100 * tuning.fixed[:, -1].mean():.1f} % are "
        f"right. The highest confidence that takes at most {MOST_SAMPLES:g} samples and loses at most "
        f"{100 * ALLOWED_LOSS:.2f} points: {chosen.name}. The package's default: {Confident().name}.\n\n"
        f"{tuning_table(tuning)}\n\n"
        f"To report, {total - first} other questions:\n\n"
        f"{report_table(report, [*rules, Agree(3), Agree(5), Agree(8)])}"
    )
    print(text)
    if arguments.results:
        fill(arguments.results, text, MARKS)


if __name__ == "__main__":
    main()
