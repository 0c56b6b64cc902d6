"""`Floors`: an answer is trusted from a minimum reward, share or number of votes. Nothing is calibrated."""

from collections.abc import Mapping
from dataclasses import dataclass

from medprm_scorer.errors import InputError
from medprm_scorer.results.facts import NO_GOOD_CHAIN
from medprm_scorer.results.models import Ranking
from medprm_scorer.text.answers.options import find_options

WITHOUT_DOCUMENTS = "No document was read, and no floor asks for one (min_documents)."
"""The caution about an answer that is trusted without evidence."""


@dataclass(frozen=True)
class Floors:
    """Plain lower limits on a ranking. They promise nothing: no error rate is known for them.

    A ranking is trusted if it reaches every floor that is set. It never is if the winner declines, if there are
    options, in the question's text or beside it, and none could be read as the answer, or if every chain has a step
    below 0.5 and no `min_reward` says what is enough. It has no `confidence`. For a promise, calibrate on judged
    questions: `Trust`.

    Args:
        min_reward: Lowest reward of the winning chain, in [0, 1].
        min_share: Lowest share of the votes of the winning answer, in [0, 1].
        min_votes: Fewest chains that give the winning answer, at least 1.
        min_documents: Fewest documents that were read, at least 1. Without this floor an answer may be trusted though
            no document was given, found or short enough to be read; a caution says so.

    Raises:
        InputError: No floor is set, or one is out of its range.

    Example:
        >>> Floors(min_reward=0.5, min_votes=3)
        Floors(min_reward=0.5, min_share=None, min_votes=3, min_documents=None)
    """

    min_reward: float | None = None
    min_share: float | None = None
    min_votes: int | None = None
    min_documents: int | None = None

    def __post_init__(self) -> None:
        if all(one is None for one in vars(self).values()):
            raise InputError(f"set at least one floor: {', '.join(vars(self))}")
        for name in ("min_reward", "min_share"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and 0 <= value <= 1):  # also for NaN
                raise InputError(f"{name} must be a number from 0 to 1")
        for name in ("min_votes", "min_documents"):
            count = getattr(self, name)
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                raise InputError(f"{name} must be a whole number of at least 1")

    def check(
        self,
        settings: Mapping[str, str],
        strategy: str | None = None,
        aggregate: str | None = None,
        stop: str | None = None,
    ) -> None:
        """Floors apply to every model and every selection method."""

    def judge(self, ranking: Ranking) -> Ranking:
        """The ranking with `trusted`, and with a caution if it does not reach a floor."""
        problem = self._problem(ranking)
        if problem is not None:
            said = [f"Not trusted: {problem}. The floor is uncalibrated."]
        else:
            said = [] if ranking.documents_used else [WITHOUT_DOCUMENTS]
        cautions = [*ranking.cautions, *said]
        return ranking.model_copy(update={"confidence": None, "trusted": problem is None, "cautions": cautions})

    def _problem(self, ranking: Ranking) -> str | None:
        if ranking.declined:
            return "the winner declines to answer"
        if ranking.answer is None and (ranking.options_given or find_options(ranking.question) is not None):
            return "no answer among the options could be read"
        if self.min_documents is not None and ranking.documents_used < self.min_documents:
            return f"too few documents were read: {ranking.documents_used}, and the floor is {self.min_documents}"
        reward = ranking.best.reward(ranking.aggregate)
        if self.min_reward is not None and reward < self.min_reward:
            return f"the winning chain's reward is {reward:.3f}, below the floor of {self.min_reward:g}"
        vote = ranking.votes[0] if ranking.votes and ranking.answer is not None else None
        share, count = (vote.share, vote.count) if vote else (0.0, 0)
        if self.min_share is not None and share < self.min_share:
            return f"the winning answer has {share:.1%} of the votes, below the floor of {self.min_share:.1%}"
        if self.min_votes is not None and count < self.min_votes:
            return f"too few chains give the winning answer: {count}, and the floor is {self.min_votes}"
        if self.min_reward is None and any(caution.startswith(NO_GOOD_CHAIN) for caution in ranking.cautions):
            return "every chain has a step below 0.5, and no floor says what is enough (min_reward)"
        return None
