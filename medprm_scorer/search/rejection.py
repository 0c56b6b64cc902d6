"""Early rejection: chains are sampled side by side, and those that can no longer matter are not written to the end.

The smallest reward of a chain's steps can only fall while the chain grows, and so can their product: what it is so far
is a bound on the chain's reward.

- `best_of_n`: a chain whose bound is below the reward of a finished chain cannot win. The winner is the same as if all
  whole chains were scored. `slack` also drops chains that could win by no more than that amount: the winner's reward is
  then at most that much below the best.
- `weighted_vote`: let v and w be the weights of the leading answer and of the second among the finished chains, and B
  the sum of the bounds of all others. If v − w > B, another answer cannot win, however the others end; they are
  dropped. (Chains with an answer must also have at least half of all reward, whatever the others do: otherwise there is
  no vote.) `slack` drops more: chains with the lowest bounds, as long as these add up to no more than `slack`. The
  answer is still that of all whole chains if, at the end, v − w exceeds the sum of the bounds of the dropped chains;
  `tree.proven` says whether it does.

The order of continuation (`order`) decides how much is written:

- `best_first`: the chain with the highest bound. Under `best_of_n` this writes the least that any exact rule by these
  bounds can: a step is written only after a chain whose bound is at least the winner's reward, and after each of those
  a step must be written, since the chain could still win (Dechter and Pearl 1985, "Generalized best-first search
  strategies and the optimality of A*", doi:10.1145/3828.3830). With `together` above 1, that many chains are continued
  at once, and up to that many more steps are written than needed.
- `longest_first`: the longest chain, unless its bound is below half of the highest, and no chain is begun before it is
  needed: chains that finish early settle a vote early, and a chain that is not begun is bounded by 1.

The default takes the first for `best_of_n` and the second for a vote. Both give the same winner.

The proof is about the chains that this policy would have written. It assumes that a chain's steps do not depend on when
they are sampled, which holds for a policy that samples with the seeds it is given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medprm_scorer.aggregate import FAVOURS_FEW_STEPS, aggregate_rewards
from medprm_scorer.errors import InputError, check_choice
from medprm_scorer.results.models import Ranking
from medprm_scorer.sampling.rules import check_count
from medprm_scorer.scorer import MedPRM
from medprm_scorer.search.drive import prepared
from medprm_scorer.search.growth import Asking, Growth, Piece
from medprm_scorer.search.options import SearchOptions, Settings
from medprm_scorer.search.policy import AsyncPolicy, Policy, seed_of
from medprm_scorer.search.tree import SearchRanking

if TYPE_CHECKING:
    from typing_extensions import Unpack

Order = Literal["best_first", "longest_first"]
"""Which chain is continued first."""

_ROUNDING = 1e-9  # sums of rewards this close are equal
_DOUBTFUL = 0.5  # longest first: a chain whose bound is below this fraction of the highest waits for the others


@dataclass(frozen=True)
class EarlyRejection:
    """Sample `n` chains step by step and stop writing those that can no longer change the choice.

    The strategy is `weighted_vote` or `best_of_n`, the aggregate `min` or `prod`. The module's docstring explains the
    rule.

    Args:
        n: How many chains are begun, at least 1.
        together: How many chains are continued at once. More are faster, but write more unneeded steps.
        slack: For `best_of_n`, by how much the winner's reward may be below the best; for a vote, the weight, in chain
            rewards, that may be dropped without proof. 0 is exact.
        order: Which chain is continued first; None takes `best_first` for `best_of_n`, `longest_first` for a vote.

    Raises:
        InputError: A number is out of its range, or the order is unknown.
    """

    n: int = 16
    together: int = 1
    slack: float = 0.0
    order: Order | None = None

    def __post_init__(self) -> None:
        check_count("n", self.n)
        check_count("together", self.together)
        if isinstance(self.slack, bool) or not isinstance(self.slack, int | float) or not 0 <= self.slack < math.inf:
            raise InputError("slack must be a number of at least 0")
        if self.order is not None:
            check_choice("order", self.order, ("best_first", "longest_first"))

    @property
    def name(self) -> str:
        """A readable name, with the number of chains."""
        return f"early rejection of {self.n}"

    def check(self, settings: Settings) -> None:
        """Refuse settings for which there is no bound.

        Raises:
            InputError: The strategy or the aggregate has no bound, or a retriever would change rewards during the
                search.
        """
        check_choice("strategy for early rejection", settings.strategy, ("weighted_vote", "best_of_n"))
        check_choice("aggregate for early rejection", settings.aggregate, FAVOURS_FEW_STEPS)
        if settings.retriever is not None:
            raise InputError(
                "early rejection does not work with a retriever: new documents change the rewards of steps already "
                "scored, so no bound holds; use beam search"
            )

    def steps(self, growth: Growth, settings: Settings) -> Asking[SearchRanking]:
        """What it does."""
        return _Rejection(growth, settings, self).search()


class RejectionOptions(SearchOptions, total=False):
    """The options of `early_rejection`: those of `EarlyRejection` and of `SearchOptions`."""

    n: int
    together: int
    slack: float
    order: Order | None


def early_rejection(
    policy: Policy, prm: MedPRM, question: str, documents: Sequence[str] = (), **options: "Unpack[RejectionOptions]"
) -> SearchRanking:
    """Sample chains, and stop writing those that can no longer matter; see `EarlyRejection`.

    Args:
        policy: Writes the steps, as in `beam_search`.
        prm: The reward model.
        question: The question.
        documents: Its documents.
        **options: Those of `EarlyRejection` and of `SearchOptions`.

    Returns:
        The ranking of the finished chains, with the tree: `tree.proven` says whether whole chains would have given the
        same winner (`best_of_n`) or the same answer (`weighted_vote`).

    Raises:
        InputError: As in `MedPRM.rank`; a number is out of its range; the strategy or the aggregate has no bound.
        PolicyError: As in `beam_search`.
        ScoringError: As in `MedPRM.rank`.
        Exception: The policy's own exception, unchanged, if no chain was finished by then; otherwise a caution reports
            it.
    """
    return prepared(EarlyRejection, policy, prm, question, documents, options).run()


async def aearly_rejection(
    policy: Policy | AsyncPolicy,
    prm: MedPRM,
    question: str,
    documents: Sequence[str] = (),
    **options: "Unpack[RejectionOptions]",
) -> SearchRanking:
    """`early_rejection`, without blocking the event loop."""
    return await prepared(EarlyRejection, policy, prm, question, documents, options).arun()


class _Rejection:
    def __init__(self, growth: Growth, settings: Settings, numbers: EarlyRejection) -> None:
        self._growth, self._settings = growth, settings
        self._n, self._together, self._slack = numbers.n, numbers.together, numbers.slack
        default = "best_first" if settings.strategy == "best_of_n" else "longest_first"
        self._best_first = (numbers.order or default) == "best_first"
        self._finished: list[Piece] = []
        self._growing: list[Piece] = []
        self._given_up: list[Piece] = []  # under `best_of_n`, within the slack

    def search(self) -> Asking[SearchRanking]:
        growth = self._growth
        self._growing = [Piece("", (), seed_of(growth.root.seed, number)) for number in range(self._n)]
        growth.unbegun = self._n
        # best first begins all chains: a chain that is not begun has no bound
        fresh = yield from self._extend(self._n if self._best_first else self._together)
        ranking: Ranking | None = None
        while True:
            self._finished += [one for one in fresh if one.finished]
            self._growing += [one for one in fresh if not one.finished]
            if any(one.finished for one in fresh):
                ranking = yield from growth.rank(self._finished)
            if ranking is not None:
                self._reject(ranking)
            if not self._growing or growth.stopped:
                break
            fresh = yield from self._extend(self._together)
        growth.proven = ranking is not None and not self._growing and self._is_proven(ranking)
        result = yield from growth.finish(self._finished, [one for one in self._growing if one.index >= 0])
        return result

    def _extend(self, count: int) -> Asking[list[Piece]]:
        """Continue so many chains, in the chosen order; returns the new pieces."""
        ordered = self._in_turn()
        batch, self._growing = ordered[:count], ordered[count:]
        beside = [one for one in (*self._finished, *self._growing) if one.steps]
        fresh = yield from self._growth.extend(batch, 1, beside, alike=True)
        if self._growth.stopped:
            self._growing += batch
        else:
            self._growth.unbegun -= sum(one.index < 0 for one in batch)
        return fresh

    def _in_turn(self) -> list[Piece]:
        """The growing chains, in the order in which they are continued."""
        if self._best_first:
            return sorted(self._growing, key=lambda one: (-self._bound(one), -len(one.steps), one.order))
        least = _DOUBTFUL * max(map(self._bound, self._growing))
        return sorted(
            self._growing, key=lambda one: (self._bound(one) < least, -len(one.steps), -self._bound(one), one.order)
        )

    def _bound(self, piece: Piece) -> float:
        return aggregate_rewards(piece.rewards, self._settings.aggregate) if piece.rewards else 1.0

    def _reject(self, ranking: Ranking) -> None:
        """Drop the chains that can no longer change the choice."""
        if self._settings.strategy == "best_of_n":
            best = max(self._finished, key=self._merit)
            for one in list(self._growing):
                if self._merit(one) < self._merit(best):
                    self._drop(one, f"its {self._settings.aggregate} of {self._bound(one):.3f} can no longer win")
                elif self._bound(one) - self._bound(best) < self._slack:
                    self._given_up.append(one)
                    self._drop(one, f"its {self._settings.aggregate} of {self._bound(one):.3f} is within the slack")
            return
        rest = math.fsum(self._bound(one) for one in self._growing) + self._growth.dropped_weight
        if is_settled(ranking, rest, grouped=self._settings.group is not None):
            for one in list(self._growing):
                self._drop(one, "its vote can no longer change the answer")
            return
        for one in sorted(self._growing, key=self._bound):
            if self._growth.dropped_weight + self._bound(one) > self._slack:
                break
            self._drop(one, f"its vote of at most {self._bound(one):.3f} is within the slack")

    def _merit(self, piece: Piece) -> tuple[float, tuple[int, ...]]:
        """The sort key of `best_of_n`: the reward, then the earlier chain."""
        return self._bound(piece), tuple(-place for place in piece.order[:1])

    def _drop(self, piece: Piece, why: str) -> None:
        self._growing.remove(piece)
        self._growth.dropped_weight += self._bound(piece)
        self._growth.end(piece, "dropped", why)

    def _is_proven(self, ranking: Ranking) -> bool:
        if self._settings.strategy == "best_of_n":
            best = max(map(self._merit, self._finished))
            return all(self._merit(one) < best for one in self._given_up)
        if not self._growth.dropped_weight:
            return True
        return is_settled(ranking, self._growth.dropped_weight, grouped=self._settings.group is not None)


def is_settled(ranking: Ranking, rest: float, *, grouped: bool = False) -> bool:
    """Whether the answer of a weighted vote stays the same, however further chains end.

    Args:
        ranking: Of the chains so far, none of them cut off.
        rest: The largest possible sum of the rewards of all further chains.
        grouped: Whether a caller's function decides which answers are equal: it may join any two later.
    """
    if ranking.strategy != "weighted_vote" or not ranking.votes:
        return False
    weights = [vote.weight for vote in ranking.votes]
    second = math.fsum(weights[1:]) if grouped else max(weights[1:], default=0.0)
    scored = [chain.reward(ranking.aggregate) for chain in ranking.chains if chain.error is None]
    silent = math.fsum(scored) - math.fsum(weights)
    margin = rest + _ROUNDING * (1 + len(scored))
    return weights[0] - second > margin and math.fsum(weights) - silent > margin
