"""Train the demo reward model: `python -m examples.formulary.train --out FOLDER`.

Several chains per question share one pass over the prompt. The loss is the cross-entropy of the two labels at the step
tags, beside a language-model loss on the documents and on valid steps, which teaches to read. Stopped at any moment, it
goes on from its last checkpoint when the same command is given again.
"""

import argparse
import math
import random
import time
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import DynamicCache

from examples.formulary.model import build_model
from examples.formulary.tokenizer import build_tokenizer
from examples.formulary.world import Chain, Policy, Question, draw_policy, make_chain, make_question
from medprm_scorer.encoding import EncodedChain, PromptEncoder

QUESTIONS, CHAINS = 8, 8  # per step of training
PREFIX_LENGTH, CHAIN_LENGTH = 228, 96
WITHHELD = 0.08  # share of questions whose documents are withheld, so that the model learns to be unsure without them
CHAIN_LM, PREFIX_LM = 0.5, 0.1  # weights of the language-model losses beside the tag loss
LEARNING_RATE, WARM_UP, WEIGHT_DECAY = 1.5e-3, 100, 0.02
IGNORE = -100


def draw(rng: random.Random) -> tuple[Question, tuple[str, ...], list[Chain]]:
    """One training question, the documents shown, and its chains."""
    question = make_question(rng)
    policy = Policy() if rng.random() < 0.6 else draw_policy(rng)
    chains = [make_chain(question, rng, policy) for _ in range(CHAINS)]
    return question, () if rng.random() < WITHHELD else question.documents, chains


class Batch:
    """One step's tokens: prefixes padded on the left, chains padded on the right, and what is to be predicted."""

    def __init__(self, encoder: PromptEncoder, rng: random.Random, pad_id: int) -> None:
        self.prefix = torch.full((QUESTIONS, PREFIX_LENGTH), pad_id)
        self.prefix_mask = torch.zeros(QUESTIONS, PREFIX_LENGTH, dtype=torch.long)
        self.chain = torch.full((QUESTIONS * CHAINS, CHAIN_LENGTH), pad_id)
        self.chain_mask = torch.zeros(QUESTIONS * CHAINS, CHAIN_LENGTH, dtype=torch.long)
        self.next_token = torch.full((QUESTIONS * CHAINS, CHAIN_LENGTH), IGNORE)
        self.label = torch.full((QUESTIONS * CHAINS, CHAIN_LENGTH), IGNORE)
        for row in range(QUESTIONS):
            question, documents, chains = draw(rng)
            ids = encoder.prefix(question.text, documents).ids
            self.prefix[row, -len(ids) :] = torch.tensor(ids)
            self.prefix_mask[row, -len(ids) :] = 1
            for place, chain in enumerate(chains, row * CHAINS):
                steps = chain.text.split("\n")
                self._fill(place, encoder.chain(steps), [step.valid for step in chain.steps], bool(documents))
        self.tokens = int(self.prefix_mask.sum() + self.chain_mask.sum())

    def _fill(self, row: int, encoded: EncodedChain, valid: list[bool], documents: bool) -> None:
        length = len(encoded.ids)
        self.chain[row, :length] = torch.tensor(encoded.ids)
        self.chain_mask[row, :length] = 1
        start = 0
        for tag, good in zip(encoded.tags, valid, strict=True):
            self.label[row, tag] = 0 if good else 1
            if good and documents:
                self.next_token[row, max(start - 1, 0) : tag] = torch.tensor(
                    encoded.ids[max(start - 1, 0) + 1 : tag + 1]
                )
            start = tag + 1


def losses(
    model: torch.nn.Module, batch: Batch, label_ids: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tag loss and the language-model losses of chains and prefixes, each a mean in nats."""
    positions = (batch.prefix_mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    prefix = model.model(
        batch.prefix, attention_mask=batch.prefix_mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    cache.batch_repeat_interleave(CHAINS)
    mask = torch.cat([batch.prefix_mask.repeat_interleave(CHAINS, 0), batch.chain_mask], 1)
    start = batch.prefix_mask.sum(-1).repeat_interleave(CHAINS)
    positions = start[:, None] + torch.arange(CHAIN_LENGTH)
    chain = model.model(
        batch.chain, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    head = model.lm_head.weight
    at_tag = batch.label != IGNORE
    tag_loss = F.cross_entropy(chain[at_tag] @ head[label_ids].T, batch.label[at_tag])
    spoken = batch.next_token != IGNORE
    chain_loss = F.cross_entropy(chain[spoken] @ head.T, batch.next_token[spoken])
    read = (batch.prefix_mask[:, :-1] == 1) & (torch.rand(batch.prefix[:, 1:].shape) < 0.5)  # half, for speed
    prefix_loss = F.cross_entropy(prefix[:, :-1][read] @ head.T, batch.prefix[:, 1:][read])
    return tag_loss, chain_loss, prefix_loss


def rate(step: int, steps: int) -> float:
    """The learning rate's factor: linear warm-up, then a half cosine down to 2 %."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - WARM_UP) / (steps - WARM_UP))))


def train(out: Path, steps: int, seed: int, save_seconds: float = 120.0) -> None:
    """Train for so many steps and write the model and its tokenizer to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    encoder = PromptEncoder(tokenizer)
    model = build_model(len(tokenizer), seed, tokenizer.pad_token_id)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    checkpoint, done, tokens, spent = out / "checkpoint.pt", 0, 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done, tokens, spent = state["step"], state["tokens"], state["seconds"]
    label_ids = [encoder.positive_id, encoder.negative_id]
    begun = saved = time.monotonic()
    model.train()
    for step in range(done, steps):
        rng = random.Random(f"{seed}-{step}")  # each step has its own seed, so a resumed run sees the same questions
        torch.manual_seed(seed * 1_000_003 + step)
        batch = Batch(encoder, rng, tokenizer.pad_token_id)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate(step, steps)
        tag_loss, chain_loss, prefix_loss = losses(model, batch, label_ids)
        optimizer.zero_grad(set_to_none=True)
        (tag_loss + CHAIN_LM * chain_loss + PREFIX_LM * prefix_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += batch.tokens
        now = time.monotonic()
        if step % 20 == 0:
            print(
                f"step {step} tokens {tokens / 1e6:.2f}M {spent + now - begun:.0f}s tag {tag_loss.item():.3f} "
                f"chain {chain_loss.item():.3f} prefix {prefix_loss.item():.3f}",
                flush=True,
            )
        if now - saved > save_seconds or step == steps - 1:
            saved = now
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save({**state, "tokens": tokens, "seconds": spent + now - begun}, out / "checkpoint.new")
            (out / "checkpoint.new").replace(checkpoint)
    model.to(torch.bfloat16).save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    print(f"the model after {steps} steps is in {out / 'model'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for checkpoints and the model")
    parser.add_argument("--steps", type=int, default=1500, help="steps in all, those before a checkpoint included")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the questions")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps, arguments.seed)
