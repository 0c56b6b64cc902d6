"""Ranks candidates with one call of the reward model, and reports each ranking to the user."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from medprm_integrations.shared.evidence import Evidence
from medprm_integrations.shared.settings import ChoiceSettings
from medprm_integrations.shared.user_warnings import unread, warn_of_unread
from medprm_scorer.results.models import Ranking, RankRequest
from medprm_scorer.sampling.drawing import Drawing

logger = logging.getLogger("medprm")


def rank_all(
    settings: ChoiceSettings,
    requests: Sequence[RankRequest | Exception],
    evidence: Sequence[Evidence] | None = None,
    cautions: Sequence[Sequence[str]] | None = None,
) -> list[Ranking | Exception]:
    """Rank candidates with one call of the reward model, and report each ranking to the user.

    Args:
        settings: How the winners are chosen.
        requests: The questions with their candidates; an exception, for an invalid input, is returned in its place.
        evidence: The source of the requests' documents; None if the requests have all documents.
        cautions: Further cautions for each request.
    """
    good = [request for request in requests if isinstance(request, RankRequest)]
    results = settings.prm.rank_batch(good, **settings.choice) if good else []
    return reported(settings, requests, results, evidence, cautions)


async def arank_all(
    settings: ChoiceSettings,
    requests: Sequence[RankRequest | Exception],
    evidence: Sequence[Evidence] | None = None,
    cautions: Sequence[Sequence[str]] | None = None,
) -> list[Ranking | Exception]:
    """`rank_all`, without blocking the event loop."""
    good = [request for request in requests if isinstance(request, RankRequest)]
    results = await settings.prm.arank_batch(good, **settings.choice) if good else []
    return reported(settings, requests, results, evidence, cautions)


def reported(
    settings: ChoiceSettings,
    requests: Sequence[RankRequest | Exception],
    results: Iterable[Ranking | Exception],
    evidence: Sequence[Evidence] | None = None,
    cautions: Sequence[Sequence[str]] | None = None,
    drawings: Sequence[Drawing[Any]] | None = None,
) -> list[Ranking | Exception]:
    """The rankings in their final form: with all documents counted, a warning, a log record and a call of `on_ranking`.

    Args:
        settings: The settings with the user's functions.
        requests: As in `rank_all`.
        results: The results of the valid requests, in order.
        evidence: As in `rank_all`.
        cautions: As in `rank_all`.
        drawings: How the candidates were drawn; None if they were given.
    """
    rankings: list[Ranking | Exception] = []
    ranked = iter(results)
    for place, request in enumerate(requests):
        result = request if isinstance(request, Exception) else next(ranked)
        if isinstance(result, Ranking) and isinstance(request, RankRequest):
            found = evidence[place] if evidence else Evidence(tuple(request.documents))
            more = [*(cautions[place] if cautions else ()), *result.cautions]
            read = found.places(result.documents_read)
            with_text = len(found.places(range(len(found.texts)))) + found.left_out
            if found.left_out:
                more.append(unread(len(read), with_text))
            changed: dict[str, Any] = {"documents_given": found.given, "documents_used": len(read)}
            changed |= {"documents_read": read, "cautions": more}
            if drawings:
                changed |= {"stopped": drawings[place].stopped, "samples_drawn": drawings[place].started}
            result = result.model_copy(update=changed)
            if 0 < len(read) < with_text or found.nothing_fits(settings.prm.count_tokens):
                warn_of_unread(len(read), with_text)
            if result.cautions:
                logger.warning("medprm, candidates: %d. %s", len(result.chains), " ".join(result.cautions))
            if settings.on_ranking is not None:
                settings.on_ranking(result)
        rankings.append(result)
    return rankings
