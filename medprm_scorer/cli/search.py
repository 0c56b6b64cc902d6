"""The command `medprm search`: chooses among steps while a policy writes them, for one request."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medprm_scorer.cli.options import Aggregate, ModelOptions, Strategy, takes_model
from medprm_scorer.cli.terminal import check_out, console, is_ascii_only, write_json, write_page
from medprm_scorer.errors import InputError, check_choice
from medprm_scorer.selection import check_settings

if TYPE_CHECKING:
    from medprm_scorer.search import LocalPolicy, SearchTree, ServerPolicy

_METHODS = ("beam", "dvts", "rejection")


@takes_model
def search(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="JSON file with one request; - for stdin.")],
    policy: Annotated[str, typer.Option(help="What writes the steps: a folder, a hub id, or a server's URL.")],
    method: Annotated[str, typer.Option(help=f"One of: {', '.join(_METHODS)}.")] = "beam",
    width: Annotated[int, typer.Option(min=1, help="Chains that are kept (beam), or subtrees (dvts).")] = 4,
    expansions: Annotated[int, typer.Option(min=1, help="Continuations of each (beam, dvts).")] = 4,
    rank_by: Annotated[str, typer.Option(help="Compares growing chains: min, last or mean (beam, dvts).")] = "min",
    n: Annotated[int, typer.Option(min=1, help="Chains that are begun (rejection).")] = 16,
    slack: Annotated[float, typer.Option(min=0.0, help="Reward that may be lost without proof (rejection).")] = 0.0,
    strategy: Strategy = "weighted_vote",
    aggregate: Aggregate = "min",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Largest number of tokens to generate.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the policy.")] = 1.0,
    policy_model: Annotated[str | None, typer.Option(help="With a URL: the served model's name.")] = None,
    policy_tokenizer: Annotated[
        str | None, typer.Option(help="With a URL: tokenizer, to send whole prompts as text instead of chat messages.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same search.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the ranking and the tree as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Also write both as a page.")] = None,
    *,
    which: ModelOptions,
) -> None:
    """Search for an answer step by step.

    A request is {"question": "...", "documents": ["..."]}; candidates are not needed. The reward model chooses among a
    policy's steps while it writes them. No search was ever run with the released weights: measure before relying on it.
    """
    check_settings(strategy, aggregate)
    check_choice("method", method, _METHODS)
    from medprm_scorer.results.request_parsing import read_request

    asked = read_request(request, candidates=False)
    check_out("--html", html)
    prm = which.load()
    writer = _policy(policy, policy_model, policy_tokenizer, temperature)
    from medprm_scorer.search import Limits, beam_search, dvts, early_rejection

    screen = console()
    options: dict[str, Any] = {"strategy": strategy, "aggregate": aggregate, "seed": seed, "id": asked.id}
    options |= {"options": asked.options, "limits": Limits(max_tokens=max_tokens)}
    with _Growing(ascii_only=is_ascii_only(screen)) if screen.is_terminal and not json else nullcontext() as shown:
        options["on_progress"] = shown.show if shown else None
        given = (writer, prm, asked.question, asked.documents)
        if method == "rejection":
            ranking = early_rejection(*given, n=n, slack=slack, **options)
        elif method == "dvts":
            ranking = dvts(*given, subtrees=width, expansions=expansions, rank_by=rank_by, **options)  # type: ignore[arg-type]
        else:
            ranking = beam_search(*given, width=width, expansions=expansions, rank_by=rank_by, **options)  # type: ignore[arg-type]
    if json:
        write_json(ranking.model_dump_json(indent=2))
    else:
        from medprm_scorer.results.terminal import to_rich
        from medprm_scorer.search.page import to_rich as tree_to_rich

        screen.print(to_rich(ranking, ascii_only=is_ascii_only(screen)))
        screen.print()
        screen.print(tree_to_rich(ranking.tree, ascii_only=is_ascii_only(screen)))
    if html is not None:
        write_page(html, ranking.to_html(asked.documents))


def _policy(name: str, model: str | None, tokenizer: str | None, temperature: float) -> "LocalPolicy | ServerPolicy":
    from medprm_scorer.search import LocalPolicy, ServerPolicy

    if name.startswith(("http://", "https://")):
        endpoint = "completions" if tokenizer else "chat"
        return ServerPolicy(name, model=model, endpoint=endpoint, tokenizer=tokenizer, temperature=temperature)  # type: ignore[arg-type]
    if model or tokenizer:
        raise InputError("--policy-model and --policy-tokenizer go with a URL as --policy")
    return LocalPolicy.from_pretrained(name, temperature=temperature)


class _Growing:
    """Shows the tree on the terminal while it grows, and removes it at the end."""

    def __init__(self, *, ascii_only: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._ascii_only = ascii_only
        self._live = Live(console=Console(file=sys.stderr, highlight=False), transient=True, auto_refresh=False)

    def __enter__(self) -> "_Growing":
        self._live.__enter__()
        return self

    def __exit__(self, *how: Any) -> None:
        self._live.__exit__(*how)

    def show(self, tree: "SearchTree") -> None:
        """Draw it."""
        from medprm_scorer.search.page import to_rich

        self._live.update(to_rich(tree, ascii_only=self._ascii_only), refresh=True)
