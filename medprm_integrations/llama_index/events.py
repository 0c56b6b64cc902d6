"""Rankings as events of LlamaIndex's instrumentation, so that whoever listens sees each as soon as it is there."""

from collections.abc import Mapping
from typing import Any

import llama_index.core.instrumentation as instrument
from llama_index.core.instrumentation.events import BaseEvent

from medprm_integrations.shared.ranking_metadata import ranking_metadata
from medprm_scorer.results.models import Ranking

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # imported there, and public

_OF_THE_SAMPLES = ("usage", "samples_failed", "samples_dropped")


class MedPRMRankingEvent(BaseEvent):
    """An answer was chosen. It holds no text from outside, and so no question, document or answer.

    Args:
        figures: What `keep="figures"` keeps of a ranking, with the tokens used where samples were drawn.
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
        note: What was kept of it in the answer's metadata, from which the counts of samples are taken.
    """
    figures = dict(ranking_metadata(ranking, keep="figures"))
    for name in _OF_THE_SAMPLES:
        figures.pop(name, None)
        if note is not None and name in note:
            figures[name] = note[name]
    dispatcher.event(MedPRMRankingEvent(figures=figures))
