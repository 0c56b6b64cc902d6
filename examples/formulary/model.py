"""The demo reward model's shape, and initial weights that already copy.

Copying (induction) has to form before anything can be checked against a document, and from a random start it forms
late: nine million tokens were not enough. So a few attention heads are written by hand before training. The residual
stream is divided: one constant, the token's identity, the identities of the tokens one and two places back (layer 0
writes them), and room for the rest. Layer 1 looks for earlier places with the same two tokens before them, and copies
what stood there; layer 2 carries that prediction to the next place, where it meets the token that really came.
Training changes all of it.
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE = 256, 4, 4, 2, 64, 640
ROPE_THETA = 10_000_000.0
_CONSTANT = 0
_TOKEN, _BACK_1, _BACK_2, _REST = (slice(1, 65), slice(65, 129), slice(129, 193), slice(193, 256))
_SLOW = [*range(12, 32), *range(44, 64)]  # rotary pairs that hardly turn over a prompt: room to compare contents
_FAST = range(8)  # rotary pairs that tell neighbouring places apart
_SHARPNESS = 1.5


def build_model(vocabulary: int, seed: int, pad_id: int) -> LlamaForCausalLM:
    """Make the model with its initial weights.

    Args:
        vocabulary: Number of tokens, the step tag included.
        seed: Seed of the initial weights.
        pad_id: Id of the padding token.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=3,
        pad_token_id=pad_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        _write_copying_heads(model)
    return model


def _write_copying_heads(model: LlamaForCausalLM) -> None:
    table = model.model.embed_tokens.weight
    table[:, _CONSTANT] = 1.0
    # of equal length, since a token's constant is normalized with it, and looking back needs the same of every token
    table[:, _TOKEN] = 4.0 * torch.nn.functional.normalize(torch.randn(table.shape[0], 64), dim=-1)
    first, second, third, _ = (layer.self_attn for layer in model.model.layers)

    _look_back(first, head=0, places=1)
    _look_back(first, head=1, places=2)
    _copy(first, group=0, head=0, source=_TOKEN, target=_BACK_1)
    _copy(first, group=0, head=1, source=_TOKEN, target=_BACK_2)

    # "Zorvine at 5": group 0 knows a place by the two tokens before it, group 1 by the one token before it
    by_two = {_BACK_2.start: (_BACK_1, _BACK_2), _BACK_1.start: (_TOKEN, _BACK_1)}
    by_one = {_BACK_1.start: (_TOKEN, _BACK_1)}
    for group, parts in ((0, by_two), (1, by_one)):
        for start, (next_, now) in parts.items():
            sketch = torch.linalg.qr(torch.randn(64, len(_SLOW))).Q.T
            _compare(second.k_proj.weight, group, slice(start, start + 64), sketch)
            _compare(second.q_proj.weight, 2 * group, next_, sketch)  # what came next, where these stood before?
            _compare(second.q_proj.weight, 2 * group + 1, now, sketch)  # what stood there in my place?
        for head in (2 * group, 2 * group + 1):
            mix = torch.linalg.qr(torch.randn(63, 63)).Q
            _copy(second, group=group, head=head, source=_TOKEN, target=_REST, mix=mix)

    _look_back(third, head=0, places=1, strength=7.0)  # the constant is smaller here, after what has been added
    _copy(third, group=0, head=0, source=_REST, target=_BACK_2)


def _look_back(attention: torch.nn.Module, head: int, places: int, strength: float = 3.0) -> None:
    """Make a head attend to the token `places` back, by rotary phase alone."""
    group = head // (HEADS // KV_HEADS)
    for pair in _FAST:
        turn = torch.tensor(-places * ROPE_THETA ** (-pair / 32))
        attention.k_proj.weight[group * 64 + pair, _CONSTANT] = strength
        attention.q_proj.weight[head * 64 + pair, _CONSTANT] = strength * turn.cos()
        attention.q_proj.weight[head * 64 + pair + 32, _CONSTANT] = strength * turn.sin()


def _copy(
    attention: torch.nn.Module, group: int, head: int, source: slice, target: slice, mix: torch.Tensor | None = None
) -> None:
    """Make a head write what stands in `source` where it looks to `target`."""
    width = min(source.stop - source.start, target.stop - target.start)
    for row in range(width):
        attention.v_proj.weight[group * 64 + row, source.start + row] = 1.0
    map_ = 0.3 * (torch.eye(width) if mix is None else mix)
    attention.o_proj.weight[target.start : target.start + width, head * 64 : head * 64 + width] += map_


def _compare(weight: torch.Tensor, head: int, part: slice, sketch: torch.Tensor) -> None:
    """Make a head's queries or keys hold a sketch of one part of the residual stream, in the slow rotary pairs."""
    rows = torch.tensor([head * 64 + place for place in _SLOW])
    weight[rows, part] = weight[rows, part] + _SHARPNESS * sketch
