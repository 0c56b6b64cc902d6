"""Facts about a ranking or a chain, without any display."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET

if TYPE_CHECKING:
    from medprm_scorer.results.models import Ranking, ScoredChain

NO_GOOD_CHAIN = "Every chain has a step below 0.5"
"""The first words of a caution; without a calibration it goes on with what follows from it."""

_MANY = 4
"""The fewest votes for which it is worth saying that most of them differ."""


def is_good(reward: float) -> bool:
    """Whether the model would write `+` rather than `-` after a step with this reward."""
    return reward >= 0.5


def is_scored(chain: "ScoredChain") -> bool:
    """Whether the chain has a reward at all."""
    return chain.error is None and bool(chain.steps)


def majority_answer(ranking: "Ranking") -> str | None:
    """The answer of majority vote, the baseline; None if no chain gives an answer, or most decline."""
    most = max(ranking.votes, key=lambda vote: (vote.count, vote.weight), default=None)
    return None if most is None or most.declined else most.answer


def weakest_step(chain: "ScoredChain") -> int:
    """The number, from 1, of the step with the lowest reward; the first one in a tie."""
    return 1 + min(range(len(chain.steps)), key=lambda place: chain.steps[place].reward)


def first_bad_step(chain: "ScoredChain") -> int | None:
    """The number, from 1, of the step where the chain breaks: the first below 0.5; None if there is none."""
    return next((number for number, step in enumerate(chain.steps, start=1) if not is_good(step.reward)), None)


def losing_chain(ranking: "Ranking") -> "ScoredChain | None":
    """The chain that best shows why another answer lost; None if no chain with another answer breaks.

    Among the chains of the most frequent other answer, it is the one that breaks last: the longer a chain is right, the
    more informative its break is.
    """
    answers = Counter(chain.answer for chain in ranking.chains if is_scored(chain))
    losers = [
        chain
        for chain in ranking.chains
        if is_scored(chain)
        and not chain.truncated
        and chain.answer
        and chain.answer != ranking.answer
        and first_bad_step(chain)
    ]
    return max(losers, key=lambda chain: (answers[chain.answer], first_bad_step(chain) or 0), default=None)


def cautions(ranking: "Ranking", asked: str) -> list[str]:
    """What a reader should know before relying on the answer: sentences of one line, without any text of the request.

    They report documents that were not read; chains that were cut off; that no vote was taken, or that chains took no
    part in it; that almost every answer is different; that the winner declines; and that every chain has a step below
    0.5.

    Args:
        ranking: The ranking.
        asked: The requested strategy.
    """
    scored = [chain for chain in ranking.chains if is_scored(chain)]
    found = [*_about_documents(ranking), *_about_cut_off(scored), *_about_votes(ranking, scored, asked)]
    if ranking.declined:
        found.append("The winning chain says that the question cannot be answered.")
    if all(any(not is_good(step.reward) for step in chain.steps) for chain in scored):
        found.append(f"{NO_GOOD_CHAIN}: do not rely on this answer.")
    return found


def _about_documents(ranking: "Ranking") -> list[str]:
    used, given = ranking.documents_used, ranking.documents_given
    if not given or used == given:
        return []
    if used:
        return [
            f"{used} of {given} documents were read: the others exceed the budget of {DOCUMENT_TOKEN_BUDGET:,} tokens."
        ]
    budget = f"the budget of {DOCUMENT_TOKEN_BUDGET:,} tokens, or the system prompt has no place for"
    if given == 1:
        return [f"The only document was not read: it exceeds {budget} it."]
    return [f"None of the {given} documents was read: the first alone exceeds {budget} them."]


def _about_cut_off(scored: Sequence["ScoredChain"]) -> list[str]:
    cut_off = sum(chain.truncated for chain in scored)
    if not cut_off:
        return []
    if cut_off == len(scored):
        return ["Every chain was cut off before its end."]
    were = "was" if cut_off == 1 else "were"
    return [f"{cut_off} of {len(scored)} chains {were} cut off before the end, and had no part in the choice."]


def _about_votes(ranking: "Ranking", scored: Sequence["ScoredChain"], asked: str) -> list[str]:
    finished = [chain for chain in scored if not chain.truncated] or scored
    silent = [chain for chain in finished if not chain.answer and not chain.declined]
    voting = len(finished) - len(silent)
    if not voting:
        none = "No chain gives an answer that could be read"
        return [f"{none}: the highest reward decided, without a vote."] if asked != "best_of_n" else []
    found = []
    if ranking.strategy != asked:
        found.append(
            f"The {voting} of {len(finished)} chains whose answer could be read hold less than half of all reward: no "
            "vote was taken, the highest reward decided."
        )
    elif silent:
        gives = "gives" if len(silent) == 1 else "give"
        found.append(f"{len(silent)} of {len(finished)} chains {gives} no answer that could be read, and did not vote.")
        high = max(finished, key=lambda chain: chain.reward(ranking.aggregate))
        if high in silent and high.index != ranking.best.index:
            found.append(f"Candidate [{high.index}], which has the highest reward, is one of them.")
    if voting >= _MANY and len(ranking.votes) > voting / 2:
        found.append(f"{voting} chains give {len(ranking.votes)} different answers.")
    return found
