"""The command `medprm explain`: ranks one request, then shows which documents the winner's rewards depend on."""

from pathlib import Path
from typing import Annotated

import typer

from medprm_scorer.cli.options import Aggregate, ModelOptions, Strategy, takes_model
from medprm_scorer.cli.terminal import check_out, console, is_ascii_only, write_json, write_page
from medprm_scorer.errors import MedPRMError
from medprm_scorer.selection import check_settings


@takes_model
def explain(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="JSON file with one request; - for stdin.")],
    strategy: Strategy = "weighted_vote",
    aggregate: Aggregate = "min",
    runner_up: Annotated[
        bool, typer.Option("--runner-up", help="Also explain the best chain with a different answer.")
    ] = False,
    sentences: Annotated[bool, typer.Option(help="Also find the sentence that each step depends on most.")] = True,
    shapley: Annotated[
        int, typer.Option(min=0, metavar="ORDERS", help="Shapley values, from so many random orders of the documents.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of these orders.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the explanation as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Also write the explanation as a page.")] = None,
    *,
    which: ModelOptions,
) -> None:
    """Rank one request, and show which documents each step of the winner depends on.

    The winner is scored again without each document, with each alone, and with none. That says what the rewards depend
    on, not what is true. REQUEST is the same as for medprm rank.
    """
    check_settings(strategy, aggregate)
    from medprm_scorer.results.request_parsing import read_request

    asked = read_request(request)
    check_out("--html", html)
    prm = which.load()
    (ranking,) = prm.rank_batch([asked], strategy=strategy, aggregate=aggregate)  # type: ignore[arg-type]
    if isinstance(ranking, MedPRMError):
        raise ranking
    found = prm.explain(
        ranking, documents=asked.documents, runner_up=runner_up, sentences=sentences, shapley=shapley, seed=seed
    )
    if json:
        write_json(found.model_dump_json(indent=2))
    else:
        from medprm_scorer.results.explanation_terminal import to_rich

        screen = console()
        screen.print(to_rich(found, ascii_only=is_ascii_only(screen)))
    if html is not None:
        write_page(html, found.to_html())
