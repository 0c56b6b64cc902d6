"""What the demo reward model scores on held-out questions: `python -m examples.formulary.evaluate [--model FOLDER]`.

Step AUROC by stage and by kind of error, calibration, and the accuracy of each way of choosing among 16 candidates,
each with the documents, with the documents withheld, and with another question's documents in their place. Held-out
questions come from seeds that training never uses; the `reserved` set pairs conditions and drugs that were never seen
together.
"""

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from examples.formulary.calibration import expected_calibration_error, reliability
from examples.formulary.chains import CITING_STAGES, ERROR_KINDS, RIVALS, STAGES, Chain, draw_policy, make_chain
from examples.formulary.reliability_plot import reliability_figure
from examples.formulary.world import Question, make_question
from medprm_scorer import MedPRM, ScoredChain
from medprm_scorer.evaluation.plots import save_figure
from medprm_scorer.selection import Scored, select

CANDIDATES = 16
SETTINGS = ("documents", "withheld", "another's")
CHOICES = ("random pick", "majority vote", "best-of-n", "weighted vote", "oracle")
MARKS = ("<!-- figures: written by evaluate.py -->", "<!-- end of figures -->")
_RESAMPLES = 1000
Figure = tuple[float, float, float]
"""A value and the two ends of its bootstrap 95 % interval."""


Rewards = list[tuple[int, float]]
"""Rewards of steps, each with the number of its question."""


def auroc(good: Rewards, bad: Rewards, seed: int = 0) -> Figure:
    """Probability that a valid step's reward is above a wrong step's (ties count half), and its interval.

    The bootstrap draws questions, not steps, since the steps of one question are alike.
    """
    if not good or not bad:
        return float("nan"), float("nan"), float("nan")
    bad = sorted(bad, key=lambda entry: entry[1])
    (good_of, values), (bad_of, ordered) = (map(np.asarray, zip(*entries, strict=True)) for entries in (good, bad))
    below = np.searchsorted(ordered, values, side="left")
    not_above = np.searchsorted(ordered, values, side="right")

    def weighted(weights: np.ndarray) -> float:
        running = np.concatenate([[0.0], np.cumsum(weights[bad_of])])
        wins = weights[good_of] @ (running[below] + running[not_above]) / 2
        total = weights[good_of].sum() * running[-1]
        return float(wins / total) if total else float("nan")

    questions = int(max(good_of.max(), bad_of.max())) + 1
    chance = np.random.default_rng(seed)
    drawn = [weighted(chance.multinomial(questions, np.full(questions, 1 / questions))) for _ in range(_RESAMPLES)]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return weighted(np.ones(questions)), float(low), float(high)


def interval(values: Sequence[float], seed: int = 0) -> Figure:
    """Mean over questions and its bootstrap 95 % interval."""
    array = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).integers(0, len(array), (_RESAMPLES, len(array)))
    low, high = np.quantile(array[draws].mean(1), (0.025, 0.975))
    return float(array.mean()), float(low), float(high)


def held_out(number: int, names: str) -> tuple[Question, list[Chain]]:
    """One held-out question and its candidates; training seeds are of another form, so none is shared."""
    rng = random.Random(f"held-out-{names}-{number}")
    question = make_question(rng, names)
    policy = draw_policy(rng)
    return question, [make_chain(question, rng, policy) for _ in range(CANDIDATES)]


def choose(chains: list[Chain], scored: list[ScoredChain], right: str) -> dict[str, float]:
    """Whether each selection method finds the right answer (for the random pick, how often)."""
    entries = [Scored(s.index, s.reward("min"), s.answer) for s in scored]
    vote = Counter(chain.answer for chain in chains).most_common(1)[0][0]
    best = select(entries, "best_of_n").order[0]
    return {
        "random pick": sum(chain.answer == right for chain in chains) / len(chains),
        "majority vote": float(vote == right),
        "best-of-n": float(chains[best].answer == right),
        "weighted vote": float(select(entries, "weighted_vote").answer == right),
        "oracle": float(any(chain.answer == right for chain in chains)),
    }


