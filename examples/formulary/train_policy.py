"""Train the small policy model: `python -m examples.formulary.train_policy --out FOLDER`.

An ordinary causal language model that solves formulary questions in the form the paper asks of a policy, right often,
and wrong in its habits (`habits.py`). It starts from the same weights, partly written by hand, as the reward model.
"""

import random
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from examples.formulary import loop
from examples.formulary.habits import habit
from examples.formulary.model import build_model
from examples.formulary.rows import CHAINS, QUESTIONS, Rows, hidden_states, next_token_loss, reading_loss
from examples.formulary.tokenizer import build_tokenizer
from examples.formulary.world import make_chain, make_question
from medprm_scorer.policy_prompts import policy_messages

PREFIX_LENGTH, CHAIN_LENGTH = 256, 100
PLAIN = 0.2  # share of questions asked without the system prompt
READING = 0.1  # weight of the language-model loss on prompts


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    """The token ids of a chat, up to where the answer begins."""
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]


class Batch(Rows):
    """Rows whose chains are all spoken, up to the end-of-turn token; each begins with its prompt's last token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> None:
        super().__init__(PREFIX_LENGTH, CHAIN_LENGTH, tokenizer.pad_token_id)
        for row in range(QUESTIONS):
            question = make_question(rng)
            messages = policy_messages(question.text, question.documents)
            *prompt, last = encode_prompt(tokenizer, messages[1:] if rng.random() < PLAIN else messages)
            self.put_prefix(row, prompt)
            for place in range(row * CHAINS, (row + 1) * CHAINS):
                chain = make_chain(question, rng, habit(question))
                spoken = tokenizer(chain.text, add_special_tokens=False)["input_ids"]
                self.put_chain(place, [last, *spoken])
                self.next_token[place, : len(spoken) + 1] = torch.tensor([*spoken, tokenizer.eos_token_id])


def train(out: Path, steps: int, seed: int) -> None:
    """Train the policy model for so many steps; see `loop.run`."""
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed)
    model.generation_config.update(do_sample=True, temperature=1.0, pad_token_id=tokenizer.pad_token_id)

    def losses(step: int) -> loop.Losses:
        batch = Batch(tokenizer, random.Random(f"policy-{seed}-{step}"))
        prefix, chain = hidden_states(model, batch)
        head = model.lm_head.weight
        spoken, read = next_token_loss(chain, batch.next_token, head), reading_loss(prefix, batch, head)
        return spoken + READING * read, {"chain": spoken.item(), "prefix": read.item()}, batch.tokens

    loop.run(model, tokenizer, losses, out, steps, seed)


if __name__ == "__main__":
    arguments = loop.read_arguments(__doc__, out="runs/policy", steps=400)
    train(arguments.out, arguments.steps, arguments.seed)
