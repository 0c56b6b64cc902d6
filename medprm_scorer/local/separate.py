"""Rewards that do not depend on other chains, not even in the last bit: every chain runs in separate passes.

In a packed pass, the size of the matrices, and so the order of summation, depends on everything in it. Here each pass
has the tokens of one prefix or of one chain, so the computation is the same whatever else is scored. The prefix is
still run once for all of its chains.
"""

from collections.abc import Callable, Sequence

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.engine import Rewards
from medprm_scorer.local.kv_cache import KVCache
from medprm_scorer.local.token_tree import TokenTree

_Run = Callable[[TokenTree, Sequence[int], KVCache], dict[int, float]]


def score_separately(run: _Run, prompts: Sequence[EncodedPrompt]) -> Rewards:
    """Score every chain of every prompt, chain by chain; see `Engine.score`.

    Args:
        run: Runs a tree, as `TransformersEngine.run`.
        prompts: The prompts; a repeated prefix, and a repeated chain after it, are run once.
    """
    rewards: dict[tuple[int, ...], dict[EncodedChain, list[float]]] = {}
    for prompt in prompts:
        rewards.setdefault(prompt.prefix, {}).update({chain: [] for chain in prompt.chains})
    for prefix, chains in rewards.items():
        if not chains:
            continue
        tree = TokenTree([(prefix, [()])])
        cache = KVCache(tree)
        run(tree, [], cache)
        prefix_kv = cache.of_path([0], 0, len(prefix))
        for chain in chains:
            tree = TokenTree([(prefix, [chain.ids])], [[len(prefix)]])
            cache = KVCache(tree)
            cache.put(0, prefix_kv)
            found = run(tree, chain.tags, cache)  # the prefix has no indices: the chain's tokens are counted from 0
            chains[chain] = [found[tag] for tag in chain.tags]
    return [[rewards[prompt.prefix][chain] for chain in prompt.chains] for prompt in prompts]
