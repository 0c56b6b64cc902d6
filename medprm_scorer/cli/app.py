"""The command `medprm`.

Exit status: 0; 1 if the work failed; 2 for bad usage or bad input; 130 if interrupted. Results go to stdout and
everything else to stderr, where a failure is one line. This module imports nothing heavy: the commands import what they
need when they run, so that `--help` answers at once.
"""

import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medprm_scorer.cli.bench import bench
from medprm_scorer.cli.calibrate import calibrate
from medprm_scorer.cli.evaluate import evaluate
from medprm_scorer.cli.explain import explain
from medprm_scorer.cli.help import WholeNames
from medprm_scorer.cli.options import Aggregate, ModelOptions, Strategy, takes_model
from medprm_scorer.cli.score import score
from medprm_scorer.cli.search import search
from medprm_scorer.cli.terminal import be_quiet, check_out, console, is_ascii_only, say, write_json, write_page
from medprm_scorer.cli.vllm_command import vllm_command
from medprm_scorer.errors import InputError, MedPRMError
from medprm_scorer.selection import check_settings

if TYPE_CHECKING:
    from medprm_scorer.trust.trust import Trust

# typer bundles click, under a name that depends on typer's version
_UsageProblem: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

_INTERRUPTED = 130  # the exit status of a program ended by SIGINT

app = typer.Typer(
    help="Choose the best of several sampled medical answers, by step rewards from a Med-PRM reward model.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # typer's tracebacks can show local variables, and so a patient's text
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Args:
        arguments: The arguments after `medprm`; None for those of this process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal lacks is shown as `?`, not an error
            stream.reconfigure(errors="replace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(given or ["--help"], prog_name="medprm", standalone_mode=False)
        sys.stdout.flush()
    except _UsageProblem as problem:
        where = getattr(getattr(problem, "ctx", None), "command_path", "medprm")
        said = problem.format_message().rstrip(".")  # type: ignore[attr-defined]
        return _fail(f"{said}. See {where} --help.", status=2)
    except InputError as error:
        return _fail(str(error), status=2)
    except MedPRMError as error:
        return _fail(str(error), status=1)
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the flush at exit would fail
        return 1
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or type(error).__name__}", status=1)
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a traceback could show a patient's text; its place cannot
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}, line {where.lineno}"
        return _fail(f"a bug in medprm ({type(error).__name__} at {place}); please report it", status=1)
    if status == _INTERRUPTED:  # typer may return it, or raise
        resumes = given[:1] in (["score"], ["evaluate"], ["calibrate"])
        say("stopped; run the same command again to resume" if resumes else "stopped")
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
    del version  # its callback has handled it


app.command(cls=WholeNames)(explain)
app.command(cls=WholeNames)(score)
app.command(cls=WholeNames)(search)
app.command(cls=WholeNames)(evaluate)
app.command(cls=WholeNames)(calibrate)
app.command(cls=WholeNames)(vllm_command)
app.command(cls=WholeNames)(bench)


@app.command()
def demo() -> None:
    """Rank the shipped questions with the demo model.

    It runs offline and on the CPU: the questions and the model come with the package.
    """
    from medprm_scorer.cli.demo import run

    be_quiet()
    screen = console()
    run(screen, ascii_only=is_ascii_only(screen))


@app.command(cls=WholeNames)
@takes_model
def rank(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="JSON file with one request; - for stdin.")],
    strategy: Strategy = "weighted_vote",
    aggregate: Aggregate = "min",
    json: Annotated[bool, typer.Option("--json", help="Print the ranking as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Also write the ranking as a page.")] = None,
    trust: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Say whether to trust the answer, as medprm calibrate found.")
    ] = None,
    *,
    which: ModelOptions,
) -> None:
    """Rank the candidates of one request.

    A request is {"question": "...", "documents": ["..."], "candidates": ["...", "..."]}, or a record of the released
    test set. Each candidate is a chain of thought or a list of its steps.
    """
    check_settings(strategy, aggregate)
    from medprm_scorer.results.request_parsing import read_request

    asked = read_request(request)
    check_out("--html", html)
    judge = {} if trust is None else {"trust": _trust(trust)}
    prm = which.load()
    (ranking,) = prm.rank_batch([asked], strategy=strategy, aggregate=aggregate, **judge)  # type: ignore[arg-type]
    if isinstance(ranking, MedPRMError):
        raise ranking
    if json:
        write_json(ranking.model_dump_json(indent=2))
    else:
        from medprm_scorer.results.terminal import to_rich

        screen = console()
        screen.print(to_rich(ranking, ascii_only=is_ascii_only(screen)))
    if html is not None:
        write_page(html, ranking.to_html(asked.documents))


def _trust(file: Path) -> "Trust":
    """The calibration. It is read before a model is loaded."""
    from medprm_scorer.trust.trust import Trust

    return Trust.load(file)


def _fail(message: str, status: int) -> int:
    say(f"error: {message}")
    return status
