"""The comment of the evaluators on an answer, besides its score."""

from medprm_scorer.results.models import Ranking


def feedback(ranking: Ranking) -> str:
    """The weakest step of the judged chain, and the rewards of all its steps.

    It says first if the answer is not trusted, and then "Judged without documents." if the reward model read none.

    Args:
        ranking: The ranking of that chain.
    """
    chain, read = ranking.best, ranking.documents_used > 0
    rewards = chain.step_rewards
    place = rewards.index(min(rewards))
    listed = ", ".join(f"{reward:.2f}" for reward in rewards)
    weakest = f"Step {place + 1} of {len(rewards)} is the weakest, with a reward of {rewards[place]:.2f}"
    doubt = "The answer is not trusted. " if ranking.trusted is False else ""
    return (
        f"{doubt}{'' if read else 'Judged without documents. '}{weakest}: {chain.steps[place].text}\n"
        f"Rewards of all steps, in order: {listed}."
    )
