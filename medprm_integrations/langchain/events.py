"""Rankings as LangChain's custom events, so that listeners of a run see each as soon as it is ready."""

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)

from medprm_integrations.shared.ranking_metadata import ranking_metadata
from medprm_scorer.results.models import Ranking

EVENT = "medprm_ranking"
"""Name of the event, for `on_custom_event` and `astream_events`."""

_NOT_OF_A_RANKING = ("usage", "samples_failed", "samples_dropped")


def announce(found: Sequence[object], configs: Sequence[RunnableConfig | None]) -> None:
    """Send the figures of rankings to the callbacks of their runs, if there are such runs.

    Args:
        found: Rankings, or choices with a ranking; items without one, such as errors, are skipped. An event contains
            what `keep="figures"` keeps of a ranking: no text of the request.
        configs: For each, the configuration for runs below its own; None takes the active run.
    """
    for ranking, config in _rankings(found, configs):
        if get_callback_manager_for_config(config).parent_run_id is not None:
            dispatch_custom_event(EVENT, _figures(ranking), config=config)


async def aannounce(found: Sequence[object], configs: Sequence[RunnableConfig | None]) -> None:
    """`announce`, awaited."""
    for ranking, config in _rankings(found, configs):
        if get_async_callback_manager_for_config(config).parent_run_id is not None:
            await adispatch_custom_event(EVENT, _figures(ranking), config=config)


def _rankings(
    found: Sequence[object], configs: Sequence[RunnableConfig | None]
) -> Iterator[tuple[Ranking, RunnableConfig]]:
    for one, config in zip(found, configs, strict=True):
        ranking = getattr(one, "ranking", one)
        if isinstance(ranking, Ranking):
            yield ranking, ensure_config(config)


def _figures(ranking: Ranking) -> dict[str, Any]:
    kept = ranking_metadata(ranking, keep="figures")
    return {name: value for name, value in kept.items() if name not in _NOT_OF_A_RANKING}
