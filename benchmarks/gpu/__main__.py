"""The kit for a machine with an NVIDIA GPU, made for ten minutes on an H100 (`make test-gpu`).

    python -m benchmarks.gpu [--json gpu.json]                  # resumes a run that was stopped
    python -m benchmarks.gpu --device cpu --tiny --json x.json  # whether the kit itself works, without a GPU

Every part runs in a separate process with a time limit, so none can affect another, and its figures are written when it
is done. The exit status is 1 if rewards were wrong, and else 0, even where a part could not run.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import agreement, served, speed
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.table import to_markdown
from medprm_scorer.cli.terminal import be_quiet


def machine(settings: Settings) -> dict[str, Any]:
    """The machine of the measurements."""
    found: dict[str, Any] = {"torch": torch.__version__, "device": settings.device, "dtype": settings.dtype}
    if settings.on.type == "cuda":
        properties = torch.cuda.get_device_properties(settings.on)
        found["device"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        found["capability"] = f"{properties.major}.{properties.minor}"
    return found


def tests(settings: Settings) -> dict[str, Any]:
    """The tests that need a GPU."""
    if settings.on.type != "cuda":
        return {"skipped": "no GPU"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/local", "-m", "gpu", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
    )
    last = (run.stdout.strip().splitlines() or [""])[-1]
    return {"pytest -m gpu": last, "wrong": ["pytest -m gpu"] if run.returncode else []}


PARTS: dict[str, tuple[Callable[[Settings], dict[str, Any]], int]] = {
    "machine": (machine, 60),
    "agreement": (agreement.agreement, 120),
    "one_question": (speed.one_question, 240),
    "compilations": (agreement.compilations, 120),
    "ways": (speed.ways, 90),
    "scarce_memory": (agreement.scarce_memory, 60),
    "packed": (speed.packed, 120),
    "quantized": (speed.quantized, 120),
    "tests": (tests, 90),
    "vllm": (served.vllm, 360),
}
"""Each part and its limit in seconds, the most wanted ones first."""


def main(given: list[str] | None = None) -> int:
    """Run what is not yet in the JSON, and print the table."""
    parser = argparse.ArgumentParser(description="Check and time the scorer on an NVIDIA GPU.")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="figures so far, and where to write them")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes: to try the kit itself")
    parser.add_argument(
        "--minutes", type=float, default=10, help="start nothing after that: call it again for the rest"
    )
    parser.add_argument("--part", choices=PARTS, help="run one part in this process, and print its figures as JSON")
    parser.add_argument("--in-process", action="store_true", help="all parts in this process, without limits of time")
    options = parser.parse_args(given)
    settings = Settings(options.device, options.tiny)
    if settings.on.type == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here: try --device cpu --tiny", file=sys.stderr)
        return 2
    be_quiet()
    if options.part:
        print(json.dumps(PARTS[options.part][0](settings)))
        return 0
    found = _earlier(options.json, settings)
    end = time.monotonic() + 60 * options.minutes
    for name in PARTS:
        if "error" not in found["parts"].get(name, {"error": ""}):
            continue
        print(f"{name} ...", file=sys.stderr)
        begun = time.monotonic()
        if begun >= end:
            part: dict[str, Any] = {"error": "no time was left: call it again"}
        else:
            part = _here(name, settings) if options.in_process else _apart(name, settings, end - begun)
        found["parts"][name] = part | {"seconds": round(time.monotonic() - begun, 1)}
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    print(to_markdown(found))
    return 1 if any(part.get("wrong") for part in found["parts"].values()) else 0


def _earlier(file: Path, settings: Settings) -> dict[str, Any]:
    """The figures of an earlier run with the same settings, or none."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if found["settings"] == settings.named() and isinstance(found["parts"], dict):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"settings": settings.named(), "parts": {}}


def _here(name: str, settings: Settings) -> dict[str, Any]:
    try:
        return PARTS[name][0](settings)
    except Exception as error:  # noqa: BLE001 - the other parts run all the same
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def _apart(name: str, settings: Settings, left: float = 3600) -> dict[str, Any]:
    limit = min(PARTS[name][1], left)
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--device", settings.device]
    command += ["--tiny"] if settings.tiny else []
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        if run.returncode:
            return {"error": run.stderr.strip()[-500:] or f"exit status {run.returncode}"}
        part: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {limit:.0f} s"}
    except (OSError, ValueError, IndexError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return part


if __name__ == "__main__":
    sys.exit(main())
