"""A vLLM server in a separate environment, for the duration of a `with` block: for tests and measurements."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from medprm_scorer.vllm.launch import Serving, server_options

START_SECONDS = 900  # 75 to 110 on two idle cores
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def vllm_python() -> str | None:
    """The Python that has vLLM: the environment's MEDPRM_VLLM_PYTHON, or this one; None if there is none."""
    return os.environ.get("MEDPRM_VLLM_PYTHON") or (sys.executable if find_spec("vllm") else None)


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def vllm_server(
    folder: Path,
    endpoint: str,
    tag_id: int,
    dtype: str,
    log: Path,
    options: Sequence[str] = (),
    start_seconds: float = START_SECONDS,
) -> Iterator[str]:
    """A server with the options that `medprm vllm-command` prints; gives its URL, and ends it with the block.

    Args:
        folder: The model.
        endpoint: What the server is for; see `Serving`.
        tag_id: Id of the step tag.
        dtype: Such as `bfloat16`.
        log: File for what the server says.
        options: More options.
        start_seconds: How long it may take to start.

    Raises:
        RuntimeError: There is no vLLM, or the server does not start: with the end of what it said.
    """
    python = vllm_python()
    if python is None:
        raise RuntimeError("there is no vLLM: name the Python that has it in MEDPRM_VLLM_PYTHON")
    serving = Serving(str(folder), endpoint=endpoint, dtype=dtype, port=free_port(), step_tag_id=tag_id)
    # `vllm serve` itself looks for the metadata of a package named vllm, and the CPU build has another name
    command = ["nice", "-n", "10", python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += [*server_options(serving), "--enforce-eager", *options]
    if serving.endpoint != "step_pooling":
        command += ["--block-size", "32"]  # what is cached is cached in blocks, of 128 tokens on a CPU if left alone
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **quiet},
            preexec_fn=lambda: ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGTERM),
        )  # fmt: skip
    url = f"http://127.0.0.1:{serving.port}"
    try:
        end = time.monotonic() + start_seconds
        while not is_up(url):
            if server.poll() is not None or time.monotonic() >= end:
                raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')[-4000:]}")
            time.sleep(1)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def is_up(url: str) -> bool:
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