class StepRewards:
    """Rewards of single-stage steps, by stage, and by kind of error for those with just one."""

    def __init__(self) -> None:
        self.good: dict[str, Rewards] = defaultdict(list)
        self.bad: dict[str, Rewards] = defaultdict(list)
        self.all: list[tuple[float, bool]] = []

    def add(self, number: int, question: Question, chain: Chain, scored: ScoredChain) -> None:
        """Add one chain of the question with this number."""
        for step, reward in zip(chain.steps, scored.step_rewards, strict=True):
            self.all.append((reward, step.valid))
            if len(step.stages) == 1:
                told = self.good if step.valid else self.bad
                told[step.stages[0]].append((number, reward))
                for kind in step.errors:
                    self.bad[kind].append((number, reward))
                for kind in ERROR_KINDS[step.stages[0]]:
                    if step.valid and RIVALS.get(kind, question.kind) == question.kind:
                        self.good[kind].append((number, reward))
                if step.stages[0] in CITING_STAGES:
                    told["citing"].append((number, reward))

    def table(self) -> dict[str, Figure]:
        """AUROC by stage, by kind of error against the valid steps of its stage, and over all steps that cite.

        Steps that follow a rival document are compared with valid steps of questions that have such a rival.
        """
        rows = {stage: auroc(self.good[stage], self.bad[stage]) for stage in STAGES}
        for kinds in ERROR_KINDS.values():
            rows.update({kind: auroc(self.good[kind], self.bad[kind]) for kind in kinds})
        return rows | {"citing": auroc(self.good["citing"], self.bad["citing"])}


def evaluate(prm: MedPRM, questions: int, names: str, settings: Sequence[str] = SETTINGS) -> dict[str, Any]:
    """Score held-out questions under each setting and gather the figures."""
    report: dict[str, Any] = {}
    for setting in settings:
        rewards, seconds = StepRewards(), []
        picks: dict[str, list[float]] = defaultdict(list)
        for number in tqdm(range(questions), desc=f"{names}, {setting}", disable=None):
            question, chains = held_out(number, names)
            shown = question.documents if setting == "documents" else ()
            if setting == "another's":
                shown = held_out(number + 1_000_000, names)[0].documents
            begun = time.perf_counter()
            scored = prm.score(question.text, [chain.text for chain in chains], shown)
            seconds.append(time.perf_counter() - begun)
            for chain, result in zip(chains, scored, strict=True):
                assert result.answer in (chain.answer, None)  # None: its letter is not that of the dose it names
                rewards.add(number, question, chain, result)
            for choice, hit in choose(chains, scored, question.answer).items():
                picks[choice].append(hit)
        values, valid = zip(*rewards.all, strict=True)
        report[setting] = {
            "auroc": rewards.table(),
            "accuracy": {choice: interval(picks[choice]) for choice in CHOICES},
            "best-of-n above majority vote": interval(_above(picks, "best-of-n")),
            "weighted vote above majority vote": interval(_above(picks, "weighted vote")),
            "calibration error": expected_calibration_error(values, valid),
            "bins": [(b.mean_reward, b.share_valid, b.count) for b in reliability(values, valid)],
            "seconds": float(np.median(seconds)),
        }
    return report


def _above(picks: dict[str, list[float]], choice: str) -> list[float]:
    """By how much a selection method is above majority vote on each question."""
    return [mine - theirs for mine, theirs in zip(picks[choice], picks["majority vote"], strict=True)]


def to_markdown(report: dict[str, Any], names: str, questions: int) -> str:
    """The figures as two tables."""
    settings = list(report)
    lines = [f"**{names} pairs of names, {questions} questions, {CANDIDATES} candidates each**", ""]
    lines += [f"| step AUROC [95 % interval] | {' | '.join(settings)} |", "|---" * (len(settings) + 1) + "|"]
    for row in report[settings[0]]["auroc"]:
        name = {"citing": "all steps that cite a document (guideline, label)"}.get(row, row.replace("_", " "))
        name = f"**{name}**" if row in STAGES or row == "citing" else name
        lines.append(f"| {name} | {' | '.join(_ratio(report[s]['auroc'][row]) for s in settings)} |")
    lines += ["", f"| right answers, % [95 % interval] | {' | '.join(settings)} |", "|---" * (len(settings) + 1) + "|"]
    for choice in CHOICES:
        cells = [report[s]["accuracy"][choice] for s in settings]
        lines.append(f"| {choice} | {' | '.join(_percent(cell) for cell in cells)} |")
    for choice in ("best-of-n", "weighted vote"):
        cells = [report[s][f"{choice} above majority vote"] for s in settings]
        lines.append(f"| {choice} above majority vote, points | {' | '.join(_percent(cell) for cell in cells)} |")
    errors = [f"{report[s]['calibration error']:.3f}" for s in settings]
    lines += [
        "",
        f"| calibration, all steps | {' | '.join(settings)} |",
        "|---" * (len(settings) + 1) + "|",
        f"| expected calibration error (15 bins) | {' | '.join(errors)} |",
        "",
        "Withheld: no documents are shown. Another's: those of another question. Oracle: some candidate is right.",
    ]
    return "\n".join(lines)


