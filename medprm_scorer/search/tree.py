"""What a search did: every chain that was begun, which were kept, which were dropped, and why."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from medprm_scorer.results.models import Ranking, Result, Text

Fate = Literal["growing", "extended", "finished", "cut off", "dropped"]
"""What became of a piece of a chain: in this order, it waits, it was continued, it ended the chain, it could not be
continued though the chain is unfinished, or other pieces were preferred."""


class Branch(Result):
    """One piece of a chain, usually one step, at its place in the tree.

    Args:
        index: Index in the tree's list, from 0.
        parent: Index of the piece that it continues; None for the first piece of a chain.
        round: Number of the policy's call that wrote it, from 1.
        steps: The steps that it adds; none if it only ends its chain.
        rewards: Their rewards; empty if they could not be scored.
        tokens: How many tokens the policy generated for it.
        fate: What became of it.
        why: The reason, in a few words that contain no text of the policy or the question; empty for `extended` and
            `growing`.
        candidate: Index of its chain in the ranking; None if its chain is not in the ranking.
    """

    index: int = Field(ge=0)
    parent: int | None
    round: int = Field(ge=1)
    steps: list[Text] = Field(default_factory=list)
    rewards: list[float] = Field(default_factory=list)
    tokens: int = Field(ge=0)
    fate: Fate
    why: Text = ""
    candidate: int | None = None

    def _summary(self) -> str:
        return f"index={self.index}, parent={self.parent}, fate={self.fate!r}"


class SearchTree(Result):
    """All pieces of chains in the order in which they were written, and what the search cost.

    Args:
        method: `beam search`, `dvts` or `early rejection`, with its numbers.
        branches: The pieces.
        generated_tokens: Tokens that the policy generated.
        policy_calls: How often the policy was called.
        reward_tokens: Tokens that the reward model ran, prefix included; with a server, tokens that were sent to it.
        policy_seconds: Wall-clock time of the policy.
        reward_seconds: Wall-clock time of scoring.
        stopped: Why the search ended before all chains were finished; None if it did not.
        proven: For early rejection: whether whole chains would have given the same winner (`best_of_n`) or answer (a
            vote); None for other searches.
        dropped_weight: For early rejection: the most that the dropped chains could have added to the votes.
        documents: Documents that were retrieved while chains grew, in the order in which they were added. The rewards
            of a branch are from the documents present when it was scored; the ranking's rewards are from all.
        documents_repeated: How many further documents were found that were already present.
        documents_left_out: How many further documents were left out, as too many or as too long for the reward model's
            budget.
    """

    method: str
    branches: list[Branch] = Field(default_factory=list)
    generated_tokens: int = Field(0, ge=0)
    policy_calls: int = Field(0, ge=0)
    reward_tokens: int = Field(0, ge=0)
    policy_seconds: float = Field(0.0, ge=0.0)
    reward_seconds: float = Field(0.0, ge=0.0)
    stopped: Text | None = None
    proven: bool | None = None
    dropped_weight: float = Field(0.0, ge=0.0)
    documents: list[Text] = Field(default_factory=list)
    documents_repeated: int = Field(0, ge=0)
    documents_left_out: int = Field(0, ge=0)

    def _summary(self) -> str:
        return f"{self.method}, {len(self.branches)} branches, {self.generated_tokens} tokens generated"

    def children(self, parent: int | None) -> list[Branch]:
        """The pieces that continue a piece; the first pieces for None."""
        return [branch for branch in self.branches if branch.parent == parent]

    def count(self, fate: Fate) -> int:
        """How many pieces have this fate."""
        return sum(branch.fate == fate for branch in self.branches)


class SearchRanking(Ranking):
    """A `Ranking` of the chains that a search completed, and the tree of everything that it tried.

    Args:
        tree: The tree. Dropped chains are only here.
    """

    tree: SearchTree

    def __str__(self) -> str:
        return f"{super().__str__()}\n{costs(self.tree)}"

    def to_html(self, documents: Sequence[str] = ()) -> str:
        """One self-contained page with the ranking and the tree; see `Ranking.to_html`."""
        from medprm_scorer.search.page import to_html

        return to_html(self, documents)


def costs(tree: SearchTree) -> str:
    """The cost of a search, in one line."""
    calls = f"{tree.policy_calls} call{'' if tree.policy_calls == 1 else 's'}"
    return (
        f"{tree.method}: {tree.generated_tokens:,} tokens generated in {calls} of the policy, {tree.reward_tokens:,} "
        f"tokens of the reward model; {tree.count('dropped')} of {len(tree.branches)} steps dropped"
    )
