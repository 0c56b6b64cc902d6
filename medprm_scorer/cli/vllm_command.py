"""The command `medprm vllm-command`: prints the command that starts a vLLM server for a reward model."""

from importlib.resources import files
from typing import Annotated

import typer

from medprm_scorer.cli.help import unbroken
from medprm_scorer.cli.options import DEMO
from medprm_scorer.cli.terminal import say
from medprm_scorer.text.prompts import RELEASED_MODEL

_LOCAL = ("127.0.0.1", "localhost", "::1")


def vllm_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help=f"Hub id, folder or demo. Default: {unbroken(RELEASED_MODEL)}.", show_default=False
        ),
    ] = RELEASED_MODEL,
    endpoint: Annotated[
        str, typer.Option(help="generative_scoring, completions, classify or step_pooling.")
    ] = "generative_scoring",
    tensor_parallel: Annotated[int, typer.Option(min=1, max=1024, help="GPUs that share one copy's weights.")] = 1,
    pipeline_parallel: Annotated[int, typer.Option(min=1, max=1024, help="Stages that one copy is split into.")] = 1,
    data_parallel: Annotated[int, typer.Option(min=1, max=1024, help="Copies of the model, on all hosts.")] = 1,
    hosts: Annotated[int, typer.Option(min=1, max=1024, help="Machines; prints one line for each.")] = 1,
    head: Annotated[str, typer.Option(help="Address of the first host, for several hosts.")] = "HEAD_ADDRESS",
    max_model_len: Annotated[int, typer.Option(min=256, help="Longest prompt, in tokens, plus one.")] = 8192,
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
    host: Annotated[str, typer.Option(help="Address that the server listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = 8000,
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag of MODEL on the hub.")] = None,
    step_tag_id: Annotated[int, typer.Option(min=0, help="Id of the step tag, for step_pooling.")] = 128256,
) -> None:
    """Print the command that serves MODEL with vLLM.

    Pass the server's address to MedPRM.from_vllm, or to medprm rank and evaluate as --url.
    """
    from medprm_scorer.vllm.launch import Serving, command_lines

    serving = Serving(
        model=str(files("medprm_scorer") / "data" / "demo_model") if model == DEMO else model,
        endpoint=endpoint,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        data_parallel=data_parallel,
        hosts=hosts,
        head=head,
        max_model_len=max_model_len,
        dtype=dtype,
        host=host,
        port=port,
        step_tag_id=step_tag_id,
        revision=revision,
    )
    for line in command_lines(serving):
        typer.echo(line)
    if host not in _LOCAL:
        say("others can reach this server; its VLLM_API_KEY protects /v1 only (docs/vllm.md says what to do)")
