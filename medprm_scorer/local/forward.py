"""One forward pass of a transformers decoder over one row of tokens, with our own attention.

The decoder's modules are copied, with weights and hooks shared, and the copy takes its attention from our entry in
transformers' table of attention functions. The model itself is never changed: code that uses it at the same time, in
any thread and with any attention, gets its usual numbers, and an interrupt leaves no changes behind.

The last layer needs keys and values for all tokens, but queries and the rest only where a reward is read. If possible,
it runs like this:

1. The layer runs on all tokens until it asks for attention. Our attention function takes the keys and values, and ends
   this run with the exception `_Collected`.
2. Everything that has one entry per token (hidden states, positions, rotations) is reduced to the tokens at tags.
3. The layer runs once more, on these. Our attention function uses the new queries and the keys and values of step 1.
"""

import copy
import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig

from medprm_scorer.errors import ModelError
from medprm_scorer.local.row import KeysValues

_NAME = "medprm_tree"  # the name of our attention in transformers' table
_PASS = "medprm_pass"  # the keyword argument that a decoder passes to its attention function

LayerAttention = Callable[[int, Tensor, KeysValues, Tensor | None, float], Tensor]
"""Attention of one layer.

Args:
    layer: Number of the layer, in the order in which they run.
    queries: Shape (heads, queries, head_dim).
    row_kv: Keys and values of the row, each of shape (kv_heads, tokens, head_dim).
    query_positions: Indices in the row of the query tokens, shape (queries,); None for all tokens.
    scale: Factor of the scores.

Returns:
    Shape (queries, heads, head_dim).
"""


class ForwardPass:
    """Runs rows of tokens through a model's decoder, one at a time.

    Args:
        model: A transformers causal language model.

    Raises:
        ModelError: Its attention cannot be replaced.

    Attributes:
        last_layer_at_tags_only: Whether the last layer runs at tags only; set if the decoder has a list of layers.
    """

    def __init__(self, model: Any) -> None:
        try:
            self._decoder = _copy_modules(model.get_decoder()).eval()
            self._decoder.set_attn_implementation(_NAME)
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(f"the attention of this kind of model cannot be replaced ({error})") from error
        layers = getattr(self._decoder, "layers", None)
        layers = list(layers) if isinstance(layers, nn.ModuleList) else []
        self.last_layer_at_tags_only = bool(layers) and all(layer is not layers[-1] for layer in layers[:-1])
        if self.last_layer_at_tags_only:
            layers[-1].forward = functools.partial(_last_layer, layers[-1].forward)
        self._kinds = _kinds(self._decoder)

    def check_weights(self) -> None:
        """Refuse a model that was moved or cast after it was wrapped: `.to()` changes the shared weights.

        Raises:
            ModelError: Its weights are on another device, or in another dtype.
        """
        if _kinds(self._decoder) != self._kinds:
            raise ModelError(
                "the model was moved to another device or dtype after it was wrapped: wrap it again with "
                "MedPRM.from_model"
            )

    def run(self, ids: Tensor, positions: Tensor, tags: Tensor, attend: LayerAttention) -> Tensor:
        """Run one row.

        Args:
            ids: Token ids, int64 of shape (tokens,), on the device of the embeddings.
            positions: Their positions, likewise.
            tags: Indices in the row of the tokens whose hidden states are needed, ascending, int64 of shape (tags,).
            attend: The attention.

        Returns:
            Final hidden states at the tags, shape (tags, hidden_size).

        Raises:
            ModelError: The model does not take its attention from transformers' table, or its attention has a setting
                that is not supported.
        """
        wanted = tags if len(tags) else torch.zeros_like(ids[:1])  # layers need at least one token
        state = _PassState(attend, wanted, self.last_layer_at_tags_only)
        output = self._decoder(
            input_ids=ids[None],  # (1, tokens)
            position_ids=positions[None],  # (1, tokens)
            use_cache=False,
            **{_PASS: state},
        )
        if state.layers == 0:
            raise ModelError("this kind of model does not take its attention from transformers' table of functions")
        hidden: Tensor = output.last_hidden_state[0]  # (tokens or tags, hidden_size)
        if not state.at_tags_only:
            hidden = hidden.index_select(0, wanted.to(hidden.device))  # (tags, hidden_size)
        return hidden[: len(tags)]  # (tags, hidden_size)


