"""Exact, safe step rewards from the Med-PRM process reward model, and ranking of sampled answers by them.

>>> from medprm_scorer import MedPRM
>>> prm = MedPRM.from_pretrained()  # the small demo model inside the package: CPU, offline
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medprm_scorer.errors import InputError, MedPRMError, ModelError, ScoringError
    from medprm_scorer.results import Ranking, RankRequest, ScoredChain, ScoredStep, Vote
    from medprm_scorer.scorer import MedPRM

__version__ = "0.1.0"

_HOMES = {
    "MedPRM": "scorer",
    "Ranking": "results",
    "RankRequest": "results",
    "ScoredChain": "results",
    "ScoredStep": "results",
    "Vote": "results",
    "MedPRMError": "errors",
    "InputError": "errors",
    "ModelError": "errors",
    "ScoringError": "errors",
}
__all__ = [
    "InputError",
    "MedPRM",
    "MedPRMError",
    "ModelError",
    "RankRequest",
    "Ranking",
    "ScoredChain",
    "ScoredStep",
    "ScoringError",
    "Vote",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that the command line answers without loading torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
