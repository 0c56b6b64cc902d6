"""Several prefixes, each followed by the same chains, as one prompt, so that the engine runs shared parts once."""

from collections.abc import Sequence
from itertools import pairwise

from medprm_scorer.encoding import EncodedChain, EncodedPrompt


def joined(prefixes: Sequence[tuple[int, ...]], chains: Sequence[EncodedChain]) -> EncodedPrompt:
    """One prompt that holds every prefix with every chain: its prefix is their common prefix.

    Args:
        prefixes: Token ids, at least one; all begin with the same token.
        chains: At least one.

    Returns:
        A prompt whose chains are those of the first prefix, then those of the second, and so on.

    Example:
        >>> joined([(1, 2, 3), (1, 4)], [EncodedChain((7, 8), (1,))]).chains
        (EncodedChain(4 tokens, 1 steps), EncodedChain(3 tokens, 1 steps))
    """
    shared = min((_alike(prefixes[0], prefix) for prefix in prefixes), default=0)
    return EncodedPrompt(
        prefixes[0][:shared],
        tuple(
            EncodedChain((*prefix[shared:], *chain.ids), tuple(len(prefix) - shared + tag for tag in chain.tags))
            for prefix in prefixes
            for chain in chains
        ),
    )


def unique_tokens(prompt: EncodedPrompt) -> int:
    """Tokens that are run if every shared prefix of the chains of a prompt is run once.

    An engine that shares only long prefixes, or only the prompt's prefix, runs more.

    Example:
        >>> unique_tokens(EncodedPrompt((1,), (EncodedChain((2, 3), (1,)), EncodedChain((2, 4), (1,)))))
        4
    """
    ordered = sorted({chain.ids for chain in prompt.chains})
    own = sum(len(ids) for ids in ordered) - sum(_alike(one, two) for one, two in pairwise(ordered))
    return len(prompt.prefix) + own


def _alike(one: Sequence[int], two: Sequence[int]) -> int:
    """Length of the common prefix of two sequences."""
    return next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
