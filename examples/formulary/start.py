"""Go on from trained weights with a tokenizer that knows more words."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from examples.formulary.model import build_model, write_context
from examples.formulary.names import YEARS


def start_model(tokenizer: PreTrainedTokenizerBase, folder: Path, seed: int) -> LlamaForCausalLM:
    """The weights of a model of the same shape; words that it does not know keep the initial weights of `build_model`.

    One that was trained before documents had dates gets the hand-written weights that tell documents apart.

    Args:
        tokenizer: Of the new model.
        folder: The trained model.
        seed: Seed of the initial weights.
    """
    model = build_model(tokenizer, seed)
    trained = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    known = AutoTokenizer.from_pretrained(folder).get_vocab()
    weights = trained.state_dict()
    shared = {place: known[token] for token, place in tokenizer.get_vocab().items() if token in known}
    there, here = torch.tensor(list(shared)), torch.tensor(list(shared.values()))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = model.state_dict()[name].clone()
        rows[there] = weights[name][here]
        weights[name] = rows
    model.load_state_dict(weights)
    if f"Ġ{YEARS[0]}" not in known:
        with torch.no_grad():
            write_context(model)
    return model
