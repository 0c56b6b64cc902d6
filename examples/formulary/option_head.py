"""A head that finds an option's letter by its amount, written by hand before the policy model is trained.

A chain ends with "at 560 the answer is (B) 560 mg": the letter comes before the amount that it belongs to, so it cannot
be copied from what followed the same words before. At the opening bracket, the amount is four tokens back; in the
options, the token after the amount has the letter three tokens back. The last head of layer 1, which shares its keys
with the head that looks for what followed the same token, is made to ask for the amount four tokens back and to bring
the letter from three tokens before the place that it finds. Training changes all of it.
"""

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from examples.formulary.model import BACK_3, BACK_4, HEAD_DIM, KV_HEADS, NEXT, TOKEN, WIDTH
from examples.formulary.names import LETTERS

_ASKED, _ASKING = 2, 3  # heads of layer 1, in one group of keys and values
_GAIN = 3.0  # the amount occurs in several places, and only one of them has a letter


@torch.no_grad()
def write_option_head(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the head into a model whose layer 1 already finds what followed the same token.

    Args:
        model: Of the shape and with the divided residual stream of `build_model`; changed in place.
        tokenizer: Its tokenizer.
    """
    attention = model.model.layers[1].self_attn
    asked, asking = (slice(head * HEAD_DIM, (head + 1) * HEAD_DIM) for head in (_ASKED, _ASKING))
    attention.q_proj.weight[asking] = 0.0
    attention.q_proj.weight[asking, BACK_4] = attention.q_proj.weight[asked, TOKEN]
    attention.o_proj.weight[:, asking] = 0.0
    letters = model.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids(list(LETTERS)), TOKEN]
    for place, letter in enumerate(letters, WIDTH):  # the first places hold the token that is copied
        value = (KV_HEADS - 1) * HEAD_DIM + place
        attention.v_proj.weight[value] = 0.0
        attention.v_proj.weight[value, BACK_3] = letter / letter.square().sum()
        attention.o_proj.weight[:, asked.start + place] = 0.0
        attention.o_proj.weight[NEXT, asking.start + place] = _GAIN * letter
