"""Rankings made by hand, so that what draws or prints one can be tested without a model."""

from collections.abc import Sequence

from medprm_scorer.results.facts import cautions
from medprm_scorer.results.models import Ranking, ScoredChain, ScoredStep, Vote
from medprm_scorer.selection import Scored, select

QUESTION = "Which abnormality fits an excess of amniotic fluid?\n\n(A) Renal agenesis\n(C) Duodenal atresia"


def make_chain(
    index: int,
    rewards: Sequence[float] = (),
    answer: str | None = None,
    error: str | None = None,
    text: str = "the amniotic fluid index is above normal, which means polyhydramnios",
) -> ScoredChain:
    steps = [ScoredStep(text=f"Step {n}: {text}.", reward=reward) for n, reward in enumerate(rewards, start=1)]
    return ScoredChain(
        index=index, text="\n".join(step.text for step in steps) or text, steps=steps, answer=answer, error=error
    )


def make_ranking(
    chains: Sequence[ScoredChain],
    strategy: str = "weighted_vote",
    question: str = QUESTION,
    documents_used: int = 1,
    documents_given: int = 2,
) -> Ranking:
    scored = [
        Scored(
            chain.index,
            None if chain.error else chain.reward(),
            chain.answer,
            declined=chain.declined,
            truncated=chain.truncated,
        )
        for chain in chains
    ]
    chosen = select(scored, strategy)
    by_index = {chain.index: chain for chain in chains}
    ranking = Ranking(
        best=by_index[chosen.order[0]],
        chains=[by_index[index] for index in chosen.order],
        answer=chosen.answer,
        declined=chosen.declined,
        votes=[Vote(**vars(vote)) for vote in chosen.votes],
        strategy=chosen.strategy,
        aggregate="min",
        question=question,
        documents_used=documents_used,
        documents_given=documents_given,
        documents_read=list(range(documents_used)),
        prompt_tokens=20412,
        unique_tokens=4210,
        seconds=0.5,
    )
    return ranking.model_copy(update={"cautions": cautions(ranking, strategy)})


def example_ranking(strategy: str = "weighted_vote") -> Ranking:
    """C wins by weight with one chain; D has two chains; one gives no answer; one could not be scored."""
    return make_ranking(
        [
            make_chain(0, (0.98, 0.3, 0.11), "D"),
            make_chain(1, (0.99, 0.97, 0.93), "C"),
            make_chain(2, (0.5, 0.2), "D"),
            make_chain(3, error="it has 9,000 tokens and the model takes 8,192"),
            make_chain(4, (0.4,), None),
        ],
        strategy,
    )
