"""Which documents carry the winner, once for every integration: `MedPRM.explain`, as figures for the metadata."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from medprm_integrations.shared.evidence import Evidence
from medprm_integrations.shared.ranking_metadata import EXPLANATION, Keep, RankingMetadata
from medprm_integrations.shared.user_warnings import ExplanationFailedWarning
from medprm_scorer.errors import MedPRMError
from medprm_scorer.results.explanation import NOISE, Explanation
from medprm_scorer.results.models import Ranking
from medprm_scorer.scorer import MedPRM


class Explaining(Protocol):
    """What is needed of the settings."""

    @property
    def prm(self) -> MedPRM:
        """The reward model."""

    @property
    def explain(self) -> bool:
        """Whether the winner is explained."""

    @property
    def keep(self) -> Keep:
        """What may stand in the metadata."""


def explain_winner(settings: Explaining, ranking: Ranking, note: RankingMetadata, found: Evidence) -> None:
    """Note which documents carry the winner, if the settings ask for it; a failure is warned of, and ends nothing.

    Args:
        settings: Whether to explain, with which reward model.
        ranking: The ranking.
        note: Gets the figures under `EXPLANATION`, as `RankingMetadata` says.
        found: The documents that it was made with.
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
    """`explain_winner`, with the event loop left free."""
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
    """An explanation as figures and the documents' ids, without any other text. Documents are named by their places.

    Args:
        explained: The explanation; None if there was no document to read.
        found: The documents.
        keep: With `figures` and `none` there are no ids, since an id is a text from outside.

    Example:
        >>> figures(None, Evidence((), ids=("label-7",), read_as=(None,)), "winner")["ids"]
        ['label-7']
    """
    given = found.given
    ids = {"ids": list(found.ids or [None] * given)} if keep in ("all", "winner") else {}
    if explained is None:
        return {
            **ids,
            **{"supporting": [], "contradicting": [], "support": [None] * given, "steps": []},
            **{"noise": NOISE, "prompts": 0, "tokens": 0},
        }
    places, read_as = found.places, range(given) if found.read_as is None else found.read_as
    steps = range(len(explained.chain.steps))
    against = sorted({place for step in steps for place in explained.contradicting(step)})
    return {
        **ids,
        "supporting": places(explained.supporting_documents),
        "contradicting": places(against),
        "support": [None if text is None else _rounded(explained.support[text]) for text in read_as],
        "steps": [
            {"supporting": places(explained.supporting(step)), "contradicting": places(explained.contradicting(step))}
            for step in steps
        ],
        "noise": explained.noise,
        "prompts": explained.cost.prompts,
        "tokens": explained.cost.unique_tokens,
    }


def support_of(note: Mapping[str, Any], documents: Sequence[object]) -> dict[int, float | None]:
    """By the identity of each document that was given, by how much it moves the winner, in log-odds; {} if not known.

    Args:
        note: The metadata of an answer.
        documents: What was given as documents, in that order.

    Example:
        >>> label = object()
        >>> support_of({"explanation": {"support": [2.5]}}, [label]) == {id(label): 2.5}
        True
    """
    support = note.get(EXPLANATION, {}).get("support", ())
    return {id(document): moved for document, moved in zip(documents, support, strict=False)}


def _winner(ranking: Ranking, found: Evidence) -> tuple[Ranking, None, Sequence[str]]:
    """The ranking as it was before documents were counted that were not handed to the reward model."""
    return ranking.model_copy(update={"documents_given": len(found.texts)}), None, list(found.texts)


def _failed(error: Exception) -> None:
    warnings.warn(
        f"the winner could not be explained ({type(error).__name__}), and is given without",
        ExplanationFailedWarning,
        stacklevel=4,
    )


def _rounded(moved: float | None) -> float | None:
    return None if moved is None else round(moved, 3)
