"""Made-up evaluations: plausible figures, and hostile names and texts where text from outside can stand."""

import random

from medprm_scorer.evaluation.results import (
    CHOICES,
    REWARD_CHOICES,
    Cell,
    Comparison,
    Disagreement,
    Evaluation,
    Interval,
    Official,
    Paper,
    PaperRow,
    Provenance,
    SourceResult,
    Stopping,
    StoppingRow,
)

SIZES = [1, 2, 4, 8, 16, 32, 64]
HOSTILE = (
    "<script>alert(1)</script> \x1b[31mred\x1b[0m \x9b2J [bold red]markup[/] \u202eevil\u202c \x00 &amp; \"quoted' "
    "$\\frac{1}{0}$ </details></div></body> \r\n next"
)
HOSTILE_SOURCES = ["medqa", "", HOSTILE, "внутренние болезни", "قسم القلب", "很长的来源名称" * 9, "x" * 300, "all"]
QUESTION = "A 54-year-old woman has had a dry cough for two months. Which of her medicines is the likely cause?\n(A) …"


def interval(value: float, half: float) -> Interval:
    return Interval(value=value, low=value - half, high=value + half)


def cells(sizes: list[int], aggregates: list[str], seed: int) -> list[Cell]:
    """Majority vote and the choices by rewards grow with n, the oracle faster; one sample stays as good as it is."""
    draw = random.Random(seed)
    start = draw.uniform(0.5, 0.7)
    found = []
    for n in sizes:
        room = (1 - start) * (1 - n**-0.4)
        majority = start + 0.3 * room
        for choice in CHOICES:
            for place, aggregate in enumerate(aggregates if choice in REWARD_CHOICES else [None]):
                part = {"single": 0, "majority_vote": 0.3, "best_of_n": 0.36, "weighted_vote": 0.45, "oracle": 0.9}[
                    choice
                ]
                value = start + (part - 0.02 * place) * room
                known = choice != "majority_vote"
                found.append(
                    Cell(
                        n=n,
                        choice=choice,
                        aggregate=aggregate,
                        accuracy=interval(value, 0.012 + draw.uniform(0, 0.003)),
                        gain=interval(value - majority, 0.008) if known else None,
                        p_value=draw.choice([1.0, 0.2345, 0.0312, 1 / 10001]) if known else None,
                    )
                )
    return found


