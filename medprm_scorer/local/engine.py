"""The engine that runs a transformers causal language model in this process, with a KV cache shared by candidates.

All candidates of one or several questions become one prefix tree (`TokenTree`): whatever they share at the beginning
(above all documents and question, but also leading steps) occurs once. The tree's tokens are run in rows without
padding, each unique token once. A row is a stretch of the tree's order, at most `max_batch_tokens` long, so it may hold
several questions or a part of one. From earlier rows, a row needs only the keys and values of the path to its first
token. `PlainEngine` is the simple reference that tests compare this engine with.
"""

import math
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.engine import PrefixScorer, Rewards, StatelessSession
from medprm_scorer.errors import InputError, ModelError, ScoringError, check_choice
from medprm_scorer.local.attention import ATTENTIONS, choose_attention
from medprm_scorer.local.cpu_speed import fastest_on_cpu
from medprm_scorer.local.forward import ForwardPass, LayerAttention
from medprm_scorer.local.kv_cache import KVCache, RowCollector
from medprm_scorer.local.loading import fingerprint
from medprm_scorer.local.memory import MASK_TOKENS, batch_tokens, is_out_of_memory, most_tokens
from medprm_scorer.local.numerics import fixed_numerics
from medprm_scorer.local.reference import PlainEngine
from medprm_scorer.local.request_queue import DynamicBatcher
from medprm_scorer.local.reward_head import RewardHead
from medprm_scorer.local.row import TILE, KeysValues, Row
from medprm_scorer.local.separate import score_separately
from medprm_scorer.local.session import EngineSession
from medprm_scorer.local.supported import check_supported
from medprm_scorer.local.token_tree import TokenTree, indices_to_run

__all__ = ["PlainEngine", "TransformersEngine"]

_SMALLEST_BATCH = 64
_TOGETHER = 4  # calls are collected for this many passes: more would only delay the first of them
_NOISE = {torch.float32: 1e-3}  # 0.1 in half precision: far above rounding, far below the effect of a wrong mask


