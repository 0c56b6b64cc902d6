"""The real Llama 3 tokenizer with Med-PRM's tag, random Llama-shaped weights, and the model card's own computation."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

TAG_ID, PLUS_ID, MINUS_ID = 128256, 489, 482

_NAMES = (
    "begin_of_text end_of_text reserved_special_token_0 reserved_special_token_1 finetune_right_pad_id "
    "reserved_special_token_2 start_header_id end_header_id eom_id eot_id python_tag"
)
SPECIALS = [f"<|{name}|>" for name in _NAMES.split()] + [f"<|reserved_special_token_{n}|>" for n in range(3, 248)]

# What Llama 3.1's own template writes for a system and a user message: contents trimmed, the two dates, no tools.
CHAT_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{%- if message['role'] == 'system' %}"
    "{{- 'Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n' }}{%- endif %}"
    "{{- message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)


@cache
def real_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the released model, rebuilt from the PyPI package `llama-models`."""
    package = importlib.util.find_spec("llama_models")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "llama3" / "tokenizer.model"
    backend = TikTokenConverter(vocab_file=str(file), extra_special_tokens=[*SPECIALS, " ки"]).converted()
    backend.add_special_tokens([AddedToken(" ки", special=True, normalized=False)])
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A",
        pair="<|begin_of_text|> $A <|begin_of_text|> $B",
        special_tokens=[("<|begin_of_text|>", 128000)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        clean_up_tokenization_spaces=False,
        model_max_length=131072,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def random_llama(seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> LlamaForCausalLM:
    """A small Llama-3.1-shaped model with the real vocabulary, random weights and Llama 3.1's rotary scaling."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": 128257,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
        "initializer_range": 0.2,  # wide, so that rewards spread over (0, 1) and a wrong place shows
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    }
    return LlamaForCausalLM(LlamaConfig(**settings | changes)).to(dtype).eval()


def card_text(tokenizer: Any, system: str, documents: list[str], question: str, explanation: str) -> str:
    """The prompt as the official code writes it: one text, tags inside, through the chat template."""
    block = "".join(f"Document {number}: {document}\n\n" for number, document in enumerate(documents, 1))
    content = f"{block}Question: {question}\n\nExplanation: {explanation}"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def card_rewards(model: LlamaForCausalLM, tokenizer: Any, text: str) -> list[float]:
    """The model card's computation as it is meant: the whole text, all logits, tags found by their offsets."""
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True, add_special_tokens=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        logits = model(input_ids=encoded["input_ids"]).logits[0]
    places = [place for place, (start, end) in enumerate(offsets) if text[start:end] == " ки"]
    return [float(logits[place, [PLUS_ID, MINUS_ID]].float().softmax(-1)[0]) for place in places]