def plot_reliability(reports: dict[str, Any], path: Path) -> None:
    """The reliability diagram over all sets, with documents: a bin's rewards are those of all its steps."""
    merged: dict[int, list[tuple[float, float, int]]] = defaultdict(list)
    for report in reports.values():
        for reward, share, count in report["documents"]["bins"]:
            merged[min(int(reward * 15), 14)].append((reward, share, count))
    bins = []
    for parts in merged.values():
        total = sum(count for _, _, count in parts)
        means = [sum(part[i] * part[2] for part in parts) / total for i in (0, 1)]
        bins.append((means[0], means[1], total))
    steps = sum(count for *_, count in bins)
    error = sum(count * abs(reward - share) for reward, share, count in bins) / steps
    save_figure(reliability_figure(sorted(bins), error, f"The demo model on {steps:,} held-out steps"), path)


def to_summary(reports: dict[str, Any]) -> str:
    """The figures that a newcomer needs, as one table."""
    lines = ["| names | figure | with documents | withheld | another question's |", "|---|---|---|---|---|"]
    for names, report in reports.items():
        citing = [_ratio(report[setting]["auroc"]["citing"]) for setting in report]
        lines.append(f"| {names} | AUROC of steps that cite a document | {' | '.join(citing)} |")
        for choice in CHOICES[1:4]:
            cells = [_percent(report[setting]["accuracy"][choice]) for setting in report]
            lines.append(f"| {names} | {choice}, % right | {' | '.join(cells)} |")
    return "\n".join(lines)


def fill(file: Path, figures: str, marks: tuple[str, str] = MARKS) -> None:
    """Put figures into a text between its two marks."""
    before, rest = file.read_text().split(marks[0])
    after = rest.split(marks[1])[1]
    file.write_text(f"{before}{marks[0]}\n{figures}\n{marks[1]}{after}")


def _ratio(cell: Figure) -> str:
    return "—" if cell[0] != cell[0] else f"{cell[0]:.3f} [{cell[1]:.3f}, {cell[2]:.3f}]"  # too few steps: NaN


def _percent(cell: Figure) -> str:
    return f"{100 * cell[0]:.1f} [{100 * cell[1]:.1f}, {100 * cell[2]:.1f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a reward model; the one inside the package if left out")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--names", choices=("seen", "reserved"), nargs="+", default=["seen", "reserved"])
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--card", type=Path, help="put the tables into this model card, between its two marks")
    parser.add_argument("--plot", type=Path, help="draw the reliability diagram (with documents, all sets) here")
    parser.add_argument("--results", type=Path, help="put a summary into this text, between its two marks")
    arguments = parser.parse_args()
    if arguments.questions < 1:
        parser.error("--questions must be at least 1")
    prm = MedPRM.from_pretrained(arguments.model, device="cpu", dtype="float32")
    begun = time.monotonic()
    reports = {names: evaluate(prm, arguments.questions, names) for names in arguments.names}
    tables = "\n\n".join(to_markdown(figures, names, arguments.questions) for names, figures in reports.items())
    print(tables, end="\n\n")
    middle = [figures["documents"]["seconds"] for figures in reports.values() if "documents" in figures]
    print(f"{CANDIDATES} candidates of a question: {1000 * max(middle):.0f} ms (median)")
    print(f"{time.monotonic() - begun:.0f} s on {prm.engine.name}")
    if arguments.plot:
        plot_reliability(reports, arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps(reports, indent=1))
    if arguments.card:
        fill(arguments.card, tables)
    if arguments.results:
        fill(arguments.results, to_summary(reports))