class _AttentionFailed(Exception):
    """The attention of a layer has failed, for another reason than lack of memory."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class TransformersEngine:
    """Scores prompts with a transformers model; see `Engine` for the protocol.

    Safe to call from many threads and tasks: calls that arrive while others run are run together. The model is not
    changed, and other code may use it at the same time. Its modules are copied, but weights, buffers and hooks are
    shared: later changes of weights take effect, a replaced module does not.

    Args:
        model: A causal language model with full causal attention (Llama and similar), on its device, in its dtype.
        positive_id: Id of the label " +".
        negative_id: Id of the label " -".
        max_batch_tokens: Most tokens in one pass; a longer candidate is run in pieces. None chooses by the device and
            its free memory. When memory runs out, the budget is halved for the engine's lifetime, and the pass is
            repeated.
        attention: One of `ATTENTIONS`; None chooses by the device, and on a CPU by a short measurement. If it fails,
            the next best one is used, with a warning.
        deterministic: Whether a chain's rewards must be the same to the last bit, whatever else is scored: chains then
            run one by one, and the budget is never halved.

    Raises:
        ModelError: The model is not supported.
        InputError: `max_batch_tokens` is not positive, or the attention is unknown.
    """

    def __init__(
        self,
        model: Any,
        positive_id: int,
        negative_id: int,
        max_batch_tokens: int | None = None,
        attention: str | None = None,
        deterministic: bool = False,
    ) -> None:
        if max_batch_tokens is not None and not (isinstance(max_batch_tokens, int) and max_batch_tokens >= 1):
            raise InputError("max_batch_tokens must be a whole number of at least 1")
        if attention is not None:
            check_choice("attention", attention, ATTENTIONS)
        check_supported(model)
        self._model, self._label_ids = model, (positive_id, negative_id)
        self._forward = ForwardPass(model)
        self._head = RewardHead(model, positive_id, negative_id)
        self._device = self._head.device
        self._dtype: torch.dtype = model.dtype
        self.dtype = str(self._dtype).removeprefix("torch.")
        self.tile = TILE
        self._ways = (attention, "mask") if attention else choose_attention(self._device, self._dtype)
        if self._device.type == "cpu" and attention is None and not deterministic:  # no timing may decide exact bits
            fastest, self.tile = fastest_on_cpu(model.config, self._dtype)
            self._ways = tuple(dict.fromkeys((fastest, *self._ways)))
        self.attention = self._ways[0]
        self.deterministic = deterministic
        budget = most_tokens(self._device) if deterministic else batch_tokens(model.config, self._device, self._dtype)
        self.max_batch_tokens = max_batch_tokens or budget
        self._chosen_budget = max_batch_tokens is None
        self._checked = False
        self.max_tokens = int(model.config.max_position_embeddings)
        quantized = ", quantized weights" if getattr(model, "hf_quantizer", None) is not None else ""
        self.name = f"transformers ({self._device.type}, {self.dtype}{quantized})"
        self._batcher = DynamicBatcher[EncodedPrompt, list[list[float]]](
            self._score_separately if deterministic else self._score,
            size=lambda prompt: prompt.tokens,
            most=lambda: _TOGETHER * self.max_batch_tokens,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @property
    def fingerprint(self) -> str:
        """A hash of the current weights; see `Engine`."""
        return fingerprint(self._model)

    def check_against_plain(self, prompt: EncodedPrompt) -> None:
        """Compare the packed engine with the plain one on one prompt, so that an unsuitable model never gives rewards.

        If a model's last layer cannot be run at tags only, the whole layer is run. If a model cannot be run with the
        attention chosen for its device, the next best one is used, with a warning.

        Args:
            prompt: A prompt with several chains.

        Raises:
            ModelError: The rewards differ by more than the dtype's noise, or the model cannot be run like this.
        """
        (twin,) = PlainEngine(self._model, *self._label_ids).score([prompt])
        given = (self.attention, self._forward.last_layer_at_tags_only)
        problem = ""
        for choice in dict.fromkeys((way, at_tags) for at_tags in (given[1], False) for way in self._ways):
            self.attention, self._forward.last_layer_at_tags_only = choice
            try:
                (ours,) = self.score([prompt])
            except (AttributeError, TypeError, ValueError, IndexError, NotImplementedError, RuntimeError) as error:
                problem = problem or f"this kind of model cannot share a prefix among candidates ({error})"
                continue
            gap = _gap(ours, twin)
            if gap <= _NOISE.get(self._dtype, 0.1):
                if problem and choice[0] != given[0]:
                    self._use(self.attention, given[0], problem)
                self._checked = True
                return
            problem = problem or f"this kind of model gives other rewards when candidates share a prefix (by {gap:.3f})"
        self.attention, self._forward.last_layer_at_tags_only = given
        raise ModelError(problem)

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score every chain of every prompt; see `Engine.score`."""
        return self._batcher.call(prompts)

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """As `score`, without blocking the event loop."""
        return await self._batcher.acall(prompts)

    def open_session(self, prefix: Sequence[int]) -> PrefixScorer:
        """Score growing chains after one prefix; see `EngineSession`. A deterministic engine caches nothing."""
        return StatelessSession(self, tuple(prefix)) if self.deterministic else EngineSession(self, tuple(prefix))

    @property
    def lock(self) -> threading.Lock:
        """The lock that callers of `run` must hold."""
        return self._batcher.lock

    def run(self, tree: TokenTree, tags: Sequence[int], cache: KVCache | None = None) -> dict[int, float]:
        """Run a tree's tokens; the lock is held.

        Args:
            tree: The tree.
            tags: Indices of the tokens whose rewards are wanted, ascending.
            cache: Keys and values of the tree's known tokens; those of all others are added to it. None if none are
                known, and none are needed afterwards.

        Returns:
            Rewards by index.

        Raises:
            ScoringError: The device has too little memory, or the process computes with less than the model's
                precision.
            ModelError: The model was moved or cast.
        """
        cache = cache or KVCache(tree, only_needed=True)
        by_row: list[Tensor] = []
        given = self.max_batch_tokens
        done = 0
        self._forward.check_weights()
        with fixed_numerics(self._device, self._dtype):
            while done < tree.size:
                passes = -(-(tree.size - done) // self.max_batch_tokens)
                end = done - (-(tree.size - done) // passes)
                wanted = [tag for tag in tags if done <= tag < end]
                try:
                    found, row = self._run_row(tree, done, end, wanted, cache)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    self._halve(given)
                    continue
                except _AttentionFailed as failed:
                    self._next_way(failed.error)
                    continue
                cache.add(row, end)
                by_row.append(found)
                done = end
            # the only time that a call waits for the device: its rows run there without a gap
            found_rewards: list[float] = torch.cat(by_row).tolist() if by_row else []
        return dict(zip(tags, found_rewards, strict=True))

    def _score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score prompts; the lock is held."""
        chains: dict[tuple[int, ...], dict[EncodedChain, None]] = {}  # identical candidates are run once
        for prompt in prompts:
            chains.setdefault(prompt.prefix, {}).update(dict.fromkeys(prompt.chains))
        rewards: dict[tuple[int, ...], dict[EncodedChain, list[float]]] = {prefix: {} for prefix in chains}
        group: list[EncodedPrompt] = []
        size = 0
        for distinct in (EncodedPrompt(prefix, tuple(some)) for prefix, some in chains.items() if some):
            group.append(distinct)
            size += distinct.tokens
            if size >= _TOGETHER * self.max_batch_tokens:
                rewards |= self._score_tree(group)
                group, size = [], 0
        rewards |= self._score_tree(group)
        return [[rewards[prompt.prefix][chain] for chain in prompt.chains] for prompt in prompts]

    def _score_separately(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """`_score`, chain by chain; the lock is held."""
        return score_separately(self.run, prompts)

    def _score_tree(self, prompts: Sequence[EncodedPrompt]) -> dict[tuple[int, ...], dict[EncodedChain, list[float]]]:
        """Rewards by prefix and chain; prefixes are unique, and so are the chains of a prefix."""
        tree = TokenTree([(prompt.prefix, [chain.ids for chain in prompt.chains]) for prompt in prompts])
        indices = {
            prompt.prefix: {
                chain: [tree.index(group, sequence, len(prompt.prefix) + tag) for tag in chain.tags]
                for sequence, chain in enumerate(prompt.chains)
            }
            for group, prompt in enumerate(prompts)
        }
        found = self.run(
            tree, indices_to_run(of_tags for by_chain in indices.values() for of_tags in by_chain.values())
        )
        return {
            prefix: {chain: [found[i] for i in of_tags if i is not None] for chain, of_tags in by_chain.items()}
            for prefix, by_chain in indices.items()
        }

    def _run_row(
        self, tree: TokenTree, start: int, end: int, tags: Sequence[int], cache: KVCache
    ) -> tuple[Tensor, RowCollector]:
        """Rewards at the tags of a row, still on the device, and the keys and values that later rows will attend to."""
        pieces = tree.row(start, end)
        inputs = (tree.ids[start:end], tree.positions[start:end], [tag - start for tag in tags])
        row = Row(pieces, end - start, self._device, inputs, self.tile)
        prefix_kv = cache.prefix_kv(pieces)
        collector = cache.collector(pieces, end)
        attend = ATTENTIONS[self.attention]

        def attention(layer: int, queries: Tensor, row_kv: KeysValues, asking: Tensor | None, scale: float) -> Tensor:
            collector.take(layer, row_kv)
            try:
                return attend(queries, row_kv, [layers[layer] for layers in prefix_kv], row, asking, scale)
            except Exception as error:  # a missing compiler or kernel: each raises its own kind
                if isinstance(error, RuntimeError) and is_out_of_memory(error):
                    raise
                raise _AttentionFailed(error) from error

        ids, positions, places = (numbers.long() for numbers in row.given)
        return self._head(self._run(ids, positions, places, attention)), collector  # (tags,)

    def _run(self, ids: Tensor, positions: Tensor, tags: Tensor, attend: LayerAttention) -> Tensor:
        return self._forward.run(ids, positions, tags, attend)

    def _next_way(self, error: Exception) -> None:
        """Switch to the next best attention after one has failed, for example because it cannot be compiled here.

        Raises:
            Exception: The error itself, if there is no other attention.
            ScoringError: Rewards were already returned, and their last bits may not change.
        """
        failed = self.attention
        if failed == self._ways[-1]:
            raise error
        if self.deterministic and self._checked:
            raise ScoringError(
                f"the attention {failed!r} failed on the {self._device.type} device, and deterministic rewards allow "
                "no other one now: load the model again"
            ) from error
        self._use(self._ways[self._ways.index(failed) + 1], failed, str(error))

    def _use(self, way: str, instead_of: str, problem: str) -> None:
        """Switch to another attention, with a warning."""
        self.attention = way
        if way == "mask" and self._chosen_budget:
            self.max_batch_tokens = min(self.max_batch_tokens, MASK_TOKENS)
        reason = (problem.strip().splitlines() or ["no reason given"])[0][:200]
        warnings.warn(
            f"the attention {instead_of!r} cannot be used on this {self._device.type} device ({reason}): {way!r} is "
            "used from now on, with the same rewards but for rounding, and may take longer",
            RuntimeWarning,
            stacklevel=2,
        )

    def _halve(self, given: int) -> None:
        """Halve the budget after memory ran out.

        Raises:
            ScoringError: It cannot be smaller; the budget is then reset to the given one. Or it may not change.
        """
        if self.deterministic:  # a different budget changes the last bits
            raise ScoringError(
                f"the {self._device.type} device ran out of memory with {self.max_batch_tokens} tokens a pass, and "
                "deterministic rewards allow no smaller passes now: set a smaller max_batch_tokens"
            ) from None
        if self.max_batch_tokens <= _SMALLEST_BATCH:
            smallest, self.max_batch_tokens = self.max_batch_tokens, given
            raise ScoringError(
                f"the {self._device.type} device ran out of memory even with {smallest} tokens a "
                "pass: use shorter documents, a smaller dtype or a larger device"
            ) from None
        self.max_batch_tokens //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _gap(ours: Sequence[Sequence[float]], twin: Sequence[Sequence[float]]) -> float:
    """The largest difference. Rewards that are NaN in the plain engine are skipped: each call refuses NaN anyway."""
    pairs = [(a, b) for one, two in zip(ours, twin, strict=True) for a, b in zip(one, two, strict=True)]
    return max(math.inf if math.isnan(a) else abs(a - b) for a, b in [*pairs, (0.0, 0.0)] if not math.isnan(b))
