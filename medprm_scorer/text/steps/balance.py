"""Whether the chains of one question were split similarly, so that their rewards can be compared.

Two things make them hard to compare. A chain that was not split at all (`whole`) has one reward for everything, so it
is unknown where it fails. And the more steps a chain has, the more chances of a low reward, so an aggregate like `min`
favours chains with few steps. The threshold: the chains of the released test set have 3 to 9 steps, so the paper's
figures include a factor of three between two chains (`MOST_TIMES`); beyond that a caller should say so.
"""

from collections.abc import Sequence

MOST_TIMES = 3
"""The largest ratio of the numbers of steps of the longest and the shortest chain that needs no caution."""


def split_cautions(counts: Sequence[int], rules: Sequence[str], *, favours_few: bool = True) -> list[str]:
    """What to know about how the chains of one question were split: sentences that contain no text of the chains.

    Args:
        counts: The number of steps of each chain that was scored, each at least 1.
        rules: The rule that split each (`Steps.rule`).
        favours_few: Whether the aggregate favours chains with few steps (`medprm_scorer.aggregate.FAVOURS_FEW_STEPS`);
            if not, unequal numbers of steps are no reason for caution.

    Returns:
        At most two sentences; none if the chains were split similarly, or if there are none.

    Example:
        >>> split_cautions([3, 5, 4], ["marker", "marker", "labels"])
        []
        >>> split_cautions([1, 3], ["whole", "marker"])
        ['1 of 2 chains could not be split into steps: one reward stands for all of it, which favours it.']
        >>> split_cautions([2, 8], ["marker", "marker"])
        ['The chains have 2 to 8 steps: the more steps a chain has, the lower its reward tends to be.']
    """
    whole = sum(rule == "whole" for rule in rules)
    if whole == len(counts):
        return ["No chain could be split into steps: each has one reward for all of it."] if counts else []
    found = []
    if whole:
        each, them = ("it", "it") if whole == 1 else ("each", "them")
        favours = f", which favours {them}" if favours_few else ""
        share = f"{whole} of {len(counts)} chains"
        found.append(f"{share} could not be split into steps: one reward stands for all of {each}{favours}.")
    split = [count for count, rule in zip(counts, rules, strict=True) if rule != "whole"]
    if favours_few and max(split) > MOST_TIMES * min(split):
        range_ = f"{min(split)} to {max(split)} steps"
        found.append(f"The chains have {range_}: the more steps a chain has, the lower its reward tends to be.")
    return found
