"""Which documents support the winner, for all integrations: `MedPRM.explain` as figures for the metadata."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from medprm_integrations.shared.evidence import Evidence
from medprm_integrations.shared.ranking_metadata import EXPLANATION, Keep, RankingMetadata
from medprm_integrations.shared.user_warnings import ExplanationFailedWarning
from medprm_scorer.errors import MedPRMError
from medprm_scorer.results.explanation import NOISE, Explanation
from medprm_scorer.results.models import Ranking
from medprm_scorer.scorer import MedPRM


class Explaining(Protocol):
    """The settings that are needed here."""

    @property
    def prm(self) -> MedPRM:
        """The reward model."""

    @property
    def explain(self) -> bool:
        """Whether the winner is explained."""

    @property
    def keep(self) -> Keep:
        """What the metadata may contain."""


def explain_winner(settings: Explaining, ranking: Ranking, note: RankingMetadata, found: Evidence) -> None:
    """Record which documents support the winner, if the settings ask for it; a failure gives only a warning.

    Args:
        settings: Whether to explain, and with which reward model.
        ranking: The ranking.
        note: Receives the figures under `EXPLANATION`, as `RankingMetadata` describes.
        found: The documents of the ranking.
    """
    if settings.explain:
        explained = None
        if found.texts:
            try:
                explained = settings.prm.explain(*_winner(ranking, found))
            except MedPRMError as error:
                return _failed(error)
        note[EXPLANATION] = figures(explained, found, settings.keep)
    return None


async def aexplain_winner(settings: Explaining, ranking: Ranking, note: RankingMetadata, found: Evidence) -> None:
    """`explain_winner`, without blocking the event loop."""
    if settings.explain:
        explained = None
        if found.texts:
            try:
                explained = await settings.prm.aexplain(*_winner(ranking, found))
            except MedPRMError as error:
                return _failed(error)
        note[EXPLANATION] = figures(explained, found, settings.keep)
    return None


def figures(explained: Explanation | None, found: Evidence, keep: Keep) -> dict[str, Any]:
    """An explanation as figures and the documents' ids, without any other text.

    Args:
        explained: The explanation; None if there was no document to read.
        found: The documents.
        keep: With `figures` and `none`, documents are named by index, since an id is untrusted text.

    Example:
        >>> figures(None, Evidence(()), "winner")["tokens"]
        0
    """
    if explained is None:
        return {
            **{"supporting": [], "contradicting": [], "support": [None] * found.given, "steps": []},
            **{"noise": NOISE, "prompts": 0, "tokens": 0},
        }
    named = partial(found.named, by_id=keep in ("all", "winner"))
    read_as = range(found.given) if found.read_as is None else found.read_as
    steps = range(len(explained.chain.steps))
    against = sorted({place for step in steps for place in explained.contradicting(step)})
    return {
        "supporting": named(explained.supporting_documents),
        "contradicting": named(against),
        "support": [None if text is None else _rounded(explained.support[text]) for text in read_as],
        "steps": [
            {"supporting": named(explained.supporting(step)), "contradicting": named(explained.contradicting(step))}
            for step in steps
        ],
        "noise": explained.noise,
        "prompts": explained.cost.prompts,
        "tokens": explained.cost.unique_tokens,
    }


def support_of(note: Mapping[str, Any], documents: Sequence[object]) -> dict[int, float | None]:
    """The effect of each given document on the winner, in log-odds, by the document's identity; {} if not known.

    Args:
        note: The metadata of an answer.
        documents: The given documents, in order.

    Example:
        >>> label = object()
        >>> support_of({"explanation": {"support": [2.5]}}, [label]) == {id(label): 2.5}
        True
    """
    support = note.get(EXPLANATION, {}).get("support", ())
    return {id(document): moved for document, moved in zip(documents, support, strict=False)}


def _winner(ranking: Ranking, found: Evidence) -> tuple[Ranking, None, Sequence[str]]:
    """The ranking with only the documents that were passed to the reward model."""
    return ranking.model_copy(update={"documents_given": len(found.texts)}), None, list(found.texts)


def _failed(error: Exception) -> None:
    warnings.warn(
        f"the winner could not be explained ({type(error).__name__}): there is no explanation",
        ExplanationFailedWarning,
        stacklevel=4,
    )


def _rounded(moved: float | None) -> float | None:
    return None if moved is None else round(moved, 3)
