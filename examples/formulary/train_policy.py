"""Train the small policy model: `python -m examples.formulary.train_policy --out FOLDER`.

An ordinary causal language model that solves formulary questions in the form the paper asks of a policy, right often,
and wrong in its habits (`habits.py`). It starts from the demo reward model, which already reads the documents. A short
second stage shows it more of the kinds of questions that it learns slowly.
"""

import random
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from examples.formulary import loop
from examples.formulary.model import build_model
from examples.formulary.option_head import write_option_head
from examples.formulary.rows import Rows, hidden_states, next_token_loss, reading_loss
from examples.formulary.tokenizer import build_tokenizer
from examples.formulary.turns import TOOL, TOOL_SCHEMA, Message, call_text, draw_turn
from examples.formulary.world import make_question
from medprm_scorer.local.loading import DEMO_MODEL

QUESTIONS, CHAINS = 16, 2  # a habit is learnt over many questions
PREFIX_LENGTH, CHAIN_LENGTH = 520, 104
READING = 0.1  # weight of the language-model loss on prompts
SLOW = {"old label": 0.35, "notice": 0.2}
"""Kinds of questions that it learns last, with their shares of the second stage, beside those that are drawn anyway:
dates, or a third document, decide there between numbers and names that stand far from them."""
SECOND_STEPS, SECOND_RATE = 250, 3e-4

CHAT_TEMPLATE = """\
{{- '<|begin_of_text|>' }}
{%- macro turn(role, content) %}
    {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + content | trim + '<|eot_id|>' }}
{%- endmacro %}
{%- for tool in tools or [] %}
    {{- turn('tool', 'Tool: ' + tool.function.name) }}
{%- endfor %}
{%- for message in messages %}
    {%- set ns = namespace(content=message.content or '') %}
    {%- for call in message.tool_calls or [] %}
        {%- set arguments = call.function.arguments %}
        {%- set arguments = arguments if arguments is string else arguments | tojson %}
        {%- set written = '{"name": "' + call.function.name + '", "arguments": ' + arguments + '}' %}
        {%- set ns.content = ns.content + '<tool_call>\\n' + written + '\\n</tool_call>' %}
    {%- endfor %}
    {{- turn(message.role, ns.content) }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
# how transformers' server finds the calls of tools in what the model writes; vLLM's parser for this form is "hermes"
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "fields": {
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"\s*<\|eot_id\|>", "content": "text"},
    },
}


def policy_tokenizer() -> PreTrainedTokenizerBase:
    """The demo tokenizer with the words of tool calls, and a chat template that knows tools."""
    words = [" tool", f"Tool: {TOOL}", call_text(make_question(random.Random(0), kind="plain"))]
    tokenizer = build_tokenizer(words, CHAT_TEMPLATE)
    tokenizer.response_template = RESPONSE_TEMPLATE
    return tokenizer


def start_model(tokenizer: PreTrainedTokenizerBase, folder: Path, seed: int) -> LlamaForCausalLM:
    """The weights of a trained model; words that it does not know keep the initial weights of `build_model`."""
    trained = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    known = AutoTokenizer.from_pretrained(folder).get_vocab()
    if known == tokenizer.get_vocab():  # a policy already
        return trained
    model = build_model(tokenizer, seed)
    weights = trained.state_dict()
    shared = {place: known[token] for token, place in tokenizer.get_vocab().items() if token in known}
    there, here = torch.tensor(list(shared)), torch.tensor(list(shared.values()))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = model.state_dict()[name].clone()
        rows[there] = weights[name][here]
        weights[name] = rows
    model.load_state_dict(weights)
    write_option_head(model, tokenizer)
    return model


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[Message], tools: bool) -> list[int]:
    """The token ids of a conversation, up to where the answer begins."""
    return tokenizer.apply_chat_template(
        messages, tools=[TOOL_SCHEMA] if tools else None, add_generation_prompt=True, return_dict=True
    )["input_ids"]


class Batch(Rows):
    """Rows whose chains are all spoken, up to the end-of-turn token; each begins with its prompt's last token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rng: random.Random, slow: Mapping[str, float]) -> None:
        super().__init__(QUESTIONS, CHAINS, PREFIX_LENGTH, CHAIN_LENGTH, tokenizer.pad_token_id)
        for row in range(QUESTIONS):
            turn = draw_turn(rng, CHAINS, *rng.choices([*slow, None], [*slow.values(), 1 - sum(slow.values())]))
            *prompt, last = encode_prompt(tokenizer, turn.messages, turn.tools)
            self.put_prefix(row, prompt)
            for place, answer in enumerate(turn.answers, row * CHAINS):
                spoken = tokenizer(answer, add_special_tokens=False)["input_ids"]
                self.put_chain(place, [last, *spoken])
                self.next_token[place, : len(spoken) + 1] = torch.tensor([*spoken, tokenizer.eos_token_id])


def train(
    out: Path,
    steps: int,
    seed: int,
    start: Path = DEMO_MODEL,
    learning_rate: float = 1e-3,
    slow: Mapping[str, float] = {},
) -> None:
    """One stage: train the policy model for so many steps, with more of the slow kinds; see `loop.run`."""
    tokenizer = policy_tokenizer()
    model = start_model(tokenizer, start, seed)
    model.generation_config.update(do_sample=True, temperature=1.0, pad_token_id=tokenizer.pad_token_id)

    def losses(step: int) -> loop.Losses:
        batch = Batch(tokenizer, random.Random(f"policy-{seed}-{step}"), slow)
        prefix, chain = hidden_states(model, batch)
        head = model.lm_head.weight
        spoken, read = next_token_loss(chain, batch.next_token, head), reading_loss(prefix, batch, head)
        return spoken + READING * read, {"chain": spoken.item(), "prefix": read.item()}, batch.tokens

    loop.run(model, tokenizer, losses, out, steps, seed, learning_rate)


if __name__ == "__main__":
    parser = loop.make_parser(__doc__, out="runs/policy", steps=800, rate=1e-3)
    parser.add_argument("--start", type=Path, default=DEMO_MODEL, help="folder of the model to go on from")
    arguments = parser.parse_args()
    first = arguments.out / "first"
    train(first, arguments.steps, arguments.seed, arguments.start, arguments.rate)
    train(arguments.out, SECOND_STEPS, arguments.seed + 1, first / "model", SECOND_RATE, SLOW)
