"""The demo reward model's shape, and initial weights that already copy and compare.

Copying (induction) has to form before anything can be checked against a document, and from a random start it forms
late: nine million tokens were not enough. So a few heads and two feed-forward layers are partly written by hand before
training. The residual stream is divided: one constant, the token's identity, the identities of the tokens one to four
places back (layer 0 writes them), what came next where the same tokens stood before and what stood there in this
token's own place (layer 1), how far the latter is from the token itself, and how far two neighbouring names or numbers
are from each other (feed-forward layers). Training changes all of it.
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP

from examples.formulary.names import COMORBIDITIES, CONDITIONS, DRUGS, YEARS

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE = 256, 4, 4, 2, 64, 640
ROPE_THETA = 10_000_000.0
_CONSTANT, WIDTH = 0, 35
TOKEN, BACK_1, BACK_2, BACK_3, BACK_4, NEXT, _HERE = (
    slice(1 + WIDTH * part, 1 + WIDTH * (part + 1)) for part in range(7)
)
_HERE_DIFFERS, _BACK_2_DIFFERS, _BACK_3_DIFFERS, _IS_NAME, _FOUND = range(_HERE.stop, _HERE.stop + 5)
_LENGTH = 4.0  # of every identity, in each part
_MAGNITUDE = 0.25  # share of a number's squared length that tells how large it is
_SLOW = [*range(12, 32), *range(44, 64)]  # rotary pairs that hardly turn over a prompt: room to compare contents
_FAST = range(8)  # rotary pairs that tell neighbouring places apart
_MIDDLE = range(4, 8)  # those that tell a step from the next
_NEARNESS = 2.8
_AVERSION = 2.0
_SHARPNESS = 2.0
_CONTEXT = 1.4  # sharpness for earlier tokens: it decides only if the adjacent tokens are the same
_NEWER = (6.0, 2.5)  # of keys and queries: how much a newer year is preferred
_SMALL = 0.2  # keeps units that are always on from swamping the others when training moves their outputs


def build_model(tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
    """Make the model with its initial weights.

    Args:
        tokenizer: The demo tokenizer: its numbers get identities that tell how large they are.
        seed: Seed of the initial weights.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
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
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        _write_by_hand(model, _identities(tokenizer))
        names = [f"Ġ{name}" for name in (*DRUGS, *CONDITIONS, *COMORBIDITIES, *range(1000))]
        model.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids(names), _IS_NAME] = 1.0
    return model