def source(
    name: str, questions: int, sizes: list[int], aggregates: list[str], seed: int = 0, **changes: object
) -> SourceResult:
    figures = {
        "source": name,
        "questions": questions,
        "open_ended": 0,
        "candidates": 64 * questions,
        "unanswered": 0,
        "unscored": 0,
        "without_rewards": 0,
        "fewer": dict.fromkeys(sizes, 0),
        "cells": cells(sizes, aggregates, seed) if questions else [],
        "official": Official(right=questions * 7 // 10, majority_right=questions * 6 // 10),
    }
    return SourceResult.model_validate(figures | changes)


def disagreement(
    place: int, right: bool, majority_right: bool, text: str = QUESTION, **changes: object
) -> Disagreement:
    figures = {
        "place": place,
        "source": "medqa",
        "question": text,
        "answer": "C",
        "right": right,
        "reward": 0.873,
        "majority_answer": "D",
        "majority_right": majority_right,
        "counts": {"D": 33, "C": 30, "A": 1},
    }
    return Disagreement.model_validate(figures | changes)


def example_evaluation(**changes: object) -> Evaluation:
    """Three sources with all figures, one aggregate, n from 1 to 64."""
    sizes, aggregates = SIZES, ["min"]
    names = {"medqa": 1273, "medbullets": 308, "mmlu": 1089}
    total = sum(names.values())
    figures = {
        "total": source(
            "all", total, sizes, aggregates, 9, open_ended=12, unanswered=34, unscored=5, fewer={32: 3, 64: 10}
        ),
        "sources": [source(name, count, sizes, aggregates, seed) for seed, (name, count) in enumerate(names.items())],
        "average": source("average", total, sizes, aggregates, 8),
        "sizes": sizes,
        "aggregates": aggregates,
        "subsets": 1000,
        "resamples": 2000,
        "flips": 10000,
        "seed": 0,
        "disagreements": [
            disagreement(3, True, False),
            disagreement(17, True, False, id="q-17"),
            disagreement(40, False, True),
            disagreement(51, False, False, answer=None, reward=None),
        ],
        "disagreed": 211,
        "scored_here": 0,
        "documents_left_out": 0,
        "repeated": 0,
        "model": None,
    }
    return Evaluation.model_validate(figures | changes)


def example_stopping() -> Stopping:
    """Two fixed numbers and three rules."""

    def row(
        rule: str, samples: float, accuracy: float, to_all: float | None, to_equal: float | None = None
    ) -> StoppingRow:
        return StoppingRow(
            rule=rule,
            samples=interval(samples, 0.2),
            accuracy=interval(accuracy, 0.01),
            to_all=None if to_all is None else Comparison(gain=interval(to_all, 0.005), p_value=0.25),
            to_equal=None if to_equal is None else Comparison(gain=interval(to_equal, 0.01), p_value=1 / 10001),
        )

    return Stopping(
        aggregate="min",
        maximum=64,
        orders=20,
        questions=500,
        fixed=[row("n=8", 8.0, 0.933, -0.047), row("n=64", 64.0, 0.98, None)],
        rules=[
            row("agree=3", 4.2, 0.872, -0.108, 0.021),
            row("confident=0.9", 9.6, 0.979, -0.001, 0.039),
            row("confident=0.95", 12.2, 0.98, 0.0, 0.03),
        ],
    )


def hostile_evaluation(aggregates: list[str] | None = None) -> Evaluation:
    """Every place where text from outside can stand holds hostile text; six aggregates unless told."""
    aggregates = aggregates or ["min", "last", "mean", "prod", "geomean", "max"]
    sources = [source(name, 10**place, SIZES, aggregates, place) for place, name in enumerate(HOSTILE_SOURCES[:6])]
    sources += [source(name, 0, SIZES, aggregates) for name in HOSTILE_SOURCES[6:]]
    shown = [
        disagreement(
            place,
            place % 2 == 0,
            False,
            text=HOSTILE * 3,
            id=HOSTILE,
            source=HOSTILE,
            answer=HOSTILE,
            majority_answer="الإجابة " + HOSTILE,
            counts={HOSTILE: 3, "الإجابة " + HOSTILE: 4},
        )
        for place in range(3)
    ]
    total = sum(part.questions for part in sources)
    return example_evaluation(
        total=source("all", total, SIZES, aggregates, 9, open_ended=1, unanswered=1, unscored=1, fewer={64: 1}),
        sources=sources,
        aggregates=aggregates,
        disagreements=shown,
        scored_here=2,
        documents_left_out=1,
        repeated=1,
        model=HOSTILE,
    )


def empty_evaluation() -> Evaluation:
    """No judged question at all: open-ended ones only."""
    part = source("medqa", 0, SIZES, ["min"], open_ended=7, candidates=0)
    return example_evaluation(
        total=part.model_copy(update={"source": "all"}),
        sources=[part],
        average=None,
        disagreements=[],
        disagreed=0,
    )


def rewardless_evaluation() -> Evaluation:
    """What can be said without any rewards: one sample, majority vote and the oracle."""
    return example_evaluation(
        total=source("all", 2670, SIZES, []),
        sources=[source(name, 890, SIZES, [], seed) for seed, name in enumerate(("medqa", "medbullets", "mmlu"))],
        average=None,
        aggregates=[],
        disagreements=[],
        disagreed=0,
    )


def traced_evaluation(**changes: object) -> Evaluation:
    """With all that is known of where the figures come from, and the paper's table."""
    provenance = Provenance(
        file="med_prm_test.json",
        sha256="ab" * 32,
        date="2026-11-26T15:00:00Z",
        versions={"medprm": "0.1.0", "Python": "3.11.2", "torch": "2.9.0"},
        rewards="model",
        model="dmis-lab/llama-3.1-medprm-reward-v1.0",
        revision="1a2b3c4",
        settings={"model": "ab12cd34", "system": "documents", "steps": "auto", "dtype": "bfloat16"},
        aggregates=["min"],
        documents="shuffled",
        sources=["mmlu_*"],
        limit=100,
        candidates=16,
    )
    rows = [
        PaperRow(
            benchmark=name,
            questions=questions,
            single=0.6,
            majority_vote=0.7,
            best_of_n=0.71,
            weighted_vote=0.72,
            majority_right=right,
            released_questions=1273,
            released_right=957,
            published={"majority_vote": 0.7003},
        )
        for name, questions, right in (("MedQA-4", 1273, 957), ("MMLU-Med", 1000, 950))
    ]
    paper = Paper(
        rows=rows,
        average={"single": 0.6, "majority_vote": 0.704, "best_of_n": 0.71, "weighted_vote": 0.735},
        averaged=2,
        published={"majority_vote": 0.7003},
        majority_right=1907,
        questions=2273,
        released_right=1914,
        released_questions=2546,
    )
    return example_evaluation(**{"provenance": provenance, "paper": paper, **changes})
