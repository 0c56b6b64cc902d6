"""The command `medprm`.

Exit status: 0; 1 if the work failed; 2 for bad usage or bad input; 130 if interrupted. Results go to stdout, all else
to stderr, and a failure is one line there. This module imports nothing heavy: the commands import what they need when
they run, so that `--help` answers at once.
"""

import io
import os
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.checks import check_choice
from medprm_scorer.errors import InputError, MedPRMError
from medprm_scorer.prompts import RELEASED_MODEL
from medprm_scorer.selection import STRATEGIES

if TYPE_CHECKING:
    from rich.console import Console

    from medprm_scorer.scorer import MedPRM

_MAX_COLUMNS = 110  # longer lines of prose are hard to read

# typer brings click along under a name that changes with its version
_UsageProblem: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

app = typer.Typer(
    help="Choose the best of several sampled medical answers, by step rewards from a Med-PRM reward model.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # typer's tracebacks can show local variables, and so a patient's text
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Args:
        arguments: What follows `medprm`; those of this process if None.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows `?`; it is no reason to fail
            stream.reconfigure(errors="replace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(given or ["--help"], prog_name="medprm", standalone_mode=False)
        sys.stdout.flush()
    except _UsageProblem as problem:
        return _fail(f"{problem.format_message()} See medprm --help.", status=2)  # type: ignore[attr-defined]
    except InputError as error:
        return _fail(str(error), status=2)
    except MedPRMError as error:
        return _fail(str(error), status=1)
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit would complain
        return 1
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or type(error).__name__}", status=1)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:  # noqa: BLE001 - a traceback could show a patient's text; where it broke does not
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}, line {where.lineno}"
        return _fail(f"a fault in medprm ({type(error).__name__} at {place}); please report it", status=1)
    return status if isinstance(status, int) else 0


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            number = metadata.version("medprm")
        except metadata.PackageNotFoundError:
            number = "(not installed: run from its sources)"
        typer.echo(f"medprm {number}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    del version  # dealt with by its callback


@app.command()
def demo() -> None:
    """Rank the shipped questions with the demo model.

    Offline and on the CPU: both come with the package.
    """
    from medprm_scorer.demo import run

    _be_quiet()
    console = _console()
    run(console, ascii_only=_is_ascii_only(console))


@app.command()
def rank(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="JSON file with one request; - for stdin.")],
    model: Annotated[
        str | None, typer.Option(help=f"Hub id or folder, such as {RELEASED_MODEL}. Default: the demo model.")
    ] = None,
    strategy: Annotated[str, typer.Option(help=f"One of: {', '.join(STRATEGIES)}.")] = "weighted_vote",
    aggregate: Annotated[
        str, typer.Option(help=f"Chain reward from step rewards, one of: {', '.join(AGGREGATES)}.")
    ] = "min",
    json: Annotated[bool, typer.Option("--json", help="Print the ranking as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the ranking as a page, too.")] = None,
    device: Annotated[str | None, typer.Option(help="Such as cpu or cuda:1. Default: the GPU if there is one.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16. Default: bfloat16 on a GPU.")] = None,
) -> None:
    """Rank the candidates of one request.

    A request is {"question": "...", "documents": ["..."], "candidates": ["...", "..."]}, or a record of the released
    test set. Each candidate is a chain of thought or a list of its steps.
    """
    check_choice(strategy, aggregate)
    from medprm_scorer.requests import read_request

    asked = read_request(request)
    if html is not None and not html.absolute().parent.is_dir():  # said before the model is loaded, not after
        raise InputError(f"cannot write {html}: its folder does not exist")
    if str(html) == "-":
        raise InputError("--html needs a file's name: standard output shows the ranking")
    prm = _load(model, device, dtype)
    ranking = prm.rank(
        asked.question, asked.candidates, asked.documents, strategy=strategy, aggregate=aggregate, id=asked.id
    )
    if json:
        text = _escape_controls(ranking.model_dump_json(indent=2))
        sys.stdout.buffer.write(text.encode() + b"\n")  # JSON is UTF-8 in any locale
        sys.stdout.buffer.flush()
    else:
        from medprm_scorer.report import to_rich

        console = _console()
        console.print(to_rich(ranking, ascii_only=_is_ascii_only(console)))
    if html is not None:
        html.write_text(ranking.to_html(), encoding="utf-8", errors="replace")


def _load(model: str | None, device: str | None, dtype: str | None) -> "MedPRM":
    if model is None:
        _say(f"demo model: knows no medicine; for real questions pass --model {RELEASED_MODEL}")
    _be_quiet()
    if sys.stderr.isatty():
        _say("loading the model")
    from medprm_scorer.scorer import MedPRM

    return MedPRM.from_pretrained(model, device=device, dtype=dtype)


def _be_quiet() -> None:
    """Silence advice that other libraries print for their own users; errors still come as exceptions."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if not sys.stderr.isatty():  # a person waiting for 16 GB wants to see them come
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from transformers.utils import logging

    logging.disable_progress_bar()


def _escape_controls(text: str) -> str:
    """The same JSON, with what could steer a terminal as `\\uXXXX`; outside ASCII, JSON has nothing but strings."""
    from medprm_scorer.report import clean_text

    return re.sub(
        r"[^\x00-\x7e]", lambda found: found[0] if clean_text(found[0]) == found[0] else f"\\u{ord(found[0]):04x}", text
    )


def _console() -> "Console":
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, _MAX_COLUMNS)
    return console


def _is_ascii_only(console: "Console") -> bool:
    return not console.encoding.lower().startswith("utf")


def _say(message: str) -> None:
    from medprm_scorer.report import clean_text

    typer.echo(f"medprm: {clean_text(message, newlines=False)}", err=True)


def _fail(message: str, status: int) -> int:
    _say(f"error: {message}")
    return status
