"""Train the demo reward model: `python -m examples.formulary.train --out FOLDER`.

The loss is the cross-entropy of the two labels at the step tags, plus a language-model loss on the documents and on
valid steps, which teaches the model to read. If it is stopped at any moment, it resumes from its last checkpoint when
the same command is given again.
"""

import random
from pathlib import Path

import torch
from torch.nn import functional as F

from examples.formulary import loop
from examples.formulary.chains import Chain, Policy, draw_policy, make_chain
from examples.formulary.model import build_model
from examples.formulary.rows import IGNORE, Rows, hidden_states, next_token_loss, reading_loss
from examples.formulary.tokenizer import build_tokenizer
from examples.formulary.world import Question, make_question
from medprm_scorer.encoding import EncodedChain, PromptEncoder

QUESTIONS, CHAINS = 6, 6
PREFIX_LENGTH, CHAIN_LENGTH = 304, 106
WITHHELD = 0.08  # share of questions whose documents are withheld, so that the model learns to be unsure without them
ONE_WITHHELD = 0.15  # share of questions without one document, so that a step needs the one that it cites
LAYOUTS = {"Step {}: {}": 4, "{}. {}": 2, "{}) {}": 1, "{1}": 2}
"""How steps look once the package has split a chain, with shares: labelled, numbered, bare (bullets, paragraphs)."""
CHAIN_LM, PREFIX_LM = 0.5, 0.1  # weights of the language-model losses relative to the tag loss


def draw(rng: random.Random) -> tuple[Question, tuple[str, ...], list[Chain]]:
    """One training question, the documents shown, and its chains."""
    question = make_question(rng)
    policy = Policy(rate=0.35) if rng.random() < 0.6 else draw_policy(rng)
    chains = [make_chain(question, rng, policy) for _ in range(CHAINS)]
    return question, _shown(question, rng), chains


def _shown(question: Question, rng: random.Random) -> tuple[str, ...]:
    """The documents that the model sees: mostly all of them, at times none, or all but one.

    A document that has a rival is never left out alone: what then counts would be another.
    """
    chance = rng.random()
    if chance < WITHHELD:
        return ()
    if chance > WITHHELD + ONE_WITHHELD:
        return question.documents
    rivals = ("Guideline", "Notice") if question.outdated else ("Label",) if question.rival else ()
    (left_out,) = rng.sample([place for place, text in enumerate(question.documents) if not text.startswith(rivals)], 1)
    return question.documents[:left_out] + question.documents[left_out + 1 :]


class Batch(Rows):
    """Rows with the label at each step tag, 0 for a valid step, and the next tokens of valid steps."""

    def __init__(self, encoder: PromptEncoder, rng: random.Random, pad_id: int) -> None:
        super().__init__(QUESTIONS, CHAINS, PREFIX_LENGTH, CHAIN_LENGTH, pad_id)
        self.label = torch.full_like(self.next_token, IGNORE)
        for row in range(QUESTIONS):
            question, documents, chains = draw(rng)
            self.put_prefix(row, encoder.prefix(question.text, documents).ids)
            for place, chain in enumerate(chains, row * CHAINS):
                (layout,) = rng.choices(list(LAYOUTS), list(LAYOUTS.values()))
                steps = [layout.format(number, step.text) for number, step in enumerate(chain.steps, 1)]
                encoded = encoder.chain(steps)
                self.put_chain(place, encoded.ids)
                self._put_targets(place, encoded, [step.valid for step in chain.steps], documents == question.documents)

    def _put_targets(self, row: int, encoded: EncodedChain, valid: list[bool], whole: bool) -> None:
        start = 0
        for tag, good in zip(encoded.tags, valid, strict=True):
            self.label[row, tag] = 0 if good else 1
            if good and whole:
                first = max(start - 1, 0)
                self.next_token[row, first:tag] = torch.tensor(encoded.ids[first + 1 : tag + 1])
            start = tag + 1


def train(out: Path, steps: int, seed: int, learning_rate: float = 4e-4) -> None:
    """Train the reward model for so many steps; see `loop.run`."""
    tokenizer = build_tokenizer()
    encoder = PromptEncoder(tokenizer, "auto")
    model = build_model(tokenizer, seed)
    label_ids = [encoder.positive_id, encoder.negative_id]

    def losses(step: int) -> loop.Losses:
        batch = Batch(encoder, random.Random(f"{seed}-{step}"), tokenizer.pad_token_id)
        prefix, chain = hidden_states(model, batch)
        head = model.lm_head.weight
        at_tag = batch.label != IGNORE
        tag = F.cross_entropy((chain[at_tag] @ head[label_ids].T).float(), batch.label[at_tag])
        spoken, read = next_token_loss(chain, batch.next_token, head), reading_loss(prefix, batch, head)
        shown = {"tag": tag.item(), "chain": spoken.item(), "prefix": read.item()}
        return tag + CHAIN_LM * spoken + PREFIX_LM * read, shown, batch.tokens

    loop.run(model, tokenizer, losses, out, steps, seed, learning_rate)


if __name__ == "__main__":
    arguments = loop.make_parser(__doc__, out="runs/demo", steps=2400, rate=4e-4).parse_args()
    train(arguments.out, arguments.steps, arguments.seed, arguments.rate)