def _identities(tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """One vector per token, all of one length: looking back needs the same constant of every token after the norm."""
    identity = torch.nn.functional.normalize(torch.randn(len(tokenizer), WIDTH), dim=-1)
    numbers = range(1000)
    ids = tokenizer.convert_tokens_to_ids([f"Ġ{number}" for number in numbers])
    angle = torch.pi * torch.tensor(numbers) / 1000
    scale = torch.stack([angle.cos(), angle.sin(), (4 * angle).cos(), (4 * angle).sin()], -1) / 2**0.5
    name = torch.nn.functional.normalize(torch.randn(1000, WIDTH - 4), dim=-1)
    identity[ids] = torch.cat([_MAGNITUDE**0.5 * scale, (1 - _MAGNITUDE) ** 0.5 * name], -1)
    years = tokenizer.convert_tokens_to_ids([f"Ġ{year}" for year in YEARS])
    newness = torch.linspace(0.3, 0.75, len(YEARS))
    rest = torch.nn.functional.normalize(identity[years, :-1], dim=-1) * (1 - newness[:, None] ** 2) ** 0.5
    identity[years] = torch.cat([rest, newness[:, None]], -1)
    return _LENGTH * identity


def _write_by_hand(model: LlamaForCausalLM, identity: torch.Tensor) -> None:
    table = model.model.embed_tokens.weight
    table[:, _CONSTANT] = 1.0
    table[:, TOKEN] = identity
    table[:, _IS_NAME] = 0.0
    model.lm_head.weight[:, NEXT] += 0.35 * identity
    first, second = model.model.layers[:2]
    for attention, heads in ((first.self_attn, 4), (second.self_attn, 3)):  # no random numbers where we write
        for weight in (attention.q_proj.weight, attention.o_proj.weight.T):
            weight[: heads * HEAD_DIM] = 0.0
        for weight in (attention.k_proj.weight, attention.v_proj.weight):
            weight[: (heads + 1) // 2 * HEAD_DIM] = 0.0

    for head, target in enumerate((BACK_1, BACK_2, BACK_3, BACK_4)):
        _look_back(first.self_attn, head, places=head + 1)
        _copy(first.self_attn, head, target, parts_before=1)
    _measure_distance(first.mlp, 0, TOKEN, BACK_2, _BACK_2_DIFFERS, gain=0.02)
    _measure_distance(first.mlp, 1, BACK_1, BACK_3, _BACK_3_DIFFERS, gain=0.02)

    # "Zorvine at 5": heads 0 and 1 know a place by the two tokens before it, head 2 by the one token before it
    by_two, by_one = ((BACK_2, BACK_1, BACK_2), (BACK_1, TOKEN, BACK_1)), ((BACK_1, TOKEN, BACK_1),)
    for group, parts in ((0, by_two), (1, by_one)):
        for key, before, now in parts:
            sketch = _SHARPNESS * torch.linalg.qr(torch.randn(len(_SLOW), WIDTH)).Q
            _compare(second.self_attn.k_proj.weight, group, key, sketch)
            _compare(second.self_attn.q_proj.weight, 2 * group, before, sketch)  # what came next there?
            if group == 0:
                _compare(second.self_attn.q_proj.weight, 1, now, sketch)  # what stood there in my place?
    _look_away(second.self_attn, 1)  # a token is always at its own position
    _write_context(model)
    for head, target in ((0, NEXT), (1, _HERE), (2, NEXT)):
        _copy(second.self_attn, head, target, parts_before=5)
    _measure_distance(second.mlp, 0, TOKEN, _HERE, _HERE_DIFFERS, gain=0.06)
    for layer in model.model.layers[2:]:  # where a step tag gathers what was found in its step
        for head in range(2):
            _look_around(layer.self_attn, head)
    _fetch(model.model.layers[2].self_attn, 0, _HERE_DIFFERS, _FOUND)


def _write_context(model: LlamaForCausalLM) -> None:
    """Make the heads that look up the same position weigh earlier tokens, for positions that are otherwise alike.

    Two guidelines may name the same exception, and two labels the same drug. Then the place counts that has the same
    token four before it, and among years there the newest.
    """
    attention = model.model.layers[1].self_attn
    sketch = _CONTEXT * torch.linalg.qr(torch.randn(len(_SLOW), WIDTH)).Q
    key, query = attention.k_proj.weight, attention.q_proj.weight
    _compare(key, 0, BACK_4, sketch)
    _compare(query, 0, BACK_3, sketch)
    _compare(query, 1, BACK_4, sketch)
    key[_SLOW[1], BACK_4.stop - 1] += _NEWER[0]
    for head in (0, 1):
        query[head * HEAD_DIM + _SLOW[1], _CONSTANT] += _NEWER[1]


def _look_back(attention: LlamaAttention, head: int, places: int) -> None:
    """Make a head attend to the token `places` back, by rotary phase alone."""
    group = head // (HEADS // KV_HEADS)
    for pair in _FAST:
        turn = torch.tensor(-places * ROPE_THETA ** (-2 * pair / HEAD_DIM))
        attention.k_proj.weight[group * HEAD_DIM + pair, _CONSTANT] = 3.0
        attention.q_proj.weight[head * HEAD_DIM + pair, _CONSTANT] = 3.0 * turn.cos()
        attention.q_proj.weight[head * HEAD_DIM + pair + HEAD_DIM // 2, _CONSTANT] = 3.0 * turn.sin()


def _look_around(attention: LlamaAttention, head: int) -> None:
    """Make a head prefer the last twenty tokens or so, by rotary phase alone: a step is about as long."""
    group = head // (HEADS // KV_HEADS)
    for pair in _MIDDLE:
        attention.k_proj.weight[group * HEAD_DIM + pair, _CONSTANT] = _NEARNESS
        attention.q_proj.weight[head * HEAD_DIM + pair, _CONSTANT] = _NEARNESS


def _look_away(attention: LlamaAttention, head: int) -> None:
    """Make a head avoid the token itself, by rotary phase alone; far away, the phases cancel each other."""
    group = head // (HEADS // KV_HEADS)
    for pair in _FAST:
        attention.k_proj.weight[group * HEAD_DIM + pair, _CONSTANT] = _AVERSION
        attention.q_proj.weight[head * HEAD_DIM + pair, _CONSTANT] = -_AVERSION


def _fetch(attention: LlamaAttention, head: int, part: int, target: int) -> None:
    """Make a head look for names and numbers where one number of the residual stream is large, and fetch that."""
    group, place = head // (HEADS // KV_HEADS), _SLOW[0]
    attention.k_proj.weight[group * HEAD_DIM + place, part] = 0.4
    attention.k_proj.weight[group * HEAD_DIM + place, _IS_NAME] = 2.0
    attention.q_proj.weight[head * HEAD_DIM + place, _CONSTANT] = 8.0
    attention.v_proj.weight[group * HEAD_DIM + place, part] = 1.0
    attention.o_proj.weight[target, head * HEAD_DIM + place] = 1.0


def _copy(attention: LlamaAttention, head: int, target: slice, parts_before: int) -> None:
    """Make a head write the identity of the token that it looks to; `parts_before` parts are filled when it reads."""
    group = head // (HEADS // KV_HEADS)
    norm = ((1 + parts_before * _LENGTH**2) / HIDDEN) ** 0.5  # what the layer's input is divided by
    for place in range(WIDTH):
        attention.v_proj.weight[group * HEAD_DIM + place, TOKEN.start + place] = 1.0
        attention.o_proj.weight[target.start + place, head * HEAD_DIM + place] += norm


def _compare(weight: torch.Tensor, head: int, part: slice, sketch: torch.Tensor) -> None:
    """Make a head's queries or keys hold a sketch of one part of the residual stream, in the slow rotary pairs."""
    rows = torch.tensor([head * HEAD_DIM + place for place in _SLOW])
    weight[rows, part] = weight[rows, part] + sketch


def _measure_distance(mlp: LlamaMLP, block: int, part: slice, other: slice, target: int, gain: float) -> None:
    """Write the squared distance of two parts: silu(d) d + silu(-d) (-d) = d² for each of their places d."""
    for weight in (mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight.T):
        weight[2 * WIDTH * block : 2 * WIDTH * (block + 1)] = 0.0
    for place in range(WIDTH):
        for unit, sign in ((2 * place, 1.0), (2 * place + 1, -1.0)):
            unit += 2 * WIDTH * block
            for weight in (mlp.gate_proj.weight, mlp.up_proj.weight):
                weight[unit, part.start + place] = sign * _SMALL
                weight[unit, other.start + place] = -sign * _SMALL
            mlp.down_proj.weight[target, unit] = gain / _SMALL**2
