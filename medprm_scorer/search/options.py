"""The options that all searches share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from medprm_scorer.aggregate import Aggregate
from medprm_scorer.errors import InputError
from medprm_scorer.sampling.rules import check_count
from medprm_scorer.search.limits import Limits
from medprm_scorer.search.tree import SearchTree
from medprm_scorer.selection import Strategy, check_settings
from medprm_scorer.text.answers import Options
from medprm_scorer.text.answers.callers_functions import AnswerFunction, GroupFunction


class SearchOptions(TypedDict, total=False):
    """The options that all searches share.

    Args:
        strategy: How the winner is chosen among the finished chains, as in `MedPRM.rank`. Default: `weighted_vote`.
        aggregate: How step rewards become a chain reward for that choice. Default: `min`.
        seed: A whole number. The same seed gives the same search, if the policy samples with it. Default: 0.
        limits: Limits on the cost of the search: a `Limits`.
        retriever: Finds more documents while chains grow. It is called with the newest step of each chain that is
            continued, without its label, once for each wording, and returns a list of texts, the most relevant first.
            It may be async if the search is awaited. Not for early rejection.
        max_documents: Most documents that it adds to the question's own, at least 1. Default: 8.
        on_step: Called with each step of the answer as soon as it is final, which is when every chain that can still be
            chosen has it. All but the first begin with a line break; joined, they are `ranking.best.text`.
        on_progress: Called with the `SearchTree` after each call of the policy, in the thread of the search.
        stop_when: Called before each call of the policy. When it returns True, the search ends and ranks the finished
            chains.
        id: As in `MedPRM.rank`, like those below.
        answer: Reads a chain's answer.
        options: The answers to choose from.
        group: Says which answers are equal.
    """

    strategy: Strategy
    aggregate: Aggregate
    seed: int
    limits: Limits
    retriever: Callable[[str], Any] | None
    max_documents: int
    on_step: Callable[[str], object] | None
    on_progress: Callable[[SearchTree], object] | None
    stop_when: Callable[[], bool] | None
    id: str | int | None
    answer: AnswerFunction | None
    options: Options | None
    group: GroupFunction | None


@dataclass(frozen=True)
class Settings:
    """The options of one search, with their defaults; see `SearchOptions`.

    Raises:
        InputError: One of them is unknown or out of range.
    """

    strategy: Strategy = "weighted_vote"
    aggregate: Aggregate = "min"
    seed: int = 0
    limits: Limits = Limits()  # noqa: RUF009 - it is immutable
    retriever: Callable[[str], Any] | None = None
    max_documents: int = 8
    on_step: Callable[[str], object] | None = None
    on_progress: Callable[[SearchTree], object] | None = None
    stop_when: Callable[[], bool] | None = None
    id: str | int | None = None
    answer: AnswerFunction | None = None
    options: Options | None = None
    group: GroupFunction | None = None

    def __post_init__(self) -> None:
        check_settings(self.strategy, self.aggregate)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise InputError("the seed must be a whole number")
        if not isinstance(self.limits, Limits):
            raise InputError("limits must be a Limits")
        retriever: object = self.retriever
        if retriever is not None and not callable(retriever):
            raise InputError(
                f"the retriever must be a function from a text to documents, not {type(retriever).__name__}"
            )
        check_count("max_documents", self.max_documents)

    @property
    def choice(self) -> dict[str, Any]:
        """What `Session.rank` takes."""
        names = ("strategy", "aggregate", "id", "answer", "options", "group")
        return {name: getattr(self, name) for name in names}
