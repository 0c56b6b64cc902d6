"""Draw chains of thought from the small policy model.

All samples of a question grow side by side as one packed sequence: each sees the prompt and itself. On a CPU this is
several times faster than `generate` with a batch, which copies the prompt's keys and values for every sample at every
token. It draws from the same distribution (a test compares the two).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from medprm_scorer.text.policy import policy_messages

POLICY = Path(__file__).parent / "policy_model"
"""The shipped policy model."""

_LONGEST = 160  # new tokens; a well-formed chain has about 95


class PolicyModel:
    """The policy model, ready to sample.

    Args:
        folder: An ordinary causal-language-model folder with a chat template.
        temperature: Above 0; 1 samples as the model was trained.
    """

    def __init__(self, folder: Path, temperature: float = 1.0) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._temperature = temperature

    @torch.inference_mode()
    def draw(self, question: str, documents: Sequence[str], count: int) -> list[str]:
        """Sample so many chains for one question, with torch's generator. A chain that finds no end is cut off."""
        messages = policy_messages(question, documents)
        prompt = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )["input_ids"]
        length = prompt.shape[1]
        cache = DynamicCache(config=self._model.config)
        logits = self._model(prompt, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0]
        logits = logits.expand(count, -1)
        own = torch.eye(count, dtype=torch.bool)
        seen = torch.ones(count, length, dtype=torch.bool)
        drawn = torch.full((count, _LONGEST), self._tokenizer.pad_token_id)
        going = torch.arange(count)  # the chains that have not ended; only they are run
        for place in range(_LONGEST):
            token = torch.multinomial((logits / self._temperature).softmax(-1), 1)[:, 0]
            drawn[going, place] = token
            unfinished = token != self._tokenizer.eos_token_id
            going, token = going[unfinished], token[unfinished]
            if not len(going):
                break
            seen = torch.cat([seen[unfinished], own[: len(going), : len(going)]], 1)
            logits = self._model(
                token[None],
                attention_mask=seen[None, None],
                position_ids=torch.full((1, len(going)), length + place),
                past_key_values=cache,
                use_cache=True,
            ).logits[0]
        return self._tokenizer.batch_decode(drawn, skip_special_tokens=True)
