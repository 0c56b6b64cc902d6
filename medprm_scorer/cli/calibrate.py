"""The command `medprm calibrate`: its options, what it prints, and where it writes."""

from pathlib import Path
from typing import Annotated

import typer

from medprm_scorer.cli.options import Aggregate, ModelOptions, Strategy, takes_model
from medprm_scorer.cli.terminal import be_quiet, check_in, check_out, console, is_ascii_only, say, write_json
from medprm_scorer.errors import InputError
from medprm_scorer.sampling.stopping import parse_rule


@takes_model
def calibrate(
    file: Annotated[Path, typer.Argument(metavar="LABELLED", help="JSON or JSONL of questions with known answers.")],
    risk: Annotated[float, typer.Option(help="Largest error rate among trusted answers.")] = 0.05,
    delta: Annotated[float, typer.Option(help="Largest probability that this promise fails.")] = 0.1,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="Write the trust file, for medprm rank --trust.")
    ] = None,
    strategy: Strategy = "weighted_vote",
    aggregate: Aggregate = "min",
    stop: Annotated[
        str | None, typer.Option(metavar="RULE", help="The rule by which sampling will stop, such as confident=0.9.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only these data sources; may be given several times.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only so many questions, from the start.")] = None,
    candidates: Annotated[int | None, typer.Option(min=1, help="Use only so many candidates of each question.")] = None,
    documents: Annotated[
        str, typer.Option(help="What the model reads: given, none, or shuffled (another question's).")
    ] = "given",
    rescore: Annotated[bool, typer.Option("--rescore", help="Have --model score a file that holds rewards.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Draw risk and reliability: .png, .svg or .pdf.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON; it holds no text.")] = False,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Stores computed rewards. Default: LABELLED.rewards.sqlite3.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32, help="Seed for splitting the questions.")] = 0,
    *,
    which: ModelOptions,
) -> None:
    """Find the confidence above which answers may be trusted.

    LABELLED is a file that medprm evaluate reads. On questions like these, at most a share RISK of the trusted answers
    is wrong, with a probability of at least 1 - DELTA. Rewards in the file are used; a file without them needs --model
    or --url (an interrupted run resumes with the same command).
    """
    which.refuse_unused()
    if rescore and which.named is None:
        raise InputError("--rescore needs --model or --url, to score the file again")
    rule = None if stop is None else parse_rule(stop)
    check_in("calibrate", file)
    journal = journal or file.with_name(f"{file.name}.rewards.sqlite3")
    taken = [file]
    for option, path in {"--journal": journal, "--out": out, "--plot": plot}.items():
        check_out(option, path, *taken)
        taken += [path] if path is not None else []
    if plot is not None:
        from medprm_scorer.evaluation.plots import check_plot_path

        check_plot_path(plot)
    from medprm_scorer.evaluation.calibrate import calibrate as run
    from medprm_scorer.evaluation.questions import Selection

    be_quiet()
    found = run(
        file,
        which.load if which.named else None,
        risk=risk,
        delta=delta,
        strategy=strategy,  # type: ignore[arg-type]  # checked there
        aggregate=aggregate,  # type: ignore[arg-type]
        stop=rule,
        selection=Selection(tuple(source or ()), limit, candidates, documents, seed),  # type: ignore[arg-type]
        rescore=rescore,
        journal=journal,
        seed=seed,
    )
    if out is not None:
        found.trust.save(out)
        if not found.trust.fitted_on.settings:
            say("the file does not say which model its rewards are from: use the trust file with that model alone")
    if json:
        write_json(found.model_dump_json(indent=2))
    else:
        from medprm_scorer.evaluation.calibration_report import to_rich

        screen = console()
        screen.print(to_rich(found, ascii_only=is_ascii_only(screen)))
    if plot is not None:
        from medprm_scorer.evaluation.calibration_report import save_plot

        save_plot(found, plot)
