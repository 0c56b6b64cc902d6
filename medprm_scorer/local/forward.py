"""One pass of a transformers decoder over one row of tokens, with attention of our own.

The attention is put in where transformers offers it, in its table of attention functions, and only while a pass runs;
another thread that uses the same model meanwhile gets transformers' own. The last layer needs keys and values
everywhere, but queries and the rest only where a reward is read: a hook lets it run once as far as its attention, which
takes the keys and values and stops it, and then once more on the tokens at tags alone.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from medprm_scorer.errors import ModelError
from medprm_scorer.local.attention import KeysValues

_NAME = "medprm_tree"
_OTHERS = "sdpa"  # what other threads get on the same model while a pass runs

LayerAttention = Callable[[int, Tensor, KeysValues, Tensor | None, float], Tensor]
"""Attention of one layer.

Args:
    Number of the layer.
    Queries, shape (heads, asking, head size).
    Keys and values of the row.
    Places in the row of the tokens that ask; None if all do.
    Factor of the scores.

Returns:
    Shape (asking, heads, head size).
"""


class ModelPass:
    """Runs rows of tokens through a model's decoder. One pass at a time: see `lock`.

    Args:
        model: A transformers causal language model.
        narrow: Whether the last layer runs at tags only, where the model's decoder has a list of layers.
    """

    def __init__(self, model: Any, narrow: bool = True) -> None:
        self._model, self._decoder = model, model.get_decoder()
        layers = getattr(self._decoder, "layers", None)
        self.narrow = narrow and isinstance(layers, nn.ModuleList)
        self._last = layers[-1] if isinstance(layers, nn.ModuleList) else None
        self.lock = _lock_of(model)
        """Held while the model is used; shared by all that use this model."""

    def run(
        self, ids: Sequence[int], positions: Sequence[int], tags: Sequence[int], attend: LayerAttention, device: Any
    ) -> Tensor:
        """Run one row.

        Args:
            ids: Token ids.
            positions: Their positions.
            tags: Places in the row where hidden states are wanted, ascending.
            attend: The attention.
            device: Where the ids are wanted.

        Returns:
            Final hidden states at the tags, shape (tags, hidden size).
        """
        wanted = torch.tensor(tags or [0], device=device)  # layers want at least one token
        running = _Running(attend, wanted)
        hook = None
        if self.narrow and self._last is not None:
            hook = self._last.register_forward_pre_hook(running.narrow, with_kwargs=True)
        config = self._decoder.config
        before = config._attn_implementation
        _here.running = running
        try:
            config._attn_implementation = _NAME
            output = self._decoder(
                input_ids=torch.tensor([ids], device=device),
                position_ids=torch.tensor([positions], device=device),
                use_cache=False,
            )
        finally:
            config._attn_implementation = before
            _here.running = None
            if hook is not None:
                hook.remove()
        hidden: Tensor = output.last_hidden_state[0]
        if hook is None:
            hidden = hidden[wanted.to(hidden.device)]
        return hidden[: len(tags)]


class _Running:
    """What the pass of this thread is doing."""

    def __init__(self, attend: LayerAttention, wanted: Tensor) -> None:
        self._attend, self._wanted = attend, wanted
        self._collecting = self._narrowed = False
        self._collected: KeysValues | None = None

    def attention(self, layer: int, queries: Tensor, own: KeysValues, scale: float) -> Tensor:
        if self._collecting:
            self._collected = own
            raise _Collected
        asking = None
        if self._narrowed and self._collected is not None:
            own, asking = self._collected, self._wanted.to(queries.device)
        return self._attend(layer, queries, own, asking, scale)

    def narrow(self, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A forward hook of the last layer, before it: take keys and values, then go on with the tokens at tags."""
        if getattr(_here, "running", None) is not self:
            return None  # another thread's call
        hidden = given[0] if given else named["hidden_states"]
        self._collecting = True
        try:
            layer.forward(*given, **named)
        except _Collected:
            pass
        finally:
            self._collecting = False
        self._narrowed = True
        tokens = hidden.shape[1]
        return tuple(self._taken(one, tokens) for one in given), {
            name: self._taken(one, tokens) for name, one in named.items()
        }

    def _taken(self, value: Any, tokens: int) -> Any:
        """Of anything that goes by token (hidden states, positions, rotations), the part at tags."""
        if isinstance(value, tuple):
            return tuple(self._taken(one, tokens) for one in value)
        if isinstance(value, Tensor) and value.dim() >= 2 and value.shape[1] == tokens:
            return value.index_select(1, self._wanted.to(value.device))
        return value


class _Collected(Exception):
    """Ends the last layer's first run: its keys and values are taken."""


_here = threading.local()
_locks: "WeakKeyDictionary[Any, threading.Lock]" = WeakKeyDictionary()
_locks_lock = threading.Lock()


def _lock_of(model: Any) -> threading.Lock:
    with _locks_lock:
        return _locks.setdefault(model, threading.Lock())


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **named: Any,
) -> tuple[Tensor, Tensor | None]:
    """The function in transformers' table; queries, keys and values have shape (1, heads, tokens, head size)."""
    running: _Running | None = getattr(_here, "running", None)
    if running is None:
        others = AttentionInterface()[_OTHERS]
        return others(module, query, key, value, attention_mask, scaling=scaling, **named)  # type: ignore[no-any-return]
    for setting in ("sliding_window", "softcap", "s_aux", "position_bias"):
        if named.get(setting) is not None:
            raise ModelError(f"the model's attention has a {setting}, which is not supported")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    answer = running.attention(module.layer_idx, query[0], (key[0], value[0]), scale)
    return answer[None], None


def _mask(*given: Any, **named: Any) -> Any:
    """No mask for a pass of ours; for other threads that of transformers."""
    if getattr(_here, "running", None) is not None:
        return None
    return AttentionMaskInterface()[_OTHERS](*given, **named)


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, _mask)
