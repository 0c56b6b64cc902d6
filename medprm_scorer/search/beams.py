"""Beam search over steps, and diverse verifier tree search: after each step the best chains are continued.

`beam_search` keeps, of all continuations, the best `width`; a finished chain keeps its place. `dvts` (diverse verifier
tree search, of "Scaling test-time compute with open models", Hugging Face 2024) runs `subtrees` such searches of width
1 side by side, so that the finished chains do not all come from one first step.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from medprm_scorer.aggregate import aggregate_rewards
from medprm_scorer.errors import InputError, check_choice
from medprm_scorer.scorer import MedPRM
from medprm_scorer.search.drive import Search, SearchOptions, Settings
from medprm_scorer.search.growth import Asking, Growth, Piece
from medprm_scorer.search.policy import AsyncPolicy, Policy
from medprm_scorer.search.tree import SearchRanking

if TYPE_CHECKING:
    from typing_extensions import Unpack

RankBy = Literal["min", "last", "mean"]
"""How chains that are still growing are compared, by the rewards of their steps so far."""


def beam_search(
    policy: Policy,
    prm: MedPRM,
    question: str,
    documents: Sequence[str] = (),
    *,
    width: int = 4,
    expansions: int = 4,
    rank_by: RankBy = "min",
    **options: "Unpack[SearchOptions]",
) -> SearchRanking:
    """Search over steps: continue `width` chains in `expansions` ways each, keep the best `width`, and so on.

    A search of width w with e expansions generates about as many tokens as w · e whole chains, and ranks w of them.
    Continuations of a chain that are the same count once.

    Args:
        policy: Writes the steps; see `medprm_scorer.search.Policy`.
        prm: The reward model.
        question: The question, options inside.
        documents: Its documents, which both models read.
        width: How many chains are kept, at least 1.
        expansions: In how many ways each is continued, at least 1.
        rank_by: What chains are compared by while they grow.
        **options: See `SearchOptions`.

    Returns:
        The ranking of the finished chains, as of `MedPRM.rank`, with the tree.

    Raises:
        InputError: As in `MedPRM.rank`, or a number is out of its range.
        PolicyError: The policy gave nothing that can be ranked, or not what it was asked for.
        ScoringError: As in `MedPRM.rank`.
        Exception: What the policy raised, unchanged, if no chain was finished by then; else a caution says so.

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
    return _beams(policy, prm, question, documents, 1, width, expansions, rank_by, options).run()


async def abeam_search(
    policy: Policy | AsyncPolicy,
    prm: MedPRM,
    question: str,
    documents: Sequence[str] = (),
    *,
    width: int = 4,
    expansions: int = 4,
    rank_by: RankBy = "min",
    **options: "Unpack[SearchOptions]",
) -> SearchRanking:
    """`beam_search`, with the event loop left free."""
    return await _beams(policy, prm, question, documents, 1, width, expansions, rank_by, options).arun()


def dvts(
    policy: Policy,
    prm: MedPRM,
    question: str,
    documents: Sequence[str] = (),
    *,
    subtrees: int = 4,
    expansions: int = 4,
    rank_by: RankBy = "min",
    **options: "Unpack[SearchOptions]",
) -> SearchRanking:
    """Search over steps in subtrees that do not compete: in each, the best of `expansions` continuations is kept.

    Args:
        policy: As in `beam_search`, like all that is not named here.
        prm: The reward model.
        question: The question.
        documents: Its documents.
        subtrees: How many chains are brought to their end, at least 1.
        expansions: In how many ways each is continued, at least 1.
        rank_by: What continuations are compared by.
        **options: See `SearchOptions`.
    """
    return _beams(policy, prm, question, documents, subtrees, 1, expansions, rank_by, options).run()


async def advts(
    policy: Policy | AsyncPolicy,
    prm: MedPRM,
    question: str,
    documents: Sequence[str] = (),
    *,
    subtrees: int = 4,
    expansions: int = 4,
    rank_by: RankBy = "min",
    **options: "Unpack[SearchOptions]",
) -> SearchRanking:
    """`dvts`, with the event loop left free."""
    return await _beams(policy, prm, question, documents, subtrees, 1, expansions, rank_by, options).arun()


def _beams(
    policy: Policy | AsyncPolicy,
    prm: MedPRM,
    question: str,
    documents: Sequence[str],
    subtrees: int,
    width: int,
    expansions: int,
    rank_by: RankBy,
    options: SearchOptions,
) -> Search:
    settings = Settings.of(options)
    check_choice("rank_by", rank_by, ("min", "last", "mean"))
    check_numbers(subtrees=subtrees, width=width, expansions=expansions)
    method = f"beam search {width} × {expansions}" if width > 1 or subtrees == 1 else f"dvts {subtrees} × {expansions}"
    growth = Growth(method, settings.limits, settings.seed, prm.count_tokens, settings.on_progress, settings.stop_when)
    steps = _search(growth, subtrees, width, expansions, rank_by)
    return Search(policy, prm, question, documents, settings, growth, steps)


def check_numbers(**numbers: int) -> None:
    """Refuse what is not a whole number of at least 1.

    Raises:
        InputError: Naming it.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a whole number of at least 1")


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
    """Of new pieces the best, as many as there is room for: the finished ones, and those to continue."""
    ordered = sorted(fresh, key=lambda one: (-aggregate_rewards(one.rewards, rank_by), one.index))
    room = width - len(finished)
    for place, one in enumerate(ordered[room:], start=room + 1):
        growth.end(one, "dropped", f"{rank_by} of its steps is number {place} of {len(ordered)}")
    kept = ordered[:room]
    return [*finished, *(one for one in kept if one.finished)], [one for one in kept if not one.finished]
