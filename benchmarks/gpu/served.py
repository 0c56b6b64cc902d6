"""The part of the kit that compares with a local vLLM server on the same device, by the endpoint that suits it best."""

import gc
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoTokenizer

from benchmarks.gpu.agreement import LARGEST
from benchmarks.gpu.settings import Settings
from benchmarks.vllm_server import vllm_python, vllm_server
from medprm_scorer import MedPRM
from medprm_scorer.cli.benchmark.workload import Requests, make_model, make_scorer
from medprm_scorer.local.loading import DEMO_MODEL
from medprm_scorer.results.models import RankRequest

_START_SECONDS = 120
_ON_A_GPU = ("--gpu-memory-utilization", "0.8")


def vllm(settings: Settings) -> dict[str, Any]:
    """Rewards of two layers of the whole width, and seconds a question of the whole shape, ours and vLLM's.

    Every question is new, so that no cache of earlier ones helps. vLLM loads our weights from the disk: with those that
    it makes up itself, all rewards are equal, and such a server is refused. It runs without CUDA graphs, which prompts
    of this length do not need.
    """
    if vllm_python() is None:
        return {"skipped": "no vLLM: name the Python that has it in MEDPRM_VLLM_PYTHON"}
    found: dict[str, Any] = {"wrong": []}
    with tempfile.TemporaryDirectory() as folder:
        rewards, _, requests = _ours(settings, settings.narrow, 1, Path(folder))
        with _server(settings, Path(folder)) as url:
            theirs = MedPRM.from_vllm(url, tokenizer=folder)
            found["gap"] = max(
                abs(a - b)
                for one, two in zip(rewards[0], _rewards(theirs, requests[0]), strict=True)
                for a, b in zip(one, two, strict=True)
            )
    if not found["gap"] <= LARGEST[settings.dtype]:
        found["wrong"].append("rewards against vLLM's")
    with tempfile.TemporaryDirectory() as folder:
        _, found["ours seconds"], requests = _ours(settings, settings.shape, settings.rounds + 1, Path(folder))
        with _server(settings, Path(folder)) as url:
            theirs = MedPRM.from_vllm(url, tokenizer=folder)
            found["vLLM seconds"] = _timed(theirs, requests)[1]
    return found


def _ours(
    settings: Settings, shape: str, questions: int, folder: Path
) -> tuple[list[list[list[float]]], float, list[RankRequest]]:
    """Our rewards by question, chain and step, the median seconds, and the questions; the folder gets the model."""
    model = make_model(shape, settings.on, getattr(torch, settings.dtype))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(DEMO_MODEL, use_fast=True, local_files_only=True).save_pretrained(folder)
    prm = make_scorer(model)
    maker = Requests(prm, 0, settings.document_tokens)
    requests = [maker.make(settings.candidates[-2]) for _ in range(questions)]
    rewards, seconds = _timed(prm, requests)
    del model, prm, maker
    gc.collect()
    if settings.on.type == "cuda":
        torch.cuda.empty_cache()  # for the server
    return rewards, seconds, requests


def _timed(prm: MedPRM, requests: Sequence[RankRequest]) -> tuple[list[list[list[float]]], float]:
    """Rewards, and the median of the seconds of all questions but the first, which warms up."""
    rewards, seconds = [], []
    for request in requests:
        begun = time.perf_counter()
        rewards.append(_rewards(prm, request))  # numbers of the host: the device is done
        seconds.append(time.perf_counter() - begun)
    return rewards, median(seconds[1:] or seconds)


def _rewards(prm: MedPRM, request: RankRequest) -> list[list[float]]:
    scored = prm.score(request.question, request.candidates, request.documents)
    return [list(chain.step_rewards) for chain in scored]


def _server(settings: Settings, folder: Path) -> AbstractContextManager[str]:
    return vllm_server(
        folder, "generative_scoring", 0, settings.dtype, folder / "log",
        options=_ON_A_GPU if settings.on.type == "cuda" else (),
        start_seconds=_START_SECONDS if settings.on.type == "cuda" else 900,
    )  # fmt: skip
