"""The baselines that `medprm bench` compares this package with, and the best that the hardware can do."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.local.reward_head import RewardHead

PADDED_ROWS = 4
"""Candidates in one padded batch: more are no faster on a CPU, and take more memory."""


def card(model: Any, labels: tuple[int, int], prefix: Sequence[int], chain: EncodedChain) -> list[float]:
    """The model card's quick start for one candidate: the whole text, and all logits at every token."""
    ids = torch.tensor([[*prefix, *chain.ids]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0]
    at_tags = logits[[len(prefix) + tag for tag in chain.tags]][:, list(labels)]
    rewards: list[float] = at_tags.float().softmax(-1)[:, 0].tolist()
    return rewards


def padded(model: Any, head: RewardHead, prefix: Sequence[int], chains: Sequence[EncodedChain]) -> list[list[float]]:
    """A padded batch of whole prompts, with the two-row reward head; no prefix is shared.

    The padding is on the right, where causal attention never sees it: without a mask, attention takes its fastest path.
    """
    longest = len(prefix) + max(len(chain.ids) for chain in chains)
    ids = torch.zeros(len(chains), longest, dtype=torch.long)
    for place, chain in enumerate(chains):
        whole = torch.tensor([*prefix, *chain.ids])
        ids[place, : len(whole)] = whole
    with torch.inference_mode():
        output = model.get_decoder()(input_ids=ids.to(model.device), use_cache=False)
        hidden = output.last_hidden_state
        return [
            head(hidden[place, [len(prefix) + tag for tag in chain.tags]]).tolist()
            for place, chain in enumerate(chains)
        ]


def matrices(model: Any) -> list[nn.Linear]:
    """The linear layers of one decoder layer."""
    layer = model.get_decoder().layers[0]
    return [module for module in layer.modules() if isinstance(module, nn.Linear)]


def matrix_rate(model: Any, tokens: int, clock: Callable[[], float], repeat: int = 3) -> float:
    """FLOP per second of the model's own matrix shapes, one product after the other, each the best of several runs.

    Args:
        model: The model.
        tokens: Rows of the left matrix: the tokens of a pass.
        clock: Returns seconds; the same clock as for everything else.
        repeat: How often each is timed.
    """
    flops = seconds = 0.0
    with torch.inference_mode():
        for linear in matrices(model):
            rows = torch.randn(tokens, linear.in_features, dtype=linear.weight.dtype, device=linear.weight.device)
            times = []
            for _ in range(repeat + 1):
                synchronize(rows)
                begun = clock()
                nn.functional.linear(rows, linear.weight)
                synchronize(rows)
                times.append(clock() - begun)
            seconds += min(times[1:])
            flops += 2 * tokens * linear.in_features * linear.out_features
    return flops / seconds


def useful_flops(model: Any, prompts: Sequence[EncodedPrompt]) -> float:
    """FLOPs that every method needs: each unique token once, and the last layer's queries and MLP at tags only.

    Leading tokens that candidates share by chance are counted once per candidate.
    """
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layer = sum(linear.in_features * linear.out_features for linear in matrices(model))
    keys_values = 2 * config.hidden_size * config.num_key_value_heads * head
    total = 0.0
    for prompt in prompts:
        start, chains = len(prompt.prefix), set(prompt.chains)
        tokens = start + sum(len(chain.ids) for chain in chains)
        tags = sum(len(chain.tags) for chain in chains)
        seen = start * (start + 1) / 2 + sum(len(c.ids) * start + len(c.ids) * (len(c.ids) + 1) / 2 for c in chains)
        seen_at_tags = sum(start + tag + 1 for chain in chains for tag in chain.tags)
        total += 2 * layer * tokens * (config.num_hidden_layers - 1)
        total += 4 * config.num_attention_heads * head * (seen * (config.num_hidden_layers - 1) + seen_at_tags)
        total += 2 * keys_values * tokens + 2 * (layer - keys_values) * tags
    return total


def synchronize(like: Tensor) -> None:
    """Wait until a GPU has finished its work."""
    if like.is_cuda:
        torch.cuda.synchronize(like.device)


class Watch:
    """Within a `with` block, measures the time inside the model and counts its tokens, by hooks on its decoder."""

    def __init__(self, model: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self._decoder, self._clock = model.get_decoder(), clock
        self.seconds, self.tokens = 0.0, 0
        self._begun = 0.0

    def __enter__(self) -> "Watch":
        self._hooks = [
            self._decoder.register_forward_pre_hook(self._before, with_kwargs=True),
            self._decoder.register_forward_hook(self._after),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _before(self, _module: Any, _given: Any, named: dict[str, Any]) -> None:
        self.tokens += named["input_ids"].numel()
        synchronize(named["input_ids"])
        self._begun = self._clock()

    def _after(self, _module: Any, _given: Any, output: Any) -> None:
        synchronize(output.last_hidden_state)
        self.seconds += self._clock() - self._begun