class _PassState:
    """The state of one forward pass.

    Args:
        attend: The attention.
        tags: Indices in the row of the tokens whose hidden states are needed, shape (tags,).
        at_tags_only: Whether the last layer runs at tags only.
    """

    def __init__(self, attend: LayerAttention, tags: Tensor, at_tags_only: bool) -> None:
        self._attend, self.tags, self.at_tags_only = attend, tags, at_tags_only
        self.layers = 0
        """How many layers have run their attention. Counted here, since models may give two layers the same number."""
        self.collecting = False
        self._collected: KeysValues | None = None

    def attention(self, queries: Tensor, row_kv: KeysValues, scale: float) -> Tensor:
        """Attention of the next layer; raises `_Collected` in the last layer's first run."""
        if self.collecting:
            self._collected = row_kv
            raise _Collected
        layer, self.layers = self.layers, self.layers + 1
        if self._collected is None:
            return self._attend(layer, queries, row_kv, None, scale)
        return self._attend(layer, queries, self._collected, self.tags.to(queries.device), scale)

    def cut(self, value: Any, tokens: int) -> Any:
        """The part at tags of a tensor with one entry per token, shape (1, tokens, ...); anything else unchanged."""
        if isinstance(value, tuple):
            return tuple(self.cut(one, tokens) for one in value)
        if isinstance(value, Tensor) and value.dim() >= 2 and value.shape[1] == tokens:
            return value.index_select(1, self.tags.to(value.device))  # (1, tags, ...)
        return value


class _Collected(Exception):
    """Ends the last layer's first run, after its keys and values were taken."""


def _last_layer(forward: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """The last layer's `forward`, in the three steps of the module's docstring."""
    state: _PassState = named[_PASS]
    if not state.at_tags_only:
        return forward(*given, **named)
    hidden = given[0] if given else named["hidden_states"]  # (1, tokens, hidden_size)
    tokens = hidden.shape[1]
    state.collecting = True
    try:
        forward(*given, **named)
    except _Collected:
        state.collecting = False
    return forward(
        *(state.cut(value, tokens) for value in given),
        **{name: state.cut(value, tokens) for name, value in named.items()},
    )


def _kinds(decoder: Any) -> set[tuple[torch.device, torch.dtype]]:
    return {(weight.device, weight.dtype) for weight in decoder.parameters()}


def _copy_modules(decoder: Any) -> Any:
    """Copies of the modules with their own configurations; weights, buffers, hooks and everything else are shared."""
    copied = (PretrainedConfig, nn.Module, types.MethodType, functools.partial)  # the last two may contain a module
    shared = {
        id(value): value
        for module in decoder.modules()
        for name, value in vars(module).items()
        if name != "_modules" and not isinstance(value, copied)
    }
    return copy.deepcopy(decoder, shared)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """The attention function in transformers' table.

    Args:
        module: The attention module.
        query: Shape (1, heads, queries, head_dim).
        key: Shape (1, kv_heads, tokens, head_dim).
        value: As `key`.
        attention_mask: None: our attention knows from the row what each token sees.
        scaling: Factor of the scores; None for the usual one.
        named: The state of the pass, and the model's settings.

    Returns:
        Shape (1, queries, heads, head_dim), and None for the weights.
    """
    del module, attention_mask
    state: _PassState | None = named.get(_PASS)
    if state is None:
        raise ModelError("this kind of model does not pass arguments on to its attention")
    for setting in ("sliding_window", "softcap", "s_aux", "position_bias"):
        if named.get(setting) is not None:
            raise ModelError(f"the model's attention has a {setting}, which is not supported")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return state.attention(query[0], (key[0], value[0]), scale)[None], None


# no entry in the table of masks: transformers then makes none, and does not read positions (which would wait for a GPU)
AttentionInterface.register(_NAME, _attention)
