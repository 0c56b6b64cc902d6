"""What can be said of a ranking or a chain without drawing it."""

from typing import TYPE_CHECKING

from medprm_scorer.selection import Scored, select
from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET

if TYPE_CHECKING:
    from medprm_scorer.results.models import Ranking, ScoredChain


def is_good(reward: float) -> bool:
    """Whether the model would write `+` rather than `-` after a step of this reward."""
    return reward >= 0.5


def is_scored(chain: "ScoredChain") -> bool:
    """Whether the chain has a reward at all."""
    return chain.error is None and bool(chain.steps)


def majority_answer(ranking: "Ranking") -> str | None:
    """What majority vote, the baseline, would have answered; None if no scored chain gives an answer."""
    scored = [
        Scored(chain.index, chain.reward(ranking.aggregate) if is_scored(chain) else None, chain.answer)
        for chain in ranking.chains
    ]
    return select(scored, "majority_vote").answer


def weakest_step(chain: "ScoredChain") -> int:
    """The number, from 1, of the step with the lowest reward; the first of equals."""
    return 1 + min(range(len(chain.steps)), key=lambda place: chain.steps[place].reward)


def cautions(ranking: "Ranking") -> list[str]:
    """What a reader should know before relying on the answer: sentences of one line, without any text from outside."""
    scored = [chain for chain in ranking.chains if is_scored(chain)]
    silent = [chain for chain in scored if not chain.answer]
    found = []
    if ranking.documents_given and not ranking.documents_used:
        found.append(
            f"None of the {ranking.documents_given} documents was read: the first alone exceeds the budget of "
            f"{DOCUMENT_TOKEN_BUDGET:,} tokens, or the system prompt takes none."
        )
    if ranking.votes and silent:
        gives = "gives" if len(silent) == 1 else "give"
        found.append(f"{len(silent)} of {len(scored)} chains {gives} no answer that could be read, and did not vote.")
        high = max(scored, key=lambda chain: chain.reward(ranking.aggregate))
        if not high.answer and high.index != ranking.best.index:
            found.append(f"Candidate [{high.index}], which has the highest reward, is one of them.")
    if all(any(not is_good(step.reward) for step in chain.steps) for chain in scored):
        found.append("Every chain has a step below 0.5: do not rely on this answer.")
    return found
