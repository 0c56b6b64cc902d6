"""Rankings as events of LlamaIndex's instrumentation, so that listeners see each as soon as it is ready."""

from collections.abc import Mapping
from typing import Any

import llama_index.core.instrumentation as instrument
from llama_index.core.instrumentation.events import BaseEvent

from medprm_integrations.shared.ranking_metadata import ranking_metadata
from medprm_scorer.results.models import Ranking

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # imported there, and public

_OF_THE_SAMPLES = ("usage", "samples_failed", "samples_dropped")


class MedPRMRankingEvent(BaseEvent):
    """An answer was chosen. The event holds no text of a question, document or answer.

    Args:
        figures: What `keep="figures"` keeps of a ranking, with the tokens used if samples were drawn.
    """

    figures: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """The event's name."""
        return "MedPRMRankingEvent"


def announce(ranking: Ranking, note: Mapping[str, Any] | None = None) -> None:
    """Report a ranking to instrumentation.

    Args:
        ranking: The ranking.
        note: The part of it in the answer's metadata, which has the counts of samples.
    """
    figures = dict(ranking_metadata(ranking, keep="figures"))
    for name in _OF_THE_SAMPLES:
        figures.pop(name, None)
        if note is not None and name in note:
            figures[name] = note[name]
    dispatcher.event(MedPRMRankingEvent(figures=figures))
