"""What `medprm bench` runs on: Llama-3.1-shaped models with random weights, and requests of realistic size."""

import random
import re
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from medprm_scorer.local.loading import DEMO_MODEL
from medprm_scorer.results.models import RankRequest
from medprm_scorer.scorer import MedPRM

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 128, "intermediate_size": 448, "num_hidden_layers": 2, "num_attention_heads": 4},
    "300m": {"hidden_size": 768, "intermediate_size": 2688, "num_hidden_layers": 12, "num_attention_heads": 12},
    "8b-2": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 2, "num_attention_heads": 32},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
}
"""Llama 3.1's proportions: four query heads per key head, an MLP 3.5 times as wide as the hidden state.

`8b-2` has two layers of the real width, for machines on which the real depth is too slow."""

VOCABULARY = 128257  # of the released model, step tag included
STEPS = 6
STEP_TOKENS = 55
DOCUMENT_TOKENS = 3000
_DOCUMENTS = 10
_WORDS = re.findall(
    r"\w+",
    "the patient has a daily dose of and is not with for this that label limit give by so to in at on it be as if or "
    "an from are was were will can may no any all more less after before over under",
)


def make_model(shape: str, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Any:
    """A random model of one of the `SHAPES`, with the real vocabulary and Llama 3.1's rotary positions."""
    torch.manual_seed(seed)
    size = SHAPES[shape]
    config = LlamaConfig(
        **size,
        vocab_size=VOCABULARY,
        num_key_value_heads=size["num_attention_heads"] // 4,
        max_position_embeddings=131072,
        tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    return model.eval()


def make_scorer(model: Any, max_batch_tokens: int | None = None) -> MedPRM:
    """A scorer with this model and the demo model's tokenizer, whose ids are part of the vocabulary."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL, use_fast=True, local_files_only=True)
    return MedPRM.from_model(model, tokenizer, max_batch_tokens=max_batch_tokens)


@dataclass
class Requests:
    """Requests of random words, each one token, so that texts have the requested lengths.

    Args:
        prm: The scorer that counts tokens.
        seed: The same seed gives the same requests.
        document_tokens: Tokens of all documents of a question together.
        step_tokens: Tokens of a step on average; they vary by a fifth, as sampled chains do.
    """

    prm: MedPRM
    seed: int = 0
    document_tokens: int = DOCUMENT_TOKENS
    step_tokens: int = STEP_TOKENS

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._words = [word for word in _WORDS if self.prm.count_tokens(f" {word}") == 1]

    def make(self, candidates: int) -> RankRequest:
        """One request; each call gives new documents and candidates."""
        each = self.document_tokens // _DOCUMENTS - 1
        return RankRequest(
            question=f"Which {self._text(40)}?\n\n(A) {self._text(4)}\n(B) {self._text(4)}",
            documents=[self._text(each) for _ in range(_DOCUMENTS if each > 0 else 0)],
            candidates=[[self._step() for _ in range(STEPS)] for _ in range(candidates)],
        )

    def _step(self) -> str:
        return self._text(round(self.step_tokens * self._random.uniform(0.8, 1.2)) - 1)

    def _text(self, words: int) -> str:
        return " ".join(self._random.choices(self._words, k=max(words, 1)))
