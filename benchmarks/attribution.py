"""Which document carries a step: `python -m benchmarks.attribution` explains held-out formulary chains.

In the formulary it is known which document a step cites, so it can be counted how often that document has the largest
effect. Each question is explained three times: as it is, with the cited label doubled, and with a document that says
another dose. The package's noise threshold was chosen on other questions.
"""

import argparse
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from examples.formulary.evaluate import held_out
from medprm_scorer import Effect, Explanation, MedPRM
from medprm_scorer.results.explanation import NOISE

_GUIDELINE = re.compile(r"in ([a-z]+) use (\w+)")
_NOTICE = re.compile(r"in \d+ use (\w+)")
_LABEL = re.compile(r"dose (\w+) at (\d+)")
_CANDIDATES = 4  # of a question
_FIRST = 10_000  # number of the first question

Counts = dict[str, list[float]]
"""By the name of a figure, 1 or 0 for each case, or a number."""


def cited(step: str, documents: Sequence[str]) -> set[int]:
    """Places of the documents that a step cites: those about the same condition, or the same drug's dose.

    A notice names no condition; it belongs to the guideline that begins with the same drug.

    Example:
        >>> cited("The label says dose Zoravine at 5 mg", ["Label: dose Zoravine at 5 mg per kg", "Guideline: …"])
        {0}
    """
    names = {("use", found[1]) for found in _GUIDELINE.finditer(step)}
    names |= {("dose", found[1]) for found in _LABEL.finditer(step)}
    guidelines = [found for document in documents for found in _GUIDELINE.finditer(document)]
    names |= {("notice", found[2]) for found in guidelines if ("use", found[1]) in names}

    def about(document: str) -> set[tuple[str, str]]:
        found = {("use", found[1]) for found in _GUIDELINE.finditer(document)}
        found |= {("notice", found[1]) for found in _NOTICE.finditer(document)}
        return found | {("dose", found[1]) for found in _LABEL.finditer(document)}

    return {place for place, document in enumerate(documents) if names & about(document)}


def largest(rows: Sequence[Effect], by: Callable[[Effect], float]) -> int:
    """The document with the largest effect, for or against."""
    return max(rows, key=lambda row: abs(by(row))).document


def count(found: Explanation, valid: Sequence[bool], counts: Counts) -> None:
    """Add one chain's figures: for each step that cites one kind of document, and for documents that no step uses."""
    for step, (scored, right) in enumerate(zip(found.chain.steps, valid, strict=True)):
        rows = [row for row in found.effects if row.step == step]
        own = cited(scored.text, found.documents)
        patterns = {"guideline": _GUIDELINE, "label": _LABEL}
        kinds = [kind for kind, pattern in patterns.items() if pattern.search(scored.text)]
        if len(kinds) == 1 and own:
            name = f"{kinds[0]}, step {'right' if right else 'wrong'}"
            counts["every step that cites: added last"].append(largest(rows, lambda row: row.without) in own)
            counts[f"{name}: added last"].append(largest(rows, lambda row: row.without) in own)
            counts[f"{name}: alone"].append(largest(rows, lambda row: row.alone) in own)
            if found.permutations:
                counts[f"{name}: Shapley"].append(largest(rows, lambda row: row.shapley or 0.0) in own)
            verdict = "supports" if right else "contradicts"
            counts[f"{name}: cited document {verdict}"].append(
                any(row.verdict == verdict for row in rows if row.document in own)
            )
            counts["unused documents near zero, added last"] += [
                abs(row.without) < found.noise for row in rows if row.document not in own
            ]


def doubled(prm: MedPRM, question: str, chain: str, documents: Sequence[str], step: int, counts: Counts) -> None:
    """Explain with the cited document present twice: neither moves the step when added last, but each does alone."""
    (own, *_) = sorted(cited(chain.split("\n")[step], documents))
    found = prm.explain(question, chain, [*documents, documents[own]])
    rows = [found.effect(step, place) for place in (own, len(documents))]
    counts["doubled document: hidden when added last"].append(all(abs(row.without) < NOISE for row in rows))
    counts["doubled document: found alone"].append(all(row.alone >= NOISE for row in rows))
    counts["doubled document: called support"].append(all(row.verdict == "supports" for row in rows))


