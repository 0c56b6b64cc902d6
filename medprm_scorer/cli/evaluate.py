"""The command `medprm evaluate`: its options, what it prints, and where it writes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.cli.options import ModelOptions, takes_model
from medprm_scorer.cli.terminal import be_quiet, check_in, check_out, console, is_ascii_only, write_json, write_page
from medprm_scorer.errors import InputError
from medprm_scorer.sampling.stopping import Rule, parse_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from medprm_scorer.evaluation.sheets import Report

_MOST = 10_000  # candidates of one question
_SUBSETS = 100
_RULES = "agree=2,agree=3,agree=5,confident=0.8,confident=0.85,confident=0.9,confident=0.95,confident=0.99"


@takes_model
def evaluate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON or JSONL of questions with known answers.")],
    n: Annotated[
        str | None, typer.Option("--n", help="Numbers of candidates. Default: 1,2,4,8 ... up to the largest.")
    ] = None,
    aggregate: Annotated[
        str, typer.Option(help=f"One or more, with commas, or all; of: {', '.join(AGGREGATES)}.")
    ] = "min",
    no_rewards: Annotated[
        bool, typer.Option("--no-rewards", help="Only single sample, majority vote, oracle.")
    ] = False,
    rescore: Annotated[bool, typer.Option("--rescore", help="Have --model score a file that holds rewards.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="The paper's seven benchmarks, with its figures.")] = False,
    official: Annotated[bool, typer.Option(help="Also count the authors' own selection.")] = False,
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME=GLOB", help="Pool data sources; may be given several times.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only these data sources; may be given several times.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only so many questions, from the start.")] = None,
    candidates: Annotated[int | None, typer.Option(min=1, help="Use only so many candidates of each question.")] = None,
    stop: Annotated[
        str | None,
        typer.Option(
            metavar="RULES", help="Simulate stopping rules: all, or e.g. confident=0.9,confident=0.95,agree=3."
        ),
    ] = None,
    step_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="LABELS",
            help="Compare step rewards with a label for each step (1, 0, null) in LABELS: a file with step_labels by "
            "id, or FILE itself. (Not to be confused with --steps, the rule that splits texts.)",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --step-labels: a reward below it is a wrong step. Default: 0.5."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="B", help="Compare with another run on the same questions, with rewards in its file."),
    ] = None,
    against_aggregate: Annotated[
        str | None,
        typer.Option(
            metavar="AGGREGATES", help="Aggregates of B. Default: as --aggregate. Without --against, B is FILE itself."
        ),
    ] = None,
    documents: Annotated[
        str, typer.Option(help="What the model reads: given, none, or shuffled (another question's).")
    ] = "given",
    plot: Annotated[Path | None, typer.Option(metavar="OUT", help="Draw the curves: .png, .svg or .pdf.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, with texts of questions.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a page with tables, curves and texts of questions.")
    ] = None,
    per_question: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a row per question: .jsonl or .parquet.")
    ] = None,
    scored: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the questions and rewards, as in the released test set.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Stores computed rewards. Default: FILE.rewards.sqlite3.")
    ] = None,
    subsets: Annotated[
        int, typer.Option(min=1, max=100_000, help="Largest number of subsets of n candidates per question.")
    ] = _SUBSETS,
    resamples: Annotated[int, typer.Option(min=1, max=1_000_000, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=2**32, help="Seed for subsets, bootstrap, test and shuffling.")] = 0,
    *,
    which: ModelOptions,
) -> None:
    """Compare selection methods on a file of sampled solutions.

    FILE is the released test set, or JSONL with one {"question": "...", "documents": ["..."], "candidates": ["..."],
    "correct_answer": "B", "data_source": "..."} per line, or the output of medprm score. Rewards in the file are used.
    A file without them needs --model or --url, which compute them (an interrupted run resumes with the same command),
    or --no-rewards.

    With --step-labels, step rewards are evaluated instead; with --against or --against-aggregate, the difference
    between two runs.
    """
    sizes, rules = _numbers(n), _rules(stop)
    which.refuse_unused()
    others: dict[str, object] = {
        "--n": n,
        "--paper": paper,
        "--official": official,
        "--stop": stop,
        "--plot": plot,
        "--per-question": per_question,
        "--scored": scored,
        "--subsets": subsets != _SUBSETS,
    }
    compared = against or (file if against_aggregate is not None else None)
    if step_labels is not None:
        more = {"--against": compared, "--no-rewards": no_rewards, "--aggregate": aggregate != "min"}
        _refuse("--step-labels", others | more)
    elif threshold is not None:
        raise InputError("--threshold goes with --step-labels")
    elif compared is not None:
        _refuse("--against", others)
    if rescore and which.named is None:
        raise InputError("--rescore needs --model or --url, to score the file again")
    for read in (file, step_labels, compared):
        if read is not None:
            check_in("evaluate", read)
    journal = journal or file.with_name(f"{file.name}.rewards.sqlite3")
    outputs = {"--journal": journal, "--html": html, "--plot": plot, "--per-question": per_question, "--scored": scored}
    taken = [read for read in (file, step_labels, compared) if read is not None]
    for option, out in outputs.items():
        check_out(option, out, *taken)
        taken += [out] if out is not None else []
    if plot is not None:
        from medprm_scorer.evaluation.plots import check_plot_path

        check_plot_path(plot)
    from medprm_scorer.evaluation.evaluate import Plan
    from medprm_scorer.evaluation.evaluate import evaluate as run
    from medprm_scorer.evaluation.questions import Selection
    from medprm_scorer.evaluation.table import Resampling

    selection = Selection(tuple(source or ()), limit, candidates, documents, seed)  # type: ignore[arg-type]
    how, groups = Resampling(resamples, seed=seed), [_group(text) for text in group or ()]
    load = which.load if which.named else None
    shared: dict[str, Any] = {
        "selection": selection,
        "groups": groups,
        "rescore": rescore,
        "how": how,
        "model": which.named,
        "revision": which.revision,
        "journal": journal,
    }
    if step_labels is not None:
        from medprm_scorer.evaluation.step_labels.evaluate import evaluate_steps
        from medprm_scorer.evaluation.step_labels.report import report as of_steps

        be_quiet()
        own = step_labels.resolve() == file.resolve()
        limit_at = 0.5 if threshold is None else threshold
        steps = evaluate_steps(file, None if own else step_labels, load, threshold=limit_at, **shared)
        return _show(
            "Med-PRM evaluation of steps", steps, lambda ascii_only: of_steps(steps, ascii_only=ascii_only), json, html
        )
    if compared is not None:
        from medprm_scorer.evaluation.comparison.compare import compare
        from medprm_scorer.evaluation.comparison.report import report as of_runs

        be_quiet()
        its_own = None if against_aggregate is None else _aggregates(against_aggregate)
        runs = compare(
            file,
            compared,
            load,
            aggregates=_aggregates(aggregate),
            other_aggregates=its_own,
            rewards=not no_rewards,
            **shared,
        )
        return _show(
            "Med-PRM comparison of two runs", runs, lambda ascii_only: of_runs(runs, ascii_only=ascii_only), json, html
        )

    plan = Plan(
        sizes=sizes,
        aggregates=_aggregates(aggregate),
        subsets=subsets,
        how=how,
        rewards=not no_rewards,
        rescore=rescore,
        selection=selection,
        groups=groups,
        paper=paper,
        stopping=rules,
    )
    be_quiet()
    found = run(
        file,
        load,
        plan=plan,
        model=which.named,
        revision=which.revision,
        journal=journal,
        per_question=per_question,
        scored=scored,
    )
    if json:
        write_json(found.model_dump_json(indent=2))
    else:
        from medprm_scorer.evaluation.report import to_rich

        screen = console()
        screen.print(to_rich(found, ascii_only=is_ascii_only(screen), official=official))
    if html is not None:
        from medprm_scorer.evaluation.page import to_html

        write_page(html, to_html(found))
    if plot is not None:
        from medprm_scorer.evaluation.plots import save_scaling_plot

        save_scaling_plot(found, plot)
    return None


def _show(kind: str, found: "BaseModel", report: "Callable[[bool], Report]", json: bool, html: Path | None) -> None:
    """Print a report and write its page; `report` makes it, in ASCII or with other characters."""
    if json:
        write_json(found.model_dump_json(indent=2))
    else:
        screen = console()
        screen.print(report(is_ascii_only(screen)).to_rich())
    if html is not None:
        from medprm_scorer.evaluation.page import report_to_html

        write_page(html, report_to_html(kind, report(False)))


def _refuse(mode: str, given: dict[str, object]) -> None:
    """Refuse options that would have no effect."""
    for option, value in given.items():
        if value not in (None, False):
            raise InputError(f"{option} changes nothing with {mode}: leave it out")


def _aggregates(text: str) -> tuple[str, ...]:
    return AGGREGATES if text == "all" else tuple(name.strip() for name in text.split(","))


def _group(text: str) -> tuple[str, str]:
    name, equals, pattern = (part.strip() for part in text.partition("="))
    if not (name and equals and pattern):
        raise InputError("--group takes NAME=GLOB, such as MMLU=mmlu_*")
    return name, pattern


def _rules(text: str | None) -> tuple[Rule, ...]:
    if text is None:
        return ()
    return tuple(map(parse_rule, (_RULES if text.strip() == "all" else text).split(",")))


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
