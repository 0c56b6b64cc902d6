"""The ranking by which an answer was chosen, as it travels in the metadata of the answer."""

from collections.abc import Mapping
from typing import Any

from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking
from medprm_scorer.text.sample_rounds import SampleRounds

KEY = "medprm"
"""Where the ranking stands in an answer's metadata."""


class RankingMetadata(dict[str, Any]):
    """A ranking as plain data, since answers are written to JSON and checkpoints. Its `repr` shows no text.

    The keys are those of `Ranking`, such as `cautions`, and four more: `usage` (tokens of all samples together,
    `input_tokens`, `output_tokens` and `total_tokens`, or None), `samples_failed` (their call raised an error),
    `samples_dropped` (they called a tool, broke the schema or the rules of sampling, or came when there were enough)
    and `documents_left_out` (how many of the documents that were at hand the reward model did not read:
    `documents_given` less `documents_used`).
    """

    def __repr__(self) -> str:
        ranked = f"{len(self['chains'])} candidates, best={self['best']['index']}" if "chains" in self else "no ranking"
        return f"RankingMetadata({ranked})"


def ranking_metadata(
    ranking: Ranking, rounds: SampleRounds[Any] | None = None, usage: Mapping[str, Any] | None = None
) -> RankingMetadata:
    """A ranking, and how its candidates were drawn.

    Args:
        ranking: The ranking.
        rounds: Where the candidates come from; None if they were given.
        usage: Tokens of all samples together.
    """
    failed = len(rounds.errors) if rounds else 0
    return RankingMetadata(
        {
            **ranking.model_dump(mode="json"),
            "usage": usage,
            "samples_failed": failed,
            "samples_dropped": rounds.drawn - failed - len(rounds.values) if rounds else 0,
            "documents_left_out": ranking.documents_given - ranking.documents_used,
        }
    )


def read_ranking(found: object, what: str, why: str = "it was not chosen among samples") -> Ranking:
    """The ranking that was kept as `RankingMetadata`, perhaps read back from JSON.

    Args:
        found: What stands under `KEY`.
        what: What it was found in, for the error.
        why: Why there may be none, for the error.

    Raises:
        InputError: There is no ranking.
    """
    if not isinstance(found, dict) or "chains" not in found:
        raise InputError(f"this {what} holds no ranking: {why}")
    return Ranking.model_validate(found)
