"""Features of a ranking for or against its answer, as plain numbers: rewards, agreement, number of votes."""

import math
from collections.abc import Mapping

from medprm_scorer.results.facts import is_scored
from medprm_scorer.results.models import Ranking

_NEAREST = 1e-3  # closest to 0 and 1: beyond this, differences of rewards are noise

NAMES = (
    *("share", "lead", "count_share", "support", "best", "mean", "rival", "others"),
    *("silent", "declined", "lost", "unvoted", "chains"),
)
"""The names of the features, in order."""


def features(ranking: Ranking) -> Mapping[str, float] | None:
    """The numbers by which a calibration judges a ranking; it reads no text.

    `share` and `lead` are the winner's share of all reward and its lead over the second answer; `count_share` its share
    of the chains; `support` the logarithm of 1 plus its reward; `best`, `mean` and `rival` the log-odds of the winning
    chain's reward, of the mean reward for the answer and of that for the second; `others` the log-odds of the mean
    reward of all; `silent` and `declined` the shares of the chains that did not vote or declined; `lost` that of the
    chains that were cut off or could not be scored; `unvoted` whether the best reward decided; `chains` the logarithm
    of their number.

    Args:
        ranking: A ranking; its `aggregate` says what a chain's reward is.

    Returns:
        The numbers by name, always the same names, all finite; None if the ranking has no answer.
    """
    if ranking.answer is None or ranking.declined or not ranking.votes:
        return None
    scored = [chain for chain in ranking.chains if is_scored(chain)]
    finished = [chain for chain in scored if not chain.truncated] or scored
    total = math.fsum(chain.reward(ranking.aggregate) for chain in finished)
    won, *others = ranking.votes
    second = max(others, key=lambda vote: vote.weight, default=None)
    count = len(finished)
    of_total = 1.0 / total if total > 0.0 else 0.0
    return {
        "share": min(1.0, won.weight * of_total),
        "lead": (won.weight - (second.weight if second else 0.0)) * of_total,
        "count_share": won.count / count,
        "support": math.log1p(won.weight),
        "best": _log_odds(ranking.best.reward(ranking.aggregate)),
        "mean": _log_odds(won.weight / won.count),
        "rival": _log_odds(second.weight / second.count if second else 0.0),
        "others": _log_odds(total / count),
        "silent": max(0.0, 1.0 - sum(vote.count for vote in ranking.votes) / count),
        "declined": sum(vote.count for vote in ranking.votes if vote.declined) / count,
        "lost": 1.0 - count / len(ranking.chains),
        "unvoted": float(ranking.strategy == "best_of_n"),
        "chains": math.log(len(ranking.chains)),
    }


def _log_odds(reward: float) -> float:
    clipped = min(max(reward, _NEAREST), 1.0 - _NEAREST)
    return math.log(clipped / (1.0 - clipped))
