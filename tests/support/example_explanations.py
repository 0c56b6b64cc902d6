"""Explanations made by hand, so that what draws one can be tested without a model."""

from collections.abc import Sequence

from medprm_scorer import Effect, Explanation, ScoredChain, ScoredStep, SentenceEffect
from medprm_scorer.results.explanation import Cost

DOCUMENTS = [
    "Polyhydramnios is an amniotic fluid index above 24 cm. Causes are maternal diabetes and anomalies of the fetus.",
    "Duodenal atresia keeps the fetus from swallowing. The amniotic fluid then increases.",
    "Renal agenesis leads to oligohydramnios, since the fetus makes no urine. It is often bilateral.",
    "A guideline on another topic.",
]
STEPS = [
    "Step 1: An index of 28 cm is above normal, so this is polyhydramnios.",
    "Step 2: In renal agenesis the fluid increases, since the fetus swallows less.",
    "Step 3: The answer is (C) Duodenal atresia.",
]


def effect(step: int, document: int, without: float, alone: float) -> Effect:
    repeated = abs(without) < 1 <= abs(alone)
    moves = alone if repeated else without
    verdict = "nothing" if abs(moves) < 1 else "supports" if moves > 0 else "contradicts"
    return Effect(
        step=step, document=document, without=without, alone=alone, moves=moves, verdict=verdict, repeated=repeated
    )


def example_explanation() -> Explanation:
    """Step 1 rests on document 1; step 2 on document 2, and document 3 contradicts it; step 3 on either of two."""
    rows = [(4.1, 3.9), (0.1, 0.5), (0.0, 0.0), (0.1, 0.2), (1.6, 2.0), (-3.7, -2.9), (0.0, 1.6), (0.4, 1.9), (0, 0)]
    effects = [effect(place // 3, place % 3, *row) for place, row in enumerate(rows)]
    sentences = []
    for step, document, length, without in ((0, 0, 54, 3.2), (1, 1, 49, 1.4), (1, 2, 72, -3.7)):
        sentences.append(SentenceEffect(step=step, document=document, start=0, end=length, without=without))
    return Explanation(
        chain=make_steps(STEPS, (0.97, 0.21, 0.88), "C"),
        question="Which abnormality fits?",
        documents=DOCUMENTS,
        documents_read=[0, 1, 2],
        log_odds=[3.5, -1.3, 2.0],
        log_odds_without_documents=[0.0, 0.0, 0.0],
        effects=effects,
        sentences=sentences,
        noise=1.0,
        cost=Cost(prompts=8, prompt_tokens=9000, unique_tokens=4000, seconds=1.5),
        cautions=["1 of 4 documents were not read: their effects are unknown."],
    )


def make_explanation(documents: Sequence[str], steps: Sequence[str], answer: str) -> Explanation:
    """One where each document supports and contradicts steps in turn, with itself as its own runner-up."""
    places = range(len(documents))
    found = Explanation(
        chain=make_steps(steps, [0.3] * len(steps), answer),
        question="Which?",
        documents=list(documents),
        documents_read=list(places),
        log_odds=[0.0] * len(steps),
        log_odds_without_documents=[0.0] * len(steps),
        effects=[effect(s, d, 3.0 * (-1) ** (s + d), 2.0) for s in range(len(steps)) for d in places],
        sentences=[
            SentenceEffect(step=s, document=d, start=0, end=len(documents[d]) // 2, without=3.0 * (-1) ** (s + d))
            for s in range(len(steps))
            for d in places
        ],
        noise=1.0,
        cost=Cost(prompts=1, prompt_tokens=1, unique_tokens=1, seconds=0.0),
    )
    return found.model_copy(update={"runner_up": found})


def make_steps(steps: Sequence[str], rewards: Sequence[float], answer: str) -> ScoredChain:
    scored = [ScoredStep(text=text, reward=reward) for text, reward in zip(steps, rewards, strict=True)]
    return ScoredChain(index=1, text="\n".join(steps), steps=scored, answer=answer)
