"""One training step's tokens: several chains per question share one pass over the question's prompt."""

from collections.abc import Sequence

import torch
from transformers import DynamicCache, LlamaForCausalLM

IGNORE = -100


class Rows:
    """Prompts padded on the left, chains padded on the right.

    Args:
        questions: Number of prompts.
        chains: Number of chains for each prompt.
        prefix_length: Longest prompt, in tokens.
        chain_length: Longest chain, in tokens.
        pad_id: The padding token.
    """

    def __init__(self, questions: int, chains: int, prefix_length: int, chain_length: int, pad_id: int) -> None:
        self.chains = chains
        self.prefix = torch.full((questions, prefix_length), pad_id)
        self.prefix_mask = torch.zeros(questions, prefix_length, dtype=torch.long)
        self.chain = torch.full((questions * chains, chain_length), pad_id)
        self.chain_mask = torch.zeros(questions * chains, chain_length, dtype=torch.long)
        self.next_token = torch.full((questions * chains, chain_length), IGNORE)

    def put_prefix(self, question: int, ids: Sequence[int]) -> None:
        """Take in one question's prompt."""
        self.prefix[question, -len(ids) :] = torch.tensor(ids)
        self.prefix_mask[question, -len(ids) :] = 1

    def put_chain(self, row: int, ids: Sequence[int]) -> None:
        """Take in one chain; row r belongs to question r // chains."""
        self.chain[row, : len(ids)] = torch.tensor(ids)
        self.chain_mask[row, : len(ids)] = 1

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int(self.prefix_mask.sum() + self.chain_mask.sum())


def hidden_states(model: LlamaForCausalLM, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """The last hidden states of the prompts (questions, length, hidden) and of the chains (rows, length, hidden)."""
    positions = (rows.prefix_mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    prefix = model.model(
        rows.prefix, attention_mask=rows.prefix_mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    cache.batch_repeat_interleave(rows.chains)
    mask = torch.cat([rows.prefix_mask.repeat_interleave(rows.chains, 0), rows.chain_mask], 1)
    start = rows.prefix_mask.sum(-1).repeat_interleave(rows.chains)
    positions = start[:, None] + torch.arange(rows.chain.shape[1])
    chain = model.model(
        rows.chain, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    return prefix, chain


def next_token_loss(hidden: torch.Tensor, targets: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy, in nats, at the places whose target is not `IGNORE`."""
    spoken = targets != IGNORE
    return torch.nn.functional.cross_entropy((hidden[spoken] @ head.T).float(), targets[spoken])


def reading_loss(prefix: torch.Tensor, rows: Rows, head: torch.Tensor) -> torch.Tensor:
    """The language-model loss on half of the prompts' tokens (for speed), drawn anew each time."""
    read = (rows.prefix_mask[:, :-1] == 1) & (torch.rand(rows.prefix[:, 1:].shape) < 0.5)
    targets = torch.where(read, rows.prefix[:, 1:], IGNORE)
    return next_token_loss(prefix[:, :-1], targets, head)
