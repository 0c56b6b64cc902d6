"""The types of the settings that the integrations share, checked by pydantic when an object is made."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from medprm_integrations.shared.evidence_tools import tool_names
from medprm_scorer.errors import InputError
from medprm_scorer.scorer import MedPRM
from medprm_scorer.selection import check_settings

DEFAULT_N = 8
"""Samples of one question; the paper's curves are steep up to about here."""

DEFAULT_CONCURRENCY = 8
"""Most calls of a language model at once, unless the user says otherwise."""


def _checked(option: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        check_settings(**{"strategy": "best_of_n", "aggregate": "min", option: value})
        return value

    return check


Strategy = Annotated[str, AfterValidator(_checked("strategy"))]
"""`weighted_vote`, `best_of_n` or `majority_vote`."""

Aggregate = Annotated[str, AfterValidator(_checked("aggregate"))]
"""`min`, `last`, `mean`, `prod`, `geomean` or `max`."""

SampleCount = Annotated[int, Field(ge=1, le=1024, strict=True)]
"""How many samples are drawn; the bound is there so that a slip does not become a bill."""

Concurrency = Annotated[int, Field(ge=1, strict=True)]
"""Most calls of a language model at once."""

Agreement = Annotated[int, Field(ge=2, strict=True)]
"""Stop drawing once so many samples give the same answer."""

TopN = Annotated[int, Field(ge=1, strict=True)]
"""How many chains a ranking keeps."""


def reward_model(prm: Any) -> MedPRM:
    """The reward model that somebody gave.

    Raises:
        InputError: It is something else.

    Example:
        >>> reward_model("dmis-lab/llama-3.1-medprm-reward-v1.0")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: prm must be a MedPRM (MedPRM.from_pretrained(...)), not str
    """
    if not isinstance(prm, MedPRM):
        raise InputError(f"prm must be a MedPRM (MedPRM.from_pretrained(...)), not {type(prm).__name__}")
    return prm


RewardModel = Annotated[MedPRM, BeforeValidator(reward_model)]
"""The reward model."""

ToolNames = Annotated[Sequence[str], BeforeValidator(tool_names)]
"""Names of the tools whose results are evidence."""


class SamplingSettings(BaseModel):
    """How samples are drawn and one of them selected, for objects that are no pydantic models themselves.

    Args:
        n: How many samples.
        strategy: `weighted_vote`, `best_of_n` or `majority_vote`.
        aggregate: How step rewards become a chain reward.
        max_concurrency: Most calls of a language model at once.
        agree: Draw no more once so many samples give the same answer; None draws all n.
    """

    n: SampleCount = DEFAULT_N
    strategy: Strategy = "weighted_vote"
    aggregate: Aggregate = "min"
    max_concurrency: Concurrency = DEFAULT_CONCURRENCY
    agree: Agreement | None = None

    model_config = ConfigDict(frozen=True, extra="forbid")
