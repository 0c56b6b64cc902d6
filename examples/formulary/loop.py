"""The training loop that both models share: learning rate, clipping, a line now and then, checkpoints to go on from."""

import argparse
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

WARM_UP, WEIGHT_DECAY = 30, 0.02
SAVE_SECONDS = 120.0

Losses = tuple[torch.Tensor, Mapping[str, float], int]
"""What is to become small, what is shown of it, and how many tokens it took."""


def _factor(step: int, steps: int) -> float:
    """The learning rate's factor: linear warm-up, then a half cosine down to 2 %."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - WARM_UP) / (steps - WARM_UP))))


def _bfloat16_is_faster() -> bool:
    """Whether this processor multiplies matrices in bfloat16 faster than in float32; many emulate it, slowly."""
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(512, 512, dtype=dtype)
        tries = []
        for _ in range(5):  # the first one prepares, and others may be interrupted
            begun = time.perf_counter()
            matrix @ matrix
            tries.append(time.perf_counter() - begun)
        seconds.append(min(tries))
    return seconds[1] < seconds[0]


def make_parser(description: str, out: str, steps: int, rate: float) -> argparse.ArgumentParser:
    """The options of a training command: `out`, `steps`, `rate` and `seed`, with these defaults."""
    parser = argparse.ArgumentParser(
        description=description.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for checkpoints and the model")
    parser.add_argument("--steps", type=int, default=steps, help="steps in all, those before a checkpoint included")
    parser.add_argument("--rate", type=float, default=rate, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the questions")
    return parser


def run(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    losses: Callable[[int], Losses],
    out: Path,
    steps: int,
    seed: int,
    learning_rate: float,
) -> None:
    """Train for so many steps and write the model in bfloat16, with its tokenizer, to `out/model`.

    Matrix products are taken in bfloat16 where the processor is faster at it (about 1.7 times on a CPU that knows it).

    Args:
        model: Starts from its own weights, or from the checkpoint in `out` if there is one.
        tokenizer: Saved beside the model.
        losses: The losses of one step, drawn from that step's own seed, so that a resumed run sees the same questions.
        out: Folder for checkpoints and the model.
        steps: Steps in all, those before a checkpoint included.
        seed: Of all that is drawn.
        learning_rate: The highest, after the warm-up.
    """
    out.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    checkpoint, done, tokens, spent = out / "checkpoint.pt", 0, 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done, tokens, spent = state["step"], state["tokens"], state["seconds"]
    mixed = _bfloat16_is_faster()
    begun = saved = time.monotonic()
    model.train()
    for step in range(done, steps):
        torch.manual_seed(seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _factor(step, steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss, shown, used = losses(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += used
        now = time.monotonic()
        if step % 10 == 0:
            parts = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
            print(f"step {step} tokens {tokens / 1e6:.2f}M {spent + now - begun:.0f}s {parts}", flush=True)
        if now - saved > SAVE_SECONDS or step == steps - 1:
            saved = now
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save({**state, "tokens": tokens, "seconds": spent + now - begun}, out / "checkpoint.new")
            (out / "checkpoint.new").replace(checkpoint)
    model.to(torch.bfloat16).save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    print(f"the model after {steps} steps is in {out / 'model'}")
