"""The command `medprm evaluate`: its options, what it prints, and where it writes."""

from pathlib import Path
from typing import Annotated

import typer

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.cli.options import ModelOptions, takes_model
from medprm_scorer.cli.terminal import be_quiet, check_in, check_out, console, is_ascii_only, write_json
from medprm_scorer.errors import InputError
from medprm_scorer.sampling.stopping import Rule, parse_rule

_MOST = 10_000  # candidates of one question
_RULES = "agree=2,agree=3,agree=5,confident=0.8,confident=0.85,confident=0.9,confident=0.95,confident=0.99"


@takes_model
def evaluate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON list or JSONL with judged questions.")],
    n: Annotated[
        str | None, typer.Option("--n", help="Numbers of candidates. Default: 1,2,4,8 ... and the most.")
    ] = None,
    aggregate: Annotated[
        str, typer.Option(help=f"One or more, with commas, or all; of: {', '.join(AGGREGATES)}.")
    ] = "min",
    no_rewards: Annotated[
        bool, typer.Option("--no-rewards", help="Only single sample, majority vote, oracle.")
    ] = False,
    rescore: Annotated[bool, typer.Option("--rescore", help="Have --model score a file that holds rewards.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="The paper's seven benchmarks, beside its figures.")] = False,
    official: Annotated[bool, typer.Option(help="Count the authors' own selection, too.")] = False,
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME=GLOB", help="Pool data sources; may be given several times.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only these data sources; may be given several times.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions.")] = None,
    candidates: Annotated[int | None, typer.Option(min=1, help="Only the first candidates of each question.")] = None,
    stop: Annotated[
        str | None,
        typer.Option(
            metavar="RULES", help="Simulate stopping rules: all, or e.g. confident=0.9,confident=0.95,agree=3."
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
        Path | None, typer.Option(metavar="OUT", help="Write the questions with rewards, as the released test set.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keeps computed rewards. Default: FILE.rewards.sqlite3.")
    ] = None,
    subsets: Annotated[int, typer.Option(min=1, max=100_000, help="Most subsets of n candidates per question.")] = 100,
    resamples: Annotated[int, typer.Option(min=1, max=1_000_000, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=2**32, help="Of subsets, bootstrap, test and shuffling.")] = 0,
    *,
    which: ModelOptions,
) -> None:
    """Compare ways of choosing, on a file of sampled solutions.

    FILE is the released test set, or JSONL with one {"question": "...", "documents": ["..."], "candidates": ["..."],
    "correct_answer": "B", "data_source": "..."} per line, or what medprm score wrote. Rewards in the file are used. A
    file without them needs --model or --url, which compute them (the same command resumes), or --no-rewards.
    """
    sizes, rules = _numbers(n), _rules(stop)
    which.refuse_unused()
    if rescore and which.named is None:
        raise InputError("--rescore needs --model or --url: what is to score the file again")
    check_in("evaluate", file)
    journal = journal or file.with_name(f"{file.name}.rewards.sqlite3")
    outputs = {"--journal": journal, "--html": html, "--plot": plot, "--per-question": per_question, "--scored": scored}
    taken = [file]
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

    plan = Plan(
        sizes=sizes,
        aggregates=AGGREGATES if aggregate == "all" else tuple(name.strip() for name in aggregate.split(",")),
        subsets=subsets,
        how=Resampling(resamples, seed=seed),
        rewards=not no_rewards,
        rescore=rescore,
        selection=Selection(tuple(source or ()), limit, candidates, documents, seed),  # type: ignore[arg-type]
        groups=[_group(text) for text in group or ()],
        paper=paper,
        stopping=rules,
    )
    be_quiet()
    found = run(
        file,
        which.load if which.named else None,
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
        from medprm_scorer.files.whole_file import whole_file

        with whole_file(html) as page:
            page.write(to_html(found).encode("utf-8", errors="replace"))
    if plot is not None:
        from medprm_scorer.evaluation.plots import save_scaling_plot

        save_scaling_plot(found, plot)


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
