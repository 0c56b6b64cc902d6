"""The paper's figure in small: `python -m examples.formulary.experiment --out FOLDER`.

Samples 64 solutions for each of 500 held-out questions from the small policy model, by the paper's sampling rules;
scores them with the demo reward model with the documents, without any, and with another question's; and compares the
ways of choosing. A run that was stopped is resumed by the same command.
"""

import argparse
import datetime
import json
import os
import platform
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from examples.formulary.habits import habit_of
from examples.formulary.sample import POLICY, PolicyModel
from examples.formulary.world import Question, make_question
from medprm_scorer import MedPRM, sample_chains
from medprm_scorer.evaluation.evaluate import evaluate
from medprm_scorer.evaluation.journal import Journal
from medprm_scorer.evaluation.plots import save_scaling_plot
from medprm_scorer.evaluation.report import to_text
from medprm_scorer.evaluation.results import Evaluation

SETTINGS = {
    "documents": "with the question's documents",
    "withheld": "without documents",
    "another's": "with another question's documents",
}

ACCOUNT = """\
Each habit follows a document that does not count for the patient: an older guideline or label, another formulation's
label, the other unit, or a guideline whose exception a notice has replaced. In its words such a chain is like a right
one. Only the question's own documents show the mistake, so without them, or with another question's, the reward model
cannot correct a majority that shares it."""


def held_out(number: int) -> tuple[str, Question]:
    """One question of the experiment, every other one with pairs of names that training never uses."""
    names = "reserved" if number % 2 else "seen"
    return names, make_question(random.Random(f"experiment-{number}"), names)


def sample(folder: Path, policy: PolicyModel, questions: int, samples: int, seed: int) -> Journal:
    """The solutions of each question, in a journal by the question's number."""
    journal = Journal(folder / "samples.sqlite3", {"samples": samples, "seed": seed})
    for number in tqdm(range(questions), desc="sampling", disable=None):
        if journal.get(str(number)) is None:
            _, question = held_out(number)
            torch.manual_seed(seed * 1_000_003 + number)
            drawn = sample_chains(partial(policy.draw, question.text, question.documents), samples)
            journal.add(str(number), {"chains": drawn.chains, "drawn": drawn.drawn, "dropped": drawn.dropped})
    return journal


def _drawn(journal: Journal, number: int) -> dict[str, Any]:
    """What `sample` stored for a question."""
    found: dict[str, Any] = journal.get(str(number)) or {}
    return found


def source(question: Question) -> str:
    """The policy's habit on a question, by which the results are grouped."""
    return (habit_of(question) or "no habit").replace("_", " ")


def write_requests(folder: Path, journal: Journal, questions: int, setting: str) -> Path:
    """The file that `medprm evaluate` reads, with the documents of one setting."""
    file = folder / f"{setting.replace(chr(39), '')}.jsonl"
    with file.open("w") as lines:
        for number in range(questions):
            _, question = held_out(number)
            documents = {
                "documents": question.documents,
                "withheld": (),
                "another's": held_out(number + 1_000_000)[1].documents,
            }[setting]
            record = {
                "id": number,
                "data_source": source(question),
                "question": question.text,
                "documents": documents,
                "candidates": _drawn(journal, number)["chains"],
                "correct_answer": question.answer,
            }
            lines.write(json.dumps(record) + "\n")
    return file


def ablation_table(found: dict[str, Evaluation]) -> str:
    """Accuracies of the selection methods with rewards in each setting, and of those without."""
    sizes = found["documents"].sizes
    lines = [f"| % right | {' | '.join(f'n = {n}' for n in sizes)} |", "|---" * (len(sizes) + 1) + "|"]

    def row(name: str, total: str, choice: str, aggregate: str | None = None) -> str:
        cells = [found[total].total.cell(n, choice, aggregate).accuracy for n in sizes]
        return f"| {name} | {' | '.join(f'{100 * cell.value:.1f}' for cell in cells)} |"

    lines.append(row("majority vote", "documents", "majority_vote"))
    for choice, label in (("weighted_vote", "weighted vote"), ("best_of_n", "best-of-n")):
        lines += [row(f"{label}, {SETTINGS[setting]}", setting, choice, "min") for setting in found]
    lines.append(row("oracle", "documents", "oracle"))
    return "\n".join(lines)


