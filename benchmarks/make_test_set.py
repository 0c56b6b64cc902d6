"""Write a made-up file in the format of the released test set, of any size.

    python -m benchmarks.make_test_set OUT.json --gigabytes 1 --seed 0 [--scores]

The words mean nothing. The shape is that of the released file: a JSON list, 64 solutions of about 220 words per
question, ten documents, its 13 data sources in their proportions, two of them open-ended. `--questions 5469` makes as
many as it has. Majority vote is right for about 70 % of the questions. With `--scores` there are the fields that the
authors' scorer adds: rewards that tell a little of what is right, and a rare candidate without step tags, whose minimum
is then `-Infinity`.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SOURCES = {
    "med_qa_4op": 1273,
    "med_qa": 1273,
    "pubmed_qa": 500,
    "medmc_qa": 500,
    "ddxplus": 500,
    "mmlu_professional_medicine": 272,
    "mmlu_clinical_knowledge": 265,
    "osce": 214,
    "mmlu_college_medicine": 173,
    "mmlu_college_biology": 144,
    "mmlu_anatomy": 135,
    "nejm": 120,
    "mmlu_medical_genetics": 100,
}
"""The data sources of the released file, and how many questions it has of each."""
OPEN_ENDED = ("osce", "nejm")
SOLUTIONS = 64
DOCUMENTS = 10
EASY = 0.7  # share of questions whose right answer is the most frequent
UNANSWERED = 0.02
UNTAGGED = 0.002
SIGNAL = 0.35  # half the distance of right from wrong chains in the logit of their rewards; the noise has unit size


class Words:
    """Blocks of made-up text, drawn from a fixed stock so that a file is written as fast as the disk takes it."""

    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        syllables = ["car", "di", "o", "my", "al", "gi", "ne", "phro", "ter", "ol", "be", "ta", "in", "sul", "he", "pa"]
        words = ["".join(random_.choices(syllables, k=random_.randint(1, 4))) for _ in range(2000)]
        self._steps = [" ".join(random_.choices(words, k=random_.randint(25, 45))) + "." for _ in range(1500)]
        self._documents = [" ".join(random_.choices(words, k=random_.randint(120, 220))) + "." for _ in range(600)]

    def steps(self, count: int) -> list[str]:
        """The steps of a chain, without their markers."""
        return self._random.choices(self._steps, k=count)

    def documents(self) -> list[str]:
        """The documents of a question."""
        return self._random.sample(self._documents, DOCUMENTS)


def questions(seed: int, scores: bool) -> Iterator[dict[str, Any]]:
    """An endless stream of records, the same for the same seed."""
    random_ = random.Random(seed)
    words = Words(random_)
    place = 0
    while True:
        source = random_.choices(list(SOURCES), list(SOURCES.values()))[0]
        open_ended = source in OPEN_ENDED
        options = [f"{name} disease" for name in ("Alpha", "Beta", "Gamma", "Delta")] if open_ended else list("ABCD")
        random_.shuffle(options)
        yield {
            "question_id": place,
            "data_source": source,
            "question": words.steps(1)[0] + ("" if open_ended else "\n\n(A) alpha\n(B) beta\n(C) gamma\n(D) delta"),
            "correct_answer": options[0],
            "related_docs": words.documents(),
            "solutions": _solutions(random_, words, options, open_ended, scores),
        }
        place += 1


def _solutions(
    random_: random.Random, words: Words, options: Sequence[str], open_ended: bool, scores: bool
) -> list[dict[str, Any]]:
    """The solutions of one question; the first option is the right one, the second the favourite of hard questions."""
    easy = random_.random() < EASY
    often = random_.uniform(0.55, 0.95)
    rest = 1 - often
    weights = [often, rest / 2, rest / 4, rest / 4] if easy else [rest / 2, often, rest / 4, rest / 4]
    return [
        _solution(random_, words, answer, answer == options[0], open_ended, scores)
        for answer in random_.choices(options, weights, k=SOLUTIONS)
    ]


def _solution(
    random_: random.Random, words: Words, answer: str, right: bool, open_ended: bool, scores: bool
) -> dict[str, Any]:
    steps = [f"Step {number}: {text}" for number, text in enumerate(words.steps(random_.randint(3, 9)), 1)]
    answered = random_.random() >= UNANSWERED
    if answered:
        steps[-1] += f"\n\n## Final Diagnosis: {answer}" if open_ended else f" The answer is ({answer})."
    plain = " ".join(step.replace("\n", " ") for step in steps)
    solution: dict[str, Any] = {
        "solution": "\n\n".join(steps),
        "prm_processed_solution": "".join(step.replace("\n", " ") + " ки " for step in steps).strip(),
        "orm_processed_solution": f"{plain} ки",
        "answer": answer if answered else None,
        "score": int(right and answered),
    }
    if scores:
        rewards = [] if random_.random() < UNTAGGED else _rewards(random_, len(steps), right)
        solution["PRM_score_list"] = rewards
        solution["PRM_min_score"] = min(rewards, default=-math.inf)
        solution["PRM_score"] = rewards[-1] if rewards else -math.inf
    return solution


def _rewards(random_: random.Random, count: int, right: bool) -> list[float]:
    level = random_.gauss(1 + (SIGNAL if right else -SIGNAL), 1.0)
    return [1 / (1 + math.exp(-random_.gauss(level, 0.7))) for _ in range(count)]


def write(path: Path, size: float, seed: int = 0, scores: bool = False, most: int | None = None) -> int:
    """Write whole records until the file has the size.

    Args:
        path: File to write; what it holds is lost.
        size: Bytes, at least; one record of 0.3 MB more at most.
        seed: Same seed, same records.
        scores: Whether to add the fields of the authors' scorer.
        most: Most questions, whatever the size.

    Returns:
        Number of questions written; at least one.
    """
    with path.open("w", encoding="utf-8") as file:
        written = file.write("[")
        for count, record in enumerate(questions(seed, scores), 1):
            written += file.write((",\n" if count > 1 else "\n") + json.dumps(record))
            if written >= size or count == most:
                break
        file.write("\n]\n")
    return count


def main() -> None:
    """Read the arguments and write the file."""
    parser = argparse.ArgumentParser(description="Write a made-up file in the format of the released test set.")
    parser.add_argument("path", type=Path, metavar="OUT.json")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the file, in 10^9 bytes")
    parser.add_argument("--questions", type=int, help="as many, whatever the size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", action="store_true", help="add rewards, as the authors' scorer does")
    options = parser.parse_args()
    begun = time.perf_counter()
    size = math.inf if options.questions else options.gigabytes * 1e9
    count = write(options.path, size, options.seed, options.scores, options.questions)
    size = options.path.stat().st_size / 1e9
    print(f"{count} questions, {size:.2f} GB, {time.perf_counter() - begun:.1f} s: {options.path}")


if __name__ == "__main__":
    main()
