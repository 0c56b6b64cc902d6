"""The engine that runs a transformers causal language model in this process.

All candidates of one or several questions become one `TokenTree`, in which whatever they begin with alike (documents
and question above all, but also leading steps) stands once. The tree's tokens are run in rows without padding, each
unique token once; a row is a stretch of the tree's order, at most `max_batch_tokens` long, so it may hold several
questions or a part of one. Of the rows before it a row needs the keys and values of the path to its first token only.
`PlainEngine` is the simple twin that tests hold this to.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.engine import Rewards
from medprm_scorer.errors import InputError, ModelError, ScoringError
from medprm_scorer.local.attention import ATTENTIONS, KeysValues, Row, choose_attention
from medprm_scorer.local.forward import LayerAttention, ModelPass
from medprm_scorer.local.kv_cache import KeptRow, KeptValues
from medprm_scorer.local.memory import batch_tokens, is_out_of_memory
from medprm_scorer.local.reference import PlainEngine, fingerprint
from medprm_scorer.local.request_queue import Coalescer
from medprm_scorer.local.reward_head import RewardHead
from medprm_scorer.local.session import EngineSession
from medprm_scorer.local.token_tree import TokenTree

__all__ = ["PlainEngine", "TransformersEngine"]

_SMALLEST_BATCH = 64
_TOGETHER = 4  # passes that calls are gathered for: more would only make the first of them wait
_NOISE = {torch.float32: 1e-3}  # 0.1 in half precision: far above rounding, far below a wrong mask


class TransformersEngine:
    """Scores prompts with a transformers model; see `Engine` for the protocol.

    Safe to call from many threads and tasks: calls that come while others run are run together.

    Args:
        model: A causal language model with full causal attention (Llama and its like), on its device, in its dtype.
        positive_id: Id of the label " +".
        negative_id: Id of the label " -".
        max_batch_tokens: Most tokens in one pass; a longer candidate is run in pieces. None chooses by the device and
            its free memory. When memory runs out the budget is halved, for the engine's lifetime, and the pass is done
            again.
        attention: One of `ATTENTIONS`; None chooses by the device.

    Raises:
        ModelError: The model cannot be used this way.
        InputError: `max_batch_tokens` is not positive, or the attention is unknown.
    """

    def __init__(
        self,
        model: Any,
        positive_id: int,
        negative_id: int,
        max_batch_tokens: int | None = None,
        attention: str | None = None,
    ) -> None:
        if max_batch_tokens is not None and not (isinstance(max_batch_tokens, int) and max_batch_tokens >= 1):
            raise InputError("max_batch_tokens must be a whole number of at least 1")
        if attention is not None and attention not in ATTENTIONS:
            raise InputError(f"unknown attention {attention!r}: choose one of {', '.join(ATTENTIONS)}")
        _check_attention(model.config)
        self._model, self._label_ids = model, (positive_id, negative_id)
        self._pass = ModelPass(model)
        self._head = RewardHead(model, positive_id, negative_id)
        self._device = self._head.device
        self._dtype: torch.dtype = model.dtype
        self.dtype = str(self._dtype).removeprefix("torch.")
        self.attention = attention or choose_attention(self._device)
        self.max_batch_tokens = max_batch_tokens or batch_tokens(model.config, self._device, self._dtype)
        self.max_tokens = int(model.config.max_position_embeddings)
        quantized = ", quantized weights" if getattr(model, "hf_quantizer", None) is not None else ""
        self.name = f"transformers ({self._device.type}, {self.dtype}{quantized})"
        self.fingerprint = fingerprint(model)
        self._calls = Coalescer[EncodedPrompt, list[list[float]]](
            self._score, self._pass.lock, size=_tokens, most=lambda: _TOGETHER * self.max_batch_tokens
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def check_against_plain(self, prompt: EncodedPrompt) -> None:
        """Hold the packed way to the plain way on one prompt, so that no unsuited model gives out rewards.

        A model whose last layer cannot be run at tags only is run whole; one that cannot be run with the attention
        chosen for its device, with the plain attention.

        Raises:
            ModelError: The rewards differ by more than the dtype's noise, or the model cannot be run like this.
        """
        (twin,) = PlainEngine(self._model, *self._label_ids).score([prompt])
        given = (self.attention, self._pass.narrow)
        problem = ""
        for self.attention, self._pass.narrow in dict.fromkeys([given, (given[0], False), ("mask", False)]):
            try:
                (ours,) = self.score([prompt])
            except (AttributeError, TypeError, ValueError, IndexError, NotImplementedError, RuntimeError) as error:
                problem = problem or f"this kind of model cannot share a prefix among candidates ({error})"
                continue
            gap = max(abs(a - b) for one, two in zip(ours, twin, strict=True) for a, b in zip(one, two, strict=True))
            if not gap > _NOISE.get(self._dtype, 0.1):  # NaN is told of when it is to be a reward
                return
            problem = problem or f"this kind of model gives other rewards when candidates share a prefix (by {gap:.3f})"
        self.attention, self._pass.narrow = given
        raise ModelError(problem)

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score every chain of every prompt; see `Engine.score`."""
        return self._calls.call(prompts)

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """As `score`, with the event loop left free."""
        return await self._calls.acall(prompts)

    def open_session(self, prefix: Sequence[int]) -> EngineSession:
        """Score growing chains behind one prefix; see `EngineSession`."""
        return EngineSession(self.run, self._pass.lock, tuple(prefix))

    def _score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score prompts; the lock is held."""
        chains: dict[tuple[int, ...], dict[EncodedChain, None]] = {}  # identical candidates are run once
        for prompt in prompts:
            chains.setdefault(prompt.prefix, {}).update(dict.fromkeys(prompt.chains))
        rewards: dict[tuple[int, ...], dict[EncodedChain, list[float]]] = {}
        group: list[tuple[int, ...]] = []
        size = 0
        for prefix, distinct in chains.items():
            group.append(prefix)
            size += len(prefix) + sum(len(chain.ids) for chain in distinct)
            if size >= _TOGETHER * self.max_batch_tokens:
                rewards |= self._score_tree({prefix: list(chains[prefix]) for prefix in group})
                group, size = [], 0
        rewards |= self._score_tree({prefix: list(chains[prefix]) for prefix in group})
        return [[rewards[prompt.prefix][chain] for chain in prompt.chains] for prompt in prompts]

    def _score_tree(
        self, chains: dict[tuple[int, ...], list[EncodedChain]]
    ) -> dict[tuple[int, ...], dict[EncodedChain, list[float]]]:
        given = [(prefix, distinct) for prefix, distinct in chains.items() if distinct]
        tree = TokenTree([(prefix, [chain.ids for chain in distinct]) for prefix, distinct in given])
        places = [
            [
                [tree.number(group, sequence, len(prefix) + tag) for tag in chain.tags]
                for sequence, chain in enumerate(distinct)
            ]
            for group, (prefix, distinct) in enumerate(given)
        ]
        found = self.run(tree, sorted({n for one in places for two in one for n in two if n is not None}))
        rewards = {
            prefix: {
                chain: [found[number] for number in numbers if number is not None]
                for chain, numbers in zip(distinct, places[group], strict=True)
            }
            for group, (prefix, distinct) in enumerate(given)
        }
        return {prefix: rewards.get(prefix, {}) for prefix in chains}

    def run(self, tree: TokenTree, tags: Sequence[int], kept: KeptValues | None = None) -> dict[int, float]:
        """Run a tree's tokens; the lock is held.

        Args:
            tree: The tree.
            tags: Numbers of the tokens whose rewards are wanted, ascending.
            kept: Keys and values of the tree's known tokens; takes those of all others. None if none are known, and
                none wanted afterwards.

        Returns:
            Rewards by number.

        Raises:
            ScoringError: The device is too small.
        """
        values = kept or KeptValues(tree, only_needed=True)
        rewards: dict[int, float] = {}
        given = self.max_batch_tokens
        done = 0
        with torch.inference_mode():
            while done < tree.size:
                passes = -(-(tree.size - done) // self.max_batch_tokens)
                stop = done - (-(tree.size - done) // passes)
                wanted = [tag for tag in tags if done <= tag < stop]
                try:
                    found, row = self._run_row(tree, done, stop, wanted, values)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    self._halve(given)
                    continue
                values.add(row, stop)
                rewards.update(zip(wanted, found, strict=True))
                done = stop
        return rewards

    def _run_row(
        self, tree: TokenTree, begin: int, stop: int, tags: Sequence[int], values: KeptValues
    ) -> tuple[list[float], KeptRow]:
        """Rewards at the tags of one row, and the keys and values that are needed later."""
        pieces = tree.row(begin, stop)
        row = Row(pieces, stop - begin, self._device)
        before = values.before(pieces)
        keeper = values.keeper(pieces, stop)
        attend = ATTENTIONS[self.attention]

        def attention(layer: int, queries: Tensor, own: KeysValues, asking: Tensor | None, scale: float) -> Tensor:
            keeper.take(layer, own)
            return attend(queries, own, [parts[layer] for parts in before], row, asking, scale)

        places = [tag - begin for tag in tags]
        hidden = self._run(tree.ids[begin:stop], tree.depths[begin:stop], places, attention)
        return self._head(hidden.to(self._device)).tolist(), keeper

    def _run(self, ids: Sequence[int], positions: Sequence[int], tags: Sequence[int], attend: LayerAttention) -> Tensor:
        return self._pass.run(ids, positions, tags, attend, self._device)

    def _halve(self, given: int) -> None:
        """Halve the budget after memory ran out.

        Raises:
            ScoringError: It is as small as it can be; the budget is then the given one again.
        """
        if self.max_batch_tokens <= _SMALLEST_BATCH:
            smallest, self.max_batch_tokens = self.max_batch_tokens, given
            raise ScoringError(
                f"the {self._device.type} device ran out of memory even with {smallest} tokens a "
                "pass: use shorter documents, a smaller dtype or a larger device"
            ) from None
        self.max_batch_tokens //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _tokens(prompt: EncodedPrompt) -> int:
    return len(prompt.prefix) + sum(len(chain.ids) for chain in prompt.chains)


def _check_attention(config: Any) -> None:
    """Refuse models whose attention or positions depend on more than what a token may see and where it stands."""
    kinds: Sequence[str] = getattr(config, "layer_types", None) or ()
    if getattr(config, "sliding_window", None) or any(kind != "full_attention" for kind in kinds):
        raise ModelError("the model does not use full attention in every layer, which the shared prefix needs")
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3", "yarn"):
        raise ModelError(f"the model's positions ({rope['rope_type']}) change with the length of the text")
