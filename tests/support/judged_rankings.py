"""Made-up questions with known answers, on which rewards mean as much, or as little, as a test wants."""

import random

from medprm_scorer.results.models import Ranking
from tests.support.example_rankings import make_chain, make_ranking


def made_up(count: int, seed: int, chains: int = 5, noise: float = 0.1) -> list[tuple[Ranking, bool]]:
    """Rankings and whether they are right.

    How hard a question is decides how likely a chain is right; a right chain has a high reward, but for the noise: with
    1, rewards mean nothing.
    """
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        ease = draw.random() ** 0.5
        candidates = []
        for index in range(chains):
            right = draw.random() < ease
            reward = draw.random() if draw.random() < noise else (0.9 if right else 0.1) + draw.uniform(-0.1, 0.1)
            candidates.append(make_chain(index, [reward], "A" if right else draw.choice("BC")))
        ranking = make_ranking(candidates)
        made.append((ranking, ranking.answer == "A"))
    return made


def records(rankings: list[tuple[Ranking, bool]], documents: tuple[str, ...] = ("One.", "Two.")) -> list[dict]:
    """The same as records of a file."""
    made = []
    for number, (ranking, _) in enumerate(rankings):
        chains = sorted(ranking.chains, key=lambda chain: chain.index)
        made.append(
            {
                "question": f"Which drug, {number}?",
                "documents": list(documents),
                "candidates": [f"Step 1: Хворий. The answer is ({chain.answer})" for chain in chains],
                "step_rewards": [chain.step_rewards for chain in chains],
                "correct_answer": "A",
            }
        )
    return made
