"""A real OpenAI-compatible server around a model folder: transformers' own, in a separate process.

The examples sample from it over HTTP, as they would from any provider.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 300.0  # it imports much, and machines are slow at times
# sizes for the small policy
_BATCHING = ["--continuous-batching", "--attn-implementation", "sdpa"]
_BATCHING += ["--cb-block-size", "32", "--cb-num-blocks", "192", "--cb-max-batch-tokens", "1024"]


@contextmanager
def serve(folder: Path, threads: int = 1, batching: bool = False) -> Iterator[str]:
    """Serve a causal language model on this machine while the context lasts.

    Args:
        folder: An ordinary model folder with a chat template.
        threads: Threads that a matrix product uses. A small model is fastest with one.
        batching: Answer calls that come together side by side, which is faster for many samples of a small model.

    Yields:
        The base URL that OpenAI clients take, such as `http://127.0.0.1:8000/v1`. The model's name there is the folder.

    Raises:
        RuntimeError: The server did not start; the message has the last line it wrote.
    """
    print(f"starting a server for {folder.name}", file=sys.stderr, flush=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "transformers", "serve", folder, "--port", port, "--host", "127.0.0.1"]
    command += ["--device", "cpu", "--dtype", "float32", "--log-level", "error"]
    command += _BATCHING if batching else []
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen([*map(str, command)], env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not _answers(f"http://127.0.0.1:{port}/health"):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    lines = log.read().strip().splitlines() or ["nothing"]
                    raise RuntimeError(f"the server for {folder} did not start; the last it said is: {lines[-1]}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
