"""Exact, safe step rewards from the Med-PRM process reward model, and ranking of sampled answers by them.

>>> from medprm_scorer import MedPRM
>>> prm = MedPRM.from_pretrained()  # the small demo model inside the package: CPU, offline
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medprm_scorer.bulk.score_file import ScoredFile, ascore_file, score_file
    from medprm_scorer.errors import InputError, MedPRMError, ModelError, OutputError, ScoringError
    from medprm_scorer.evaluation.evaluate import Plan, evaluate
    from medprm_scorer.evaluation.results import Evaluation
    from medprm_scorer.results.models import Ranking, RankRequest, ScoredChain, ScoredStep, Vote
    from medprm_scorer.scorer import MedPRM
    from medprm_scorer.text.policy import Samples, SamplingRules, asample_chains, sample_chains
    from medprm_scorer.text.policy_prompts import policy_messages

__version__ = "0.1.0"

_HOMES = {
    "MedPRM": "scorer",
    "evaluate": "evaluation.evaluate",
    "Plan": "evaluation.evaluate",
    "Evaluation": "evaluation.results",
    "policy_messages": "text.policy_prompts",
    "Samples": "text.policy",
    "SamplingRules": "text.policy",
    "asample_chains": "text.policy",
    "sample_chains": "text.policy",
    "Ranking": "results.models",
    "RankRequest": "results.models",
    "ScoredChain": "results.models",
    "ScoredStep": "results.models",
    "Vote": "results.models",
    "MedPRMError": "errors",
    "InputError": "errors",
    "ModelError": "errors",
    "ScoringError": "errors",
    "OutputError": "errors",
    "ScoredFile": "bulk.score_file",
    "score_file": "bulk.score_file",
    "ascore_file": "bulk.score_file",
}
__all__ = [
    "Evaluation",
    "InputError",
    "MedPRM",
    "MedPRMError",
    "ModelError",
    "OutputError",
    "Plan",
    "RankRequest",
    "Ranking",
    "Samples",
    "SamplingRules",
    "ScoredChain",
    "ScoredFile",
    "ScoredStep",
    "ScoringError",
    "Vote",
    "__version__",
    "asample_chains",
    "ascore_file",
    "evaluate",
    "policy_messages",
    "sample_chains",
    "score_file",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that the command line answers without loading torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion in a shell or an editor, though none of them has been imported yet."""
    return sorted({*globals(), *__all__})
