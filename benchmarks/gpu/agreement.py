"""Parts of the kit that tell right from wrong: each way of attention against the plain twin, and lack of memory."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.settings import Settings
from medprm_scorer.cli.benchmark.workload import make_model
from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.local.attention import choose_attention
from medprm_scorer.local.engine import PlainEngine, TransformersEngine

LABELS = (489, 482)
LARGEST = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.05}
"""How far a reward may be from that of another attention in the same dtype."""
_TIMES = 4
"""How much further than the plain twin a way may be from the plain twin in float32; rounding alone gives 1 to 2."""


def agreement(settings: Settings) -> dict[str, Any]:
    """The largest difference from the plain twin in float32 by dtype and attention, over rows of every kind.

    The random model's rewards lie near each other, so the plain twin's own rounding is the measure of what is allowed.

    Budgets of 1, 7, 130 and many tokens make rows of one token, rows that begin in the middle of a chain, one block and
    several; chains of one token to hundreds, one tag to many.
    """
    found: dict[str, Any] = {"wrong": []}
    prompts = [_prompt(seed, settings.tiny) for seed in range(2 if settings.tiny else 4)]
    budgets = (7, None) if settings.tiny else (7, 130, None)
    model = make_model("tiny", settings.on, torch.float32)
    exact = PlainEngine(model, *LABELS).score(prompts)
    for dtype in dict.fromkeys(("float32", settings.dtype)):
        model = model.to(getattr(torch, dtype))
        rounding = _largest(PlainEngine(model, *LABELS).score(prompts), exact)
        allowed = LARGEST[dtype] if dtype == "float32" else _TIMES * rounding
        found[f"{dtype} plain"] = rounding
        for way in choose_attention(settings.on, getattr(torch, dtype)):
            name = f"{dtype} {way}"
            found[name] = _attempt(lambda m=model, w=way, e=exact: _gap(m, w, e, prompts, budgets))  # type: ignore[misc]
            if isinstance(found[name], float) and not found[name] <= allowed:
                found["wrong"].append(name)
    return found


def compilations(settings: Settings) -> dict[str, Any]:
    """Graphs that are compiled by the first request, and by the requests of random shapes after it (wanted: 0)."""
    from torch._dynamo.utils import counters

    found: dict[str, Any] = {}
    dtype = getattr(torch, settings.dtype)
    model = make_model("tiny", settings.on, dtype)
    for way in choose_attention(settings.on, dtype):
        engine = TransformersEngine(model, *LABELS, None, way)
        before = counters["stats"]["unique_graphs"]
        engine.score([_prompt(0, settings.tiny)])
        warm = counters["stats"]["unique_graphs"]
        for seed in range(1, settings.requests + 1):
            engine.score([_prompt(seed, settings.tiny)])
        after = counters["stats"]["unique_graphs"]
        found[way] = {"first": warm - before, "later": after - warm, "requests": settings.requests}
        if engine.attention != way:
            found[way]["instead"] = engine.attention
    return found


def scarce_memory(settings: Settings) -> dict[str, Any]:
    """With the allocator capped, the budget of tokens is halved and the rewards stay."""
    device = settings.on
    if device.type != "cuda":
        return {"skipped": "only CUDA's allocator can be capped"}
    model = make_model("300m", device, getattr(torch, settings.dtype))
    prompts = [_prompt(seed, False) for seed in range(24)]
    engine = TransformersEngine(model, *LABELS, 16384)
    exact = engine.score(prompts)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + 300e6) / total, device)
    try:
        gap = _largest(engine.score(prompts), exact)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    wrong = ["scarce memory"] if not gap <= LARGEST[settings.dtype] else []
    return {"tokens a pass": f"16384, then {engine.max_batch_tokens}", "gap": gap, "wrong": wrong}


def _gap(model: Any, way: str, exact: Any, prompts: list[EncodedPrompt], budgets: tuple[int | None, ...]) -> float:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the attention", RuntimeWarning)  # another way instead is a failure here
        return max(
            _largest(TransformersEngine(model, *LABELS, budget, way).score(prompts), exact) for budget in budgets
        )


def _attempt(work: Callable[[], float]) -> float | str:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - each way is tried, whatever the others do
        return f"failed: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"


def _largest(some: Any, others: Any) -> float:
    return max(
        abs(a - b)
        for one, two in zip(some, others, strict=True)
        for mine, twin in zip(one, two, strict=True)
        for a, b in zip(mine, twin, strict=True)
    )


def _prompt(seed: int, tiny: bool) -> EncodedPrompt:
    """A prompt of random shape."""
    rng = random.Random(seed)
    most = 40 if tiny else 400

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(1000) for _ in range(count))

    stem = ids(rng.choice([0, 20, most // 2]))
    chains = []
    for _ in range(rng.choice([1, 2, 5]) if tiny else rng.choice([1, 2, 7, 16, 40])):
        own = stem + ids(rng.choice([1, 5, rng.randint(1, most)]))
        tags = sorted({len(own) - 1, *(rng.randrange(len(own)) for _ in range(rng.randint(0, 6)))})
        chains.append(EncodedChain(own, tuple(tags)))
    return EncodedPrompt(ids(rng.choice([1, 30, most * 5])), tuple(chains))
