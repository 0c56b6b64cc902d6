"""Options that several commands have: which model, where and in what, and how to choose."""

from typing import Annotated

import typer

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.prompts import RELEASED_MODEL
from medprm_scorer.selection import STRATEGIES

ModelName = Annotated[
    str | None, typer.Option(help=f"Hub id or folder, such as {RELEASED_MODEL}. Default: the demo model.")
]
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:1. Default: the GPU if there is one.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16. Default: bfloat16 on a GPU.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of --model on the hub.")]
MaxBatchTokens = Annotated[
    int | None, typer.Option(min=1, help="Most tokens in one pass: less takes less memory. Default: by what is free.")
]
Quantization = Annotated[str | None, typer.Option(help="int8 or int4: smaller weights, other rewards.")]
Url = Annotated[str | None, typer.Option(help="A vLLM server instead of --model, such as http://127.0.0.1:8000.")]
Tokenizer = Annotated[
    str | None, typer.Option(help="With --url: hub id or folder of the tokenizer. Default: the server's own.")
]
Strategy = Annotated[str, typer.Option(help=f"One of: {', '.join(STRATEGIES)}.")]
Aggregate = Annotated[str, typer.Option(help=f"Chain reward from step rewards, one of: {', '.join(AGGREGATES)}.")]
