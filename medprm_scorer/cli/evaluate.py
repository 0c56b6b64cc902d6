"""The command `medprm evaluate`: its options, what it prints, and where it writes."""

from pathlib import Path
from typing import Annotated

import typer

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.cli.options import ModelOptions, takes_model
from medprm_scorer.cli.terminal import be_quiet, check_in, check_out, console, is_ascii_only, write_json
from medprm_scorer.errors import InputError

_MOST = 10_000  # candidates of one question


@takes_model
def evaluate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON list or JSONL with judged questions.")],
    n: Annotated[
        str | None, typer.Option("--n", help="Numbers of candidates. Default: 1,2,4,8 … and the most.")
    ] = None,
    aggregate: Annotated[
        str, typer.Option(help=f"One or more, with commas, or all; of: {', '.join(AGGREGATES)}.")
    ] = "min",
    official: Annotated[bool, typer.Option(help="Count the authors' own selection, too.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="OUT", help="Draw the curves: .png, .svg or .pdf.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, with texts of questions.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a page with tables, curves and texts of questions.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keeps computed rewards. Default: FILE.scores.jsonl.")
    ] = None,
    subsets: Annotated[int, typer.Option(min=1, max=100_000, help="Most subsets of n candidates per question.")] = 100,
    resamples: Annotated[int, typer.Option(min=1, max=1_000_000, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=2**32, help="Of subsets, bootstrap and test.")] = 0,
    *,
    which: ModelOptions,
) -> None:
    """Compare ways of choosing, on a file of sampled solutions.

    FILE is the released test set, or JSONL with one {"question": "...", "documents": ["..."], "candidates": ["..."],
    "correct_answer": "B", "data_source": "..."} per line. Rewards in the file are used; others are computed, and an
    interrupted run goes on where it stopped.
    """
    sizes = _numbers(n)
    check_in("evaluate", file)
    scores = scores or file.with_name(f"{file.name}.scores.jsonl")
    check_out("--scores", scores, file)
    check_out("--html", html, file, scores)
    check_out("--plot", plot, file, scores, *([html] if html else []))
    if plot is not None:
        from medprm_scorer.evaluation.plots import check_plot_path

        check_plot_path(plot)
    from medprm_scorer.evaluation.evaluate import Plan
    from medprm_scorer.evaluation.evaluate import evaluate as run
    from medprm_scorer.evaluation.table import Resampling

    aggregates = AGGREGATES if aggregate == "all" else tuple(name.strip() for name in aggregate.split(","))
    plan = Plan(sizes, aggregates, subsets, Resampling(resamples, seed=seed))

    be_quiet()
    found = run(
        file,
        which.load,
        plan=plan,
        model=which.model or which.url or "the demo model, which knows no medicine",
        journal=scores,
    )
    if json:
        write_json(found.model_dump_json(indent=2))
    else:
        from medprm_scorer.evaluation.report import to_rich

        screen = console()
        screen.print(to_rich(found, ascii_only=is_ascii_only(screen), official=official))
    if html is not None:
        from medprm_scorer.evaluation.page import to_html

        html.write_text(to_html(found), encoding="utf-8", errors="replace")
    if plot is not None:
        from medprm_scorer.evaluation.plots import save_scaling_plot

        save_scaling_plot(found, plot)


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError("--n takes whole numbers with commas between them, such as 1,2,4,8") from None
    if max(numbers) > _MOST:
        raise InputError(f"--n takes numbers up to {_MOST:,}")
    return numbers
