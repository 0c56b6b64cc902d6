"""Beam search over steps, and diverse verifier tree search: after each step the best chains are continued.

`beam_search` keeps, of all continuations, the best `width`; a finished chain keeps its place. `dvts` (diverse verifier
tree search, of "Scaling test-time compute with open models", Hugging Face 2024) runs `subtrees` such searches of width
1 side by side, so that the finished chains do not all come from one first step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medprm_scorer.aggregate import aggregate_rewards
from medprm_scorer.errors import check_choice
from medprm_scorer.sampling.rules import check_count
from medprm_scorer.scorer import MedPRM
from medprm_scorer.search.drive import prepared
from medprm_scorer.search.growth import Asking, Growth, Piece
from medprm_scorer.search.options import SearchOptions, Settings
from medprm_scorer.search.policy import AsyncPolicy, Policy
from medprm_scorer.search.tree import SearchRanking

if TYPE_CHECKING:
    from typing_extensions import Unpack

RankBy = Literal["min", "last", "mean"]
"""How growing chains are compared, by the rewards of their steps so far."""


@dataclass(frozen=True)
class Beam:
    """Continue `width` chains in `expansions` ways each, keep the best `width`, and so on.

    A search of width w with e expansions generates about as many tokens as w · e whole chains, and ranks w of them.
    Identical continuations of a chain count once.

    Args:
        width: How many chains are kept, at least 1.
        expansions: How many continuations each gets, at least 1.
        rank_by: How growing chains are compared.

    Raises:
        InputError: A number is out of its range, or `rank_by` is unknown.
    """

    width: int = 4
    expansions: int = 4
    rank_by: RankBy = "min"

    def __post_init__(self) -> None:
        check_count("width", self.width)
        check_count("expansions", self.expansions)
        check_choice("rank_by", self.rank_by, ("min", "last", "mean"))

    @property
    def name(self) -> str:
        """Its name for people, with the numbers."""
        return f"beam search {self.width} × {self.expansions}"

    def check(self, settings: Settings) -> None:
        """It goes with all options."""

    def steps(self, growth: Growth, settings: Settings) -> Asking[SearchRanking]:
        """What it does."""
        del settings
        return _search(growth, 1, self.width, self.expansions, self.rank_by)


@dataclass(frozen=True)
class Dvts:
    """Search in subtrees that do not compete: in each, the best of `expansions` continuations is kept.

    Args:
        subtrees: How many chains are completed, at least 1.
        expansions: How many continuations each gets, at least 1.
        rank_by: How continuations are compared.

    Raises:
        InputError: A number is out of its range, or `rank_by` is unknown.
    """

    subtrees: int = 4
    expansions: int = 4
    rank_by: RankBy = "min"

    def __post_init__(self) -> None:
        check_count("subtrees", self.subtrees)
        check_count("expansions", self.expansions)
        check_choice("rank_by", self.rank_by, ("min", "last", "mean"))

    @property
    def name(self) -> str:
        """Its name for people, with the numbers."""
        return f"dvts {self.subtrees} × {self.expansions}"

    def check(self, settings: Settings) -> None:
        """It goes with all options."""

    def steps(self, growth: Growth, settings: Settings) -> Asking[SearchRanking]:
        """What it does."""
        del settings
        return _search(growth, self.subtrees, 1, self.expansions, self.rank_by)


class BeamOptions(SearchOptions, total=False):
    """The options of `beam_search`: those of `Beam` and of `SearchOptions`."""

    width: int
    expansions: int
    rank_by: RankBy


class DvtsOptions(SearchOptions, total=False):
    """The options of `dvts`: those of `Dvts` and of `SearchOptions`."""

    subtrees: int
    expansions: int
    rank_by: RankBy


def beam_search(
    policy: Policy, prm: MedPRM, question: str, documents: Sequence[str] = (), **options: "Unpack[BeamOptions]"
) -> SearchRanking:
    """Search over steps, and continue the best; see `Beam`.

    Args:
        policy: Writes the steps; see `medprm_scorer.search.Policy`.
        prm: The reward model.
        question: The question, including its answer options.
        documents: Its documents. Both models read them.
        **options: Those of `Beam` and of `SearchOptions`.

    Returns:
        The ranking of the finished chains, as from `MedPRM.rank`, with the tree.

    Raises:
        InputError: As in `MedPRM.rank`, or a number is out of its range.
        PolicyError: The policy returned nothing that can be ranked, or a value of the wrong form.
        ScoringError: As in `MedPRM.rank`.
        Exception: The policy's own exception, unchanged, if no chain was finished by then; otherwise a caution reports
            it.

    Example:
        >>> class Fixed:
        ...     def extend(self, question, documents, chains, n):
        ...         more = [Continuation("Step 1: Read the label.\\n"), Continuation("Step 1: Guess.\\n")]
        ...         last = [Continuation("Step 2: The answer is (A)", finished=True)]
        ...         return [(last if chain.steps else more)[:n] for chain in chains]
        >>> from medprm_scorer.search import Continuation
        >>> prm = MedPRM.from_pretrained()
        >>> beam_search(Fixed(), prm, "Which dose?", ["Label: dose Zoravine at 5 mg per kg."], width=1).answer
        'A'
    """
    return prepared(Beam, policy, prm, question, documents, options).run()


async def abeam_search(
    policy: Policy | AsyncPolicy,
    prm: MedPRM,
    question: str,
    documents: Sequence[str] = (),
    **options: "Unpack[BeamOptions]",
) -> SearchRanking:
    """`beam_search`, without blocking the event loop."""
    return await prepared(Beam, policy, prm, question, documents, options).arun()


def dvts(
    policy: Policy, prm: MedPRM, question: str, documents: Sequence[str] = (), **options: "Unpack[DvtsOptions]"
) -> SearchRanking:
    """Search over steps in subtrees that do not compete; see `Dvts`. Everything else is as in `beam_search`."""
    return prepared(Dvts, policy, prm, question, documents, options).run()


async def advts(
    policy: Policy | AsyncPolicy,
    prm: MedPRM,
    question: str,
    documents: Sequence[str] = (),
    **options: "Unpack[DvtsOptions]",
) -> SearchRanking:
    """`dvts`, without blocking the event loop."""
    return await prepared(Dvts, policy, prm, question, documents, options).arun()


def _search(growth: Growth, subtrees: int, width: int, expansions: int, rank_by: str) -> Asking[SearchRanking]:
    finished: list[list[Piece]] = [[] for _ in range(subtrees)]
    growing: list[list[Piece]] = [[] for _ in range(subtrees)]
    fresh = yield from growth.extend([growth.root], subtrees * width * expansions, alike=subtrees > 1)
    share = width * expansions
    first = growth.pieces[0].index if growth.pieces else 0
    for one in fresh:
        growing[(one.index - first) // share].append(one)
    while True:
        for tree in range(subtrees):
            finished[tree], growing[tree] = _keep(growth, finished[tree], growing[tree], width, rank_by)
        done, alive = [one for some in finished for one in some], [one for some in growing for one in some]
        if not alive:
            break
        fresh = yield from growth.extend(alive, expansions, done)
        if growth.stopped:
            break
        trees = {id(one): tree for tree, some in enumerate(growing) for one in some}
        growing = [[] for _ in range(subtrees)]
        for one in fresh:
            growing[trees[id(one.parent)]].append(one)
    ranking = yield from growth.finish(done, alive)
    return ranking


def _keep(
    growth: Growth, finished: list[Piece], fresh: list[Piece], width: int, rank_by: str
) -> tuple[list[Piece], list[Piece]]:
    """The best new pieces, as many as there is room for: the finished ones, and those to continue."""
    ordered = sorted(fresh, key=lambda one: (-aggregate_rewards(one.rewards, rank_by), one.index))
    room = width - len(finished)
    for place, one in enumerate(ordered[room:], start=room + 1):
        growth.end(one, "dropped", f"{rank_by} of its steps is number {place} of {len(ordered)}")
    kept = ordered[:room]
    return [*finished, *(one for one in kept if one.finished)], [one for one in kept if not one.finished]
