"""Parts of the kit that take time: one question, packed questions, the ways of attention, smaller weights."""

import tempfile
import time
from statistics import median
from typing import Any

import torch
from transformers import AutoTokenizer

from benchmarks.gpu.settings import Settings
from benchmarks.speed_parts import SpeedBench, SpeedPlan
from medprm_scorer import MedPRM
from medprm_scorer.cli.benchmark.baselines import synchronize
from medprm_scorer.cli.benchmark.measure import Bench, BenchPlan
from medprm_scorer.cli.benchmark.workload import Requests, make_model, make_scorer
from medprm_scorer.local.attention import choose_attention
from medprm_scorer.local.loading import DEMO_MODEL, QUANTIZATIONS


def one_question(settings: Settings) -> dict[str, Any]:
    """The whole shape at each N: seconds, against the quick start and a padded batch, matrix rate, memory."""
    plan = BenchPlan(
        shape=settings.shape, device=settings.device, dtype=settings.dtype, candidates=settings.candidates,
        rounds=settings.rounds, sample=1, document_tokens=settings.document_tokens,
    )  # fmt: skip
    return Bench(plan, _quiet).run()


def packed(settings: Settings) -> dict[str, Any]:
    """Many questions of 4 candidates each, concurrent calls, and candidates that grow."""
    count = 2 if settings.tiny else 64
    plan = SpeedPlan(
        shape=settings.shape, device=settings.device, dtype=settings.dtype, rounds=settings.rounds, questions=count,
        calls=min(count, 16), session=2 if settings.tiny else 16, document_tokens=settings.document_tokens,
    )  # fmt: skip
    bench = SpeedBench(plan, _quiet)
    return {"packed": bench._packed(), "session": bench._session()}


def ways(settings: Settings) -> dict[str, Any]:
    """Seconds of each way of attention at the whole width with two layers, the largest N but one."""
    dtype = getattr(torch, settings.dtype)
    model = make_model(settings.narrow, settings.on, dtype)
    prm = make_scorer(model)
    request = Requests(prm, 0, settings.document_tokens).make(settings.candidates[-2])
    found: dict[str, Any] = {}
    for way in choose_attention(settings.on, dtype):
        prm.engine.attention = way  # type: ignore[attr-defined]
        found[way] = _seconds(prm, request, model, settings.rounds)
        used = prm.engine.attention  # type: ignore[attr-defined]
        if used != way:
            found[way] = f"failed: {used} was used instead"
    return found


def quantized(settings: Settings) -> dict[str, Any]:
    """Smaller weights of two layers of the whole width: seconds and rewards against those of the 16-bit weights."""
    model = make_model(settings.narrow, settings.on, getattr(torch, settings.dtype))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(DEMO_MODEL, local_files_only=True).save_pretrained(folder)
        prm = make_scorer(model)
        request = Requests(prm, 0, settings.document_tokens).make(settings.candidates[-2])
        exact = prm.score(request.question, request.candidates, request.documents)
        found[settings.dtype] = {"seconds": _seconds(prm, request, model, settings.rounds)}
        for name, wanted in [*((one, one) for one in QUANTIZATIONS), ("fp8", _fp8())]:
            try:
                small = MedPRM.from_pretrained(
                    folder, device=settings.device, dtype=settings.dtype, quantization=wanted  # type: ignore[arg-type]
                )  # fmt: skip
                rewards = small.score(request.question, request.candidates, request.documents)
                gaps = [
                    abs(a - b)
                    for one, two in zip(rewards, exact, strict=True)
                    for a, b in zip(one.step_rewards, two.step_rewards, strict=True)
                ]
                found[name] = {"seconds": _seconds(small, request, model, settings.rounds), "gap": max(gaps)}
            except Exception as error:  # noqa: BLE001 - the other one is tried all the same
                found[name] = f"failed: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"
    return found


def _fp8() -> Any:
    """Weights in 8-bit floating point, converted back to 16 bits when they are used."""
    from torchao.quantization import Float8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Float8WeightOnlyConfig(set_inductor_config=False))


def _seconds(prm: MedPRM, request: Any, model: Any, rounds: int) -> float:
    times = []
    weight = next(model.parameters())
    for _ in range(rounds + 1):  # the first one warms up
        synchronize(weight)
        begun = time.perf_counter()
        prm.rank(request.question, request.candidates, request.documents)
        synchronize(weight)
        times.append(time.perf_counter() - begun)
    return median(times[1:])


def _quiet(_message: str) -> None:
    """The kit says which part runs, and no more."""
