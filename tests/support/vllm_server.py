"""A real vLLM server on the CPU, in an environment of its own, for the tests that `make test-vllm` runs."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medprm_scorer.vllm.launch import Serving, server_options

START_SECONDS = 900  # 75 to 110 on two idle cores


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def vllm_server(folder: Path, endpoint: str, tag_id: int, dtype: str, log: Path) -> Iterator[str]:
    """A server with the options that `medprm vllm-command` prints; gives its URL, and ends it with the block."""
    serving = Serving(str(folder), endpoint=endpoint, dtype=dtype, port=free_port(), step_tag_id=tag_id)
    python = os.environ["MEDPRM_VLLM_PYTHON"]
    # `vllm serve` itself looks for the metadata of a package named vllm, and the CPU build has another name
    command = ["nice", "-n", "10", python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += [*server_options(serving), "--enforce-eager"]
    if serving.endpoint != "step_pooling":
        command += ["--block-size", "32"]  # what is cached is cached in blocks, of 128 tokens on a CPU if left alone
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **quiet}
        )
    url = f"http://127.0.0.1:{serving.port}"
    try:
        end = time.monotonic() + START_SECONDS
        while not is_up(url):
            assert server.poll() is None, log.read_text(errors="replace")[-4000:]
            assert time.monotonic() < end, log.read_text(errors="replace")[-4000:]
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
