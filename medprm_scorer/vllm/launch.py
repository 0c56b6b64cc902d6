"""The `vllm serve` command for a reward model: the settings that make a server's rewards right, and its size.

Written for vLLM 0.32, from its source. A server with another head or another logprobs mode silently gives different
numbers. The tests against a real server start it with these options.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from medprm_scorer.engine import Dtype
from medprm_scorer.errors import InputError, check_choice
from medprm_scorer.vllm.endpoints import endpoint_named

_RPC_PORT = 13345

# The tokens (not the texts) of " -" and " +", in the order that vLLM expects: negative, positive.
_HEAD = {
    "architectures": ["LlamaForSequenceClassification"],
    "classifier_from_token": ["Ġ-", "Ġ+"],
    "method": "from_2_way_softmax",
}
_CLASSIFY = {"task": "classify", "pooling_type": "LAST"}


@dataclass(frozen=True)
class Serving:
    """How a model is to be served.

    Args:
        model: Hub id or folder.
        endpoint: The endpoint that the server is for, one of `endpoints.ENDPOINTS`.
        tensor_parallel: GPUs that share the weights of one copy.
        pipeline_parallel: Stages into which one copy is split.
        data_parallel: Copies of the model, on all hosts together.
        hosts: Number of machines.
        head: Address of the first machine.
        max_model_len: Longest prompt plus one, in tokens.
        dtype: `bfloat16`, `float16` or `float32`.
        host: Address on which the server listens.
        port: Its port.
        step_tag_id: Id of the step tag, which STEP pooling needs.
        revision: Commit, branch or tag of the model on the hub.

    Raises:
        InputError: An option is unknown, or the copies cannot be spread over the hosts.
    """

    model: str
    endpoint: str = "generative_scoring"
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    hosts: int = 1
    head: str = "HEAD_ADDRESS"
    max_model_len: int = 8192
    dtype: str = "bfloat16"
    host: str = "127.0.0.1"
    port: int = 8000
    step_tag_id: int = 128256
    revision: str | None = None

    def __post_init__(self) -> None:
        endpoint_named(self.endpoint)
        if not self.model or self.model.startswith("-"):
            raise InputError("the model must be a hub id or a folder")
        check_choice("dtype", self.dtype, get_args(Dtype))
        copies, parts = self.data_parallel, self.tensor_parallel * self.pipeline_parallel
        if self.hosts > 1 and copies > 1 and copies % self.hosts:
            raise InputError(f"{copies} copies cannot be spread evenly over {self.hosts} hosts")
        if self.hosts > 1 and copies == 1 and parts % self.hosts:
            raise InputError(
                f"one copy on {self.hosts} hosts needs --tensor-parallel times --pipeline-parallel to be a multiple of "
                f"{self.hosts}, such as --pipeline-parallel {self.hosts}"
            )


def server_options(serving: Serving) -> list[str]:
    """The options after `vllm serve MODEL` on one host, without the options for several hosts.

    Example:
        >>> server_options(Serving("some/model"))[:4]
        ['--dtype', 'bfloat16', '--max-model-len', '8192']
    """
    options = ["--dtype", serving.dtype, "--max-model-len", str(serving.max_model_len)]
    options += ["--host", serving.host, "--port", str(serving.port)]
    if serving.revision is not None:
        options += ["--revision", serving.revision]
    if serving.endpoint in ("classify", "step_pooling"):
        options += ["--runner", "pooling", "--hf-overrides", _json(_HEAD)]
        step = {"task": "token_classify", "pooling_type": "STEP", "step_tag_id": serving.step_tag_id}
        options += ["--pooler-config", _json(_CLASSIFY if serving.endpoint == "classify" else step)]
    else:
        # /v1/completions needs this to give the labels' own probabilities; /generative_scoring works either way
        options += ["--logprobs-mode", "processed_logprobs"]
    if serving.endpoint != "step_pooling":
        options.append("--enable-prefix-caching")
    for name in ("tensor_parallel", "pipeline_parallel"):
        if (count := getattr(serving, name)) > 1:
            options += [f"--{name.replace('_', '-')}-size", str(count)]
    if serving.data_parallel > 1:
        options += ["--data-parallel-size", str(serving.data_parallel)]
    return options


def command_lines(serving: Serving) -> list[str]:
    """The shell commands to type, one for each host; with several hosts, each follows a comment that names the host.

    Example:
        >>> print(*command_lines(Serving("some/model", endpoint="completions")))
        vllm serve some/model --dtype bfloat16 --max-model-len 8192 --host 127.0.0.1 --port 8000 --logprobs-mode \
processed_logprobs --enable-prefix-caching
    """
    start = ["vllm", "serve", serving.model, *server_options(serving)]
    if serving.hosts == 1:
        return [shlex.join(start)]
    lines = []
    for rank in range(serving.hosts):
        lines.append(f"# on host {rank}{' (the head, which answers requests)' if rank == 0 else ''}")
        lines.append(shlex.join([*start, *_host_options(serving, rank)]))
    return lines


def _host_options(serving: Serving, rank: int) -> Sequence[str]:
    if serving.data_parallel > 1:  # whole copies on each host, with one front end
        local = serving.data_parallel // serving.hosts
        where = ["--data-parallel-size-local", str(local), "--data-parallel-address", serving.head]
        where += ["--data-parallel-rpc-port", str(_RPC_PORT)]
        return where if rank == 0 else [*where, "--headless", "--data-parallel-start-rank", str(rank * local)]
    where = ["--nnodes", str(serving.hosts), "--node-rank", str(rank), "--master-addr", serving.head]
    return where if rank == 0 else [*where, "--headless"]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
