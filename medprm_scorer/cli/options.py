"""Options that several commands share: which model, where and how it runs, and how the winner is chosen.

A command that needs a model takes one parameter of type `ModelOptions`, and `takes_model` adds the options.
"""

import functools
import inspect
import ssl
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.cli.help import unbroken
from medprm_scorer.cli.terminal import be_quiet, say
from medprm_scorer.errors import InputError
from medprm_scorer.selection import STRATEGIES
from medprm_scorer.text.prompts import RELEASED_MODEL, SYSTEMS
from medprm_scorer.text.steps import SPLIT_RULES
from medprm_scorer.vllm.client import ClientConfig

if TYPE_CHECKING:
    from medprm_scorer.scorer import MedPRM

Strategy = Annotated[str, typer.Option(help=f"One of: {', '.join(STRATEGIES)}.")]
Aggregate = Annotated[str, typer.Option(help=f"Chain reward from step rewards, one of: {', '.join(AGGREGATES)}.")]
_LIMITS = ("retry_for", "timeout", "concurrency")
_OF_A_SERVER = ("tokenizer", *_LIMITS, "ca_file")
DEMO = "demo"
"""The value of `--model` for the model inside this package, which knows no medicine."""

Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:1. Default: the GPU if there is one.")]


@dataclass(frozen=True)
class ModelOptions:
    """The options for a model or a server; the first two say which one, the others how it is used."""

    model: Annotated[
        str | None,
        typer.Option(
            help=f"Hub id or folder, such as {unbroken(RELEASED_MODEL)}; demo: the small model inside this package."
        ),
    ] = None
    url: Annotated[
        str | None, typer.Option(help="A vLLM server instead of --model, such as http://127.0.0.1:8000.")
    ] = None
    tokenizer: Annotated[
        str | None, typer.Option(help="With --url: hub id or folder of the tokenizer. Default: the server's own.")
    ] = None
    retry_for: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help=f"With --url: how long an unreachable server is retried. Default: {ClientConfig.retry_for:g}.",
        ),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help=f"With --url: time limit of one request. Default: {ClientConfig.timeout:g}."
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help=f"With --url: most simultaneous requests. Default: {ClientConfig.concurrency}."
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --url: PEM file of the authorities that https trusts. Default: the public ones."
        ),
    ] = None
    device: Device = None
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16. Default: bfloat16 on a GPU.")] = None
    quantization: Annotated[str | None, typer.Option(help="int8 or int4: less memory, different rewards.")] = None
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of --model on the hub.")] = None
    max_batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens in a pass: fewer take less memory. Default: by free memory.")
    ] = None
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="Rewards do not depend on what else is scored; slower.")
    ] = None
    system: Annotated[
        str | None,
        typer.Option(help=f"System prompt, one of: {', '.join(SYSTEMS)}. Default: as the model was trained."),
    ] = None
    steps: Annotated[
        str | None, typer.Option(help=f"How a text is split into steps, one of: {', '.join(SPLIT_RULES)}.")
    ] = None

    @property
    def named(self) -> str | None:
        """The model or server that was named."""
        return self.model or self.url

    def require(self, command: str) -> None:
        """Refuse to continue if no model was chosen.

        Raises:
            InputError: Neither a model nor a server was named.
        """
        if self.named is None:
            raise InputError(f"{command} needs --model {RELEASED_MODEL}, a folder, demo, or --url")

    def refuse_unused(self) -> None:
        """Refuse options for a model when none is named: they would have no effect.

        Raises:
            InputError: One was given.
        """
        given = [name for name, value in asdict(self).items() if value is not None]
        if self.named is None and given:
            raise InputError(f"--{given[0].replace('_', '-')} changes nothing without --model or --url")

    def load(self) -> "MedPRM":
        """Load the model, or connect to the server; the demo model if none is named.

        Raises:
            InputError: Options for a model in this process and for a server were given together, or one of a server
                cannot be used.
        """
        if self.url is None:
            for name in self._given(*_OF_A_SERVER):
                raise InputError(f"--{name.replace('_', '-')} goes with --url")
        prompt = self._given("system", "steps")
        elsewhere = ("url", "system", "steps", *_OF_A_SERVER)
        local = {name: value for name, value in asdict(self).items() if name not in elsewhere}
        given = [name.replace("_", "-") for name, value in local.items() if value is not None]
        if self.url is not None and given:
            raise InputError(f"--url takes no --{given[0]}: the server has its own")
        local["deterministic"] = bool(self.deterministic)
        if self.model == DEMO:
            local["model"] = None
        if local["model"] is None and self.url is None:
            say(f"demo model: knows no medicine; for real questions pass --model {RELEASED_MODEL}")
        be_quiet()
        if self.url is not None:
            server = self._given("tokenizer", *_LIMITS)
            if self.ca_file is not None:
                server["verify"] = _trusting(self.ca_file)
                if not self.url.lower().startswith("https:"):
                    raise InputError("--ca-file goes with a --url that begins with https")
            seconds = ClientConfig(**self._given(*_LIMITS)).retry_for
            say(f"asking {self.url}; an unreachable server is retried for {seconds:g} s")
        elif sys.stderr.isatty():
            say("loading the model")
        from medprm_scorer.scorer import MedPRM

        if self.url is not None:
            return MedPRM.from_vllm(self.url, **server, **prompt)
        return MedPRM.from_pretrained(local.pop("model"), **local, **prompt)

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def _trusting(file: Path) -> ssl.SSLContext:
    """What checks a server's certificate by the authorities in a PEM file alone.

    Raises:
        InputError: The file cannot be read, or holds none.
    """
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise InputError(f"--ca-file {file} holds no certificate in PEM form that can be read") from None
    except OSError as error:  # it names a file only if that is SSLKEYLOGFILE's, which is opened too
        raise InputError(f"cannot open {error.filename or f'--ca-file {file}'}: {error.strerror}") from None


def takes_model(command: Callable[..., Any]) -> Callable[..., Any]:
    """Replace a command's parameter of type `ModelOptions` by the options themselves."""
    options = get_type_hints(ModelOptions, include_extras=True)
    own = get_type_hints(command, include_extras=True)
    place = next(name for name, kind in own.items() if kind is ModelOptions)

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        return command(**{place: ModelOptions(**{name: given.pop(name) for name in options})}, **given)

    parameters = [one for name, one in inspect.signature(command).parameters.items() if name != place]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in options.items()
    ]
    # typer reads both
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {name: kind for name, kind in own.items() if name != place} | options
    del run.__wrapped__  # otherwise typer would read the wrapped function's
    return run
