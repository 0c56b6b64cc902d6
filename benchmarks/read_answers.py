"""How many answers the package reads as they were recorded, and how many steps it sees.

    python -m benchmarks.read_answers FILE [FILE …] [--show N]

Each file has the layout of the released test set: `question_id`, `question` with its options, `solutions` with
`solution` and the recorded `answer`. An answer is read as recorded if both are the same option, by letter or by text,
or equal in `normalize_answer`.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from medprm_scorer.files.records import read_records
from medprm_scorer.text.answers import normalize_answer, read
from medprm_scorer.text.answers.options import OptionSet, find_options
from medprm_scorer.text.steps import split_steps

OUTCOMES = ("as recorded", "as another", "declined", "unread")


@dataclass
class Counts:
    """The counts of one file."""

    outcomes: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)
    others: list[str] = field(default_factory=list)


def main() -> int:
    """Read the arguments, count, print one block for each file; 0."""
    parser = argparse.ArgumentParser(description="Compare the answers that are read with those recorded.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="records in the layout of the released test set")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N places of answers read as another")
    options = parser.parse_args()
    for path in options.files:
        counts = count(path)
        print("\n".join([path, *lines(counts), *counts.others[: options.show]]))
    return 0


def count(path: str) -> Counts:
    """Read every chain of a file.

    Args:
        path: The file.

    Returns:
        The counts; `others` names the chains read as another answer, as `question_id[place]`.

    Raises:
        InputError: The file cannot be read.
    """
    counts = Counts()
    for question_id, place, question, solution in _solutions(path):
        chain, recorded = str(solution.get("solution") or ""), solution.get("answer")
        options = find_options(question)
        reading = read(chain, question)
        outcome = _outcome(reading.answer, recorded, options)
        if outcome == "unread" and reading.declined:
            outcome = "declined"
        counts.outcomes[outcome] += 1
        if outcome == "as another":
            counts.others.append(f"  {question_id}[{place}]")
        steps = split_steps(chain)
        counts.rules[steps.rule] += 1
        counts.steps[len(steps.steps)] += 1
    return counts


def lines(counts: Counts) -> Iterator[str]:
    """The counts as lines of text."""
    total = counts.outcomes.total()
    known = counts.outcomes["as recorded"] + counts.outcomes["as another"]
    yield f"  chains {total}"
    if not total:
        return
    yield "  answers " + ", ".join(f"{name} {counts.outcomes[name] / total:.1%}" for name in OUTCOMES)
    yield f"  of those read, as recorded {counts.outcomes['as recorded'] / max(1, known):.1%}"
    mean = sum(steps * chains for steps, chains in counts.steps.items()) / total
    shares = ", ".join(f"{steps}: {chains / total:.1%}" for steps, chains in sorted(counts.steps.items()))
    yield f"  steps a chain {mean:.2f} ({shares})"
    yield "  split by " + ", ".join(f"{rule} {chains / total:.1%}" for rule, chains in counts.rules.most_common())


def _solutions(path: str) -> Iterator[tuple[str, int, str, dict[str, object]]]:
    for record in read_records(path):
        for place, solution in enumerate(record.value.get("solutions") or []):
            yield str(record.value.get("question_id", record.place)), place, str(record.value["question"]), solution


def _outcome(found: str | None, recorded: object, options: OptionSet | None) -> str:
    given = None if recorded in (None, "None", "") else str(recorded)
    if found is None:
        return "unread"
    return "as recorded" if given is not None and _key(found, options) == _key(given, options) else "as another"


def _key(answer: str, options: OptionSet | None) -> str:
    """The option that equals an answer, otherwise the answer's key."""
    key = normalize_answer(answer)
    for label, text in (options.texts if options else {}).items():
        if key in (normalize_answer(label), normalize_answer(text)):
            return label
    return key


if __name__ == "__main__":
    raise SystemExit(main())
