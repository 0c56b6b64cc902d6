"""The demo reward model's shape, and initial weights that already copy and compare.

Copying (induction) has to form before anything can be checked against a document, and from a random start it forms
late: nine million tokens were not enough. So a few heads and one feed-forward layer are partly written by hand before
training. The residual stream is divided: one constant, the token's identity, the identities of the tokens one and two
places back (layer 0 writes them), what came next where the same tokens stood before and what stood there in this
token's own place (layer 1), and how far the latter is from the token itself (layer 1's feed-forward). Training
changes all of it.
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE = 256, 4, 4, 2, 64, 640
ROPE_THETA = 10_000_000.0
_CONSTANT, _WIDTH = 0, 48
_TOKEN, _BACK_1, _BACK_2, _NEXT, _HERE = (slice(1 + _WIDTH * part, 1 + _WIDTH * (part + 1)) for part in range(5))
_MISMATCH = _HERE.stop
_LENGTH = 4.0  # of every identity, in each part
_SLOW = [*range(12, 32), *range(44, 64)]  # rotary pairs that hardly turn over a prompt: room to compare contents
_FAST = range(8)  # rotary pairs that tell neighbouring places apart
_SHARPNESS = 1.6


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
        _write_by_hand(model)
    return model


def _write_by_hand(model: LlamaForCausalLM) -> None:
    table = model.model.embed_tokens.weight
    # of equal length, since a token's constant is normalized with it, and looking back needs the same of every token
    identity = _LENGTH * torch.nn.functional.normalize(torch.randn(table.shape[0], _WIDTH), dim=-1)
    table[:, _CONSTANT] = 1.0
    table[:, _TOKEN] = identity
    model.lm_head.weight[:, _NEXT] += 0.35 * identity
    first, second = model.model.layers[:2]
    for attention, heads in ((first.self_attn, 2), (second.self_attn, 3)):  # no random numbers where we write
        for weight in (attention.q_proj.weight, attention.o_proj.weight.T):
            weight[: heads * HEAD_DIM] = 0.0
        for weight in (attention.k_proj.weight, attention.v_proj.weight):
            weight[: (heads + 1) // 2 * HEAD_DIM] = 0.0

    for head, target in ((0, _BACK_1), (1, _BACK_2)):
        _look_back(first.self_attn, head, places=head + 1)
        _copy(first.self_attn, head, target, parts_before=1)

    # "Zorvine at 5": heads 0 and 1 know a place by the two tokens before it, head 2 by the one token before it
    by_two, by_one = ((_BACK_2, _BACK_1, _BACK_2), (_BACK_1, _TOKEN, _BACK_1)), ((_BACK_1, _TOKEN, _BACK_1),)
    for group, parts in ((0, by_two), (1, by_one)):
        for key, before, now in parts:
            sketch = _SHARPNESS * torch.linalg.qr(torch.randn(_WIDTH, len(_SLOW))).Q.T
            _compare(second.self_attn.k_proj.weight, group, key, sketch)
            _compare(second.self_attn.q_proj.weight, 2 * group, before, sketch)  # what came next there?
            if group == 0:
                _compare(second.self_attn.q_proj.weight, 1, now, sketch)  # what stood there in my place?
    for head, target in ((0, _NEXT), (1, _HERE), (2, _NEXT)):
        _copy(second.self_attn, head, target, parts_before=3)
    _measure_mismatch(second.mlp)


def _look_back(attention: torch.nn.Module, head: int, places: int) -> None:
    """Make a head attend to the token `places` back, by rotary phase alone."""
    group = head // (HEADS // KV_HEADS)
    for pair in _FAST:
        turn = torch.tensor(-places * ROPE_THETA ** (-2 * pair / HEAD_DIM))
        attention.k_proj.weight[group * HEAD_DIM + pair, _CONSTANT] = 3.0
        attention.q_proj.weight[head * HEAD_DIM + pair, _CONSTANT] = 3.0 * turn.cos()
        attention.q_proj.weight[head * HEAD_DIM + pair + HEAD_DIM // 2, _CONSTANT] = 3.0 * turn.sin()


def _copy(attention: torch.nn.Module, head: int, target: slice, parts_before: int) -> None:
    """Make a head write the identity of the token that it looks to; `parts_before` parts are filled when it reads."""
    group = head // (HEADS // KV_HEADS)
    norm = ((1 + parts_before * _LENGTH**2) / HIDDEN) ** 0.5  # what the layer's input is divided by
    for place in range(_WIDTH):
        attention.v_proj.weight[group * HEAD_DIM + place, _TOKEN.start + place] = 1.0
        attention.o_proj.weight[target.start + place, head * HEAD_DIM + place] += norm


def _compare(weight: torch.Tensor, head: int, part: slice, sketch: torch.Tensor) -> None:
    """Make a head's queries or keys hold a sketch of one part of the residual stream, in the slow rotary pairs."""
    rows = torch.tensor([head * HEAD_DIM + place for place in _SLOW])
    weight[rows, part] = weight[rows, part] + sketch


def _measure_mismatch(mlp: torch.nn.Module) -> None:
    """Write the squared distance of token and `here`: silu(d) d + silu(-d) (-d) = d² for each of their places d."""
    for place in range(_WIDTH):
        for unit, sign in ((2 * place, 1.0), (2 * place + 1, -1.0)):
            for weight in (mlp.gate_proj.weight, mlp.up_proj.weight):
                weight[unit] = 0.0
                weight[unit, _TOKEN.start + place] = sign
                weight[unit, _HERE.start + place] = -sign
            mlp.down_proj.weight[_MISMATCH, unit] = 0.1