def contradicted(prm: MedPRM, question: str, chain: str, documents: Sequence[str], step: int, counts: Counts) -> None:
    """Explain with the cited label saying another dose: it is the one that contradicts."""
    (own, *_) = sorted(cited(chain.split("\n")[step], documents))
    changed = list(documents)
    changed[own] = _LABEL.sub(lambda found: f"dose {found[1]} at {int(found[2]) % 9 + 1}", changed[own])
    found = prm.explain(question, chain, changed)
    counts["contradicting document: called so"].append(own in found.contradicting(step))
    rows = [row for row in found.effects if row.step == step]
    counts["contradicting document: largest"].append(largest(rows, lambda row: row.moves) == own)


def explain_one(number: int, shapley: int, prm: MedPRM, counts: Counts) -> None:
    """Explain the winner and the runner-up of one held-out question; every second one has names never paired before."""
    question, chains = held_out(_FIRST + number // 2, ("seen", "reserved")[number % 2])
    documents, texts = question.documents, [chain.text for chain in chains[:_CANDIDATES]]
    ranking = prm.rank(question.text, texts, documents)
    best = ranking.best.index
    found = prm.explain(ranking, documents=documents, shapley=shapley, runner_up=True)
    for one in filter(None, (found, found.runner_up)):
        count(one, [step.valid for step in chains[one.chain.index].steps], counts)
    for place, step in enumerate(chains[best].steps):
        if step.valid and step.stages == ("label",) and len(cited(step.text, documents)) == 1:
            start = "\n".join(texts[best].split("\n")[: place + 1])  # no reward depends on what comes later
            doubled(prm, question.text, start, documents, place, counts)
            contradicted(prm, question.text, start, documents, place, counts)
    alone = prm.explain(ranking, documents=documents) if number == 0 else None
    if alone is not None:
        prefix = len(prm.encoder.prefix(question.text, documents).ids)
        chain = (ranking.unique_tokens - prefix) / len({*texts})
        counts["tokens run to explain a winner (one question)"].append(alone.cost.unique_tokens)
        counts["tokens run to score 64 such candidates"].append(prefix + 64 * chain)
        counts["an explanation in prompts of all documents"].append(alone.cost.unique_tokens / (prefix + chain))


def run(questions: int, shapley: int, prm: MedPRM) -> tuple[Counts, int]:
    """The figures, and the number of questions; fewer than requested if it is interrupted."""
    counts: Counts = defaultdict(list)
    for number in tqdm(range(questions), disable=None):
        try:
            explain_one(number, shapley, prm, counts)
        except KeyboardInterrupt:
            return counts, number
    return counts, questions


def to_text(counts: Counts) -> str:
    """One line for each figure."""
    lines = []
    for name, values in sorted(counts.items()):
        mean = sum(values) / len(values)
        shown = f"{mean:,.1f} (most {max(values):,.1f})" if max(values) > 1 else f"{100 * mean:.1f} %"
        lines.append(f"{name:<60} {shown}  of {len(values):,}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a reward model; the one inside the package if left out")
    parser.add_argument("--questions", type=int, default=250, help="each gives a winning and a losing chain")
    parser.add_argument("--shapley", type=int, default=0, help="random orders for Shapley values")
    arguments = parser.parse_args()
    model = MedPRM.from_pretrained(arguments.model, device="cpu", dtype="float32")
    begun = time.monotonic()
    figures, done = run(arguments.questions, arguments.shapley, model)
    print(to_text(figures))
    print(f"{done} questions, noise {NOISE:g}, {time.monotonic() - begun:.0f} s on {model.engine.name}")