def habit_table(found: dict[str, Evaluation]) -> str:
    """What each habit costs the majority, and what the weighted vote needs the documents for, with all samples."""
    settings = list(found)
    heads = ["majority vote", *(f"weighted vote, {SETTINGS[setting]}" for setting in settings)]
    lines = [f"| % right | questions | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    n = found["documents"].sizes[-1]
    for part in found["documents"].sources:
        cells = [part.cell(n, "majority_vote")]
        for setting in settings:
            (same,) = [other for other in found[setting].sources if other.source == part.source]
            cells.append(same.cell(n, "weighted_vote", "min"))
        shown = " | ".join(f"{100 * cell.accuracy.value:.1f}" for cell in cells)
        lines.append(f"| {part.source} | {part.questions} | {shown} |")
    return "\n".join(lines)


def write_results(results: Path, found: dict[str, Evaluation], facts: str) -> None:
    """Keep the table, the curve and all figures; nothing of the questions."""
    results.mkdir(parents=True, exist_ok=True)
    save_scaling_plot(found["documents"], results / "scaling.png")
    figures = {name: one.model_copy(update={"disagreements": []}).model_dump() for name, one in found.items()}
    (results / "experiment.json").write_text(json.dumps(figures) + "\n")
    text = to_text(found["documents"].model_copy(update={"disagreements": []}))
    (results / "README.md").write_text(
        f"# The experiment\n\n{facts}\n\n![Accuracy by number of candidates](scaling.png)\n\n"
        f"{ablation_table(found)}\n\n"
        f"By the policy's habit, n = {found['documents'].sizes[-1]}:\n\n{habit_table(found)}\n\n{ACCOUNT}\n\n"
        f"With the question's documents, `medprm evaluate` prints:\n\n```text\n{text.strip()}\n```\n"
    )


def main() -> None:
    """Run the experiment and keep its results."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--policy", type=Path, default=POLICY, help="folder of the policy model")
    parser.add_argument("--model", type=Path, help="folder of a reward model; the one inside the package if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/experiment"), help="folder for samples and scores")
    parser.add_argument("--results", type=Path, default=Path("runs/experiment/results"), help="folder for the results")
    parser.add_argument("--note", default="", help="words about the run to keep with its results")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    times = {}
    begun = time.monotonic()
    policy = PolicyModel(arguments.policy)
    journal = sample(arguments.out, policy, arguments.questions, arguments.samples, arguments.seed)
    times["sampling"] = time.monotonic() - begun
    prm = MedPRM.from_pretrained(arguments.model, device="cpu", dtype="float32")
    found = {}
    for setting in SETTINGS:
        begun = time.monotonic()
        file = write_requests(arguments.out, journal, arguments.questions, setting)
        found[setting] = evaluate(file, prm, journal=file.with_suffix(".rewards.sqlite3"), model="the demo model")
        times[setting] = time.monotonic() - begun
    dropped = sum(_drawn(journal, number)["dropped"] for number in range(arguments.questions))
    drawn = sum(_drawn(journal, number)["drawn"] for number in range(arguments.questions))
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in times.items())
    command = (
        f"python -m examples.formulary.experiment --questions {arguments.questions} --samples {arguments.samples} "
        f"--seed {arguments.seed}"
    )
    facts = (
        f"`{command}`, {datetime.date.today().isoformat()}, {os.cpu_count()} CPU cores ({platform.machine()}), "
        f"float32. Time (of the last run, if it was interrupted): {spent}. {drawn:,} solutions were drawn, "
        f"{dropped:,} of them dropped for their number of steps. Half of the questions pair names that training never "
        f"paired. {arguments.note}".rstrip()
    )
    write_results(arguments.results, found, facts)
    journal.close()
    print(ablation_table(found))
    print(f"the results are in {arguments.results}")


if __name__ == "__main__":
    main()
