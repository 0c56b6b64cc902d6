"""Write the README's figures from the files and pages that hold them: `python -m docs.readme_figures`.

Nothing is measured here. Each row names the command that measures it, and the page with the whole table.
"""

import json
import re
from pathlib import Path

from examples.formulary.evaluate import SETTINGS, fill
from medprm_scorer.sampling.stopping import Confident

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SPEED = ROOT / "benchmarks" / "results" / "speed-300m-cpu.json"
SLOWER = ROOT / "benchmarks" / "results" / "speed-300m-cpu-slower.json"
EXPERIMENT = ROOT / "examples" / "formulary" / "results" / "experiment.json"
STOPPING = ROOT / "examples" / "formulary" / "results" / "stopping.md"
TRUST = ROOT / "docs" / "trust.md"
MARKS = ("<!-- figures: written by docs/readme_figures.py -->", "<!-- end of docs/readme_figures.py -->")


def row_of(page: str, *first: str) -> list[str]:
    """The cells of the first row of a page's tables that begins with these cells.

    Raises:
        LookupError: There is no such row.
    """
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if tuple(cells[: len(first)]) == first:
            return cells
    raise LookupError(f"no row begins with {first}")


def documents_table() -> str:
    """Right answers with the question's documents, with none, and with another question's, with all samples."""
    found = json.loads(EXPERIMENT.read_text(encoding="utf-8"))
    total = found["documents"]["total"]
    most = found["documents"]["sizes"][-1]

    def right(setting: str, choice: str) -> str:
        (cell,) = [
            cell
            for cell in found[setting]["total"]["cells"]
            if (cell["choice"], cell["n"]) == (choice, most) and cell["aggregate"] in (None, "min")
        ]
        value = cell["accuracy"]
        return f"{100 * value['value']:.1f} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"

    rows = [
        f"| `{choice}` | {' | '.join(right(setting, choice) for setting in SETTINGS)} |"
        for choice in ("majority_vote", "best_of_n", "weighted_vote")
    ]
    heads = f"% right of {total['questions']} questions, {most} samples each"
    return "\n".join(
        [f"| {heads} | the question's documents | none | another question's |", "|---|---|---|---|", *rows]
    )


def evidence_table() -> str:
    """A row each for exactness, speed, cost, trust and faults."""
    speed, slower = (
        {one["candidates"]: one["times_card"] for one in json.loads(file.read_text())["one_question"]}
        for file in (SPEED, SLOWER)
    )
    stopping, rule = STOPPING.read_text(encoding="utf-8"), Confident().name
    questions, most = re.search(r"--questions (\d+) --samples (\d+)", stopping).groups()  # type: ignore[union-attr]
    change = row_of(stopping, f"{rule} − n = {most}")[1]
    risk, _, kept, coverage, *_ = row_of(TRUST.read_text(encoding="utf-8"), "0.05", "calibrated")

    def spaced(percent: str) -> str:
        return percent.replace("%", " %")

    rows = [
        (
            "exact",
            "token ids, and rewards within 1e-5 in float32 and 0.03 in bfloat16, are those of the model card's own "
            "computation: the real Llama 3 tokenizer, random weights in the shape of Llama 3.1",
            "pytest tests/test_exactness.py",
            "[Results](docs/results.md#what-holds)",
        ),
        (
            "fast",
            f"{speed[16]:.1f} times as fast as the model card's quick start with 16 candidates, {speed[64]:.1f} times "
            f"with 64 (on a slower machine {slower[16]:.1f} and {slower[64]:.1f}): 289 M parameters, 2 CPU cores",
            "python -m benchmarks.speed",
            "[Speed](docs/speed.md)",
        ),
        (
            "cheap",
            f"sampling that stops drew {row_of(stopping, rule)[1]} of {most} samples on average, and right answers "
            f"changed by {change} points: {questions} formulary questions, simulated",
            "python -m examples.formulary.stopping",
            "[Stopping rules](examples/formulary/results/stopping.md)",
        ),
        (
            "trust",
            f"the promise that at most {100 * float(risk):.0f} % of the trusted answers are wrong was kept in "
            f"{spaced(kept)} of the random splits (90 % is promised), with {spaced(coverage)} of the answers trusted: "
            "formulary questions",
            "python -m benchmarks.trust_splits",
            "[Trust](docs/trust.md#does-it-hold)",
        ),
        (
            "faults",
            "500 runs through a proxy that damages connections and answers: each result is right, or a clear error",
            "pytest tests/vllm/test_faults.py -k many_seeded_runs",
            "[Results](docs/results.md#figures)",
        ),
    ]
    lines = ["| | what was shown | repeat it | more |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {shown} | `{command}` | {page} |" for name, shown, command, page in rows)])


def figures() -> str:
    """Everything between the README's marks."""
    return (
        "In the formulary, `python -m examples.formulary.experiment` "
        "([the whole table](examples/formulary/results/README.md)):\n\n"
        f"{documents_table()}\n\n"
        f"{evidence_table()}"
    )


if __name__ == "__main__":
    fill(README, figures(), MARKS)
