"""Exact, safe step rewards from the Med-PRM process reward model, and ranking of sampled answers with them.

>>> from medprm_scorer import MedPRM
>>> prm = MedPRM.from_pretrained()  # the small demo model inside the package: CPU, offline
"""

from typing import TYPE_CHECKING

from medprm_scorer.lazy_imports import lazy

if TYPE_CHECKING:
    from medprm_scorer.aggregate import AGGREGATES
    from medprm_scorer.bulk.score_file import ScoredFile, ascore_file, score_file
    from medprm_scorer.errors import (
        DoubtfulAnswerError,
        InputError,
        MedPRMError,
        ModelError,
        NothingScoredError,
        OutputError,
        PolicyError,
        QuestionTooLongError,
        ScoringError,
        ServerError,
    )
    from medprm_scorer.evaluation.calibrate import calibrate
    from medprm_scorer.evaluation.evaluate import Plan, evaluate
    from medprm_scorer.evaluation.results import Evaluation
    from medprm_scorer.results.explanation import Effect, Explanation, SentenceEffect
    from medprm_scorer.results.models import Ranking, RankRequest, ScoredChain, ScoredStep, Vote
    from medprm_scorer.sampling.rules import SamplingRules
    from medprm_scorer.sampling.sample_chains import Samples, asample_chains, sample_chains
    from medprm_scorer.sampling.stopping import Confident, should_stop
    from medprm_scorer.scorer import MedPRM
    from medprm_scorer.selection import STRATEGIES
    from medprm_scorer.text.answers import DECLINED, extract_answer, normalize_answer, read_answer
    from medprm_scorer.text.policy import policy_messages
    from medprm_scorer.text.steps import SPLIT_RULES
    from medprm_scorer.trust.calibration import Calibration
    from medprm_scorer.trust.floors import Floors
    from medprm_scorer.trust.trust import Trust

__version__ = "0.1.0"

__all__ = [
    "AGGREGATES",
    "DECLINED",
    "SPLIT_RULES",
    "STRATEGIES",
    "Calibration",
    "Confident",
    "DoubtfulAnswerError",
    "Effect",
    "Evaluation",
    "Explanation",
    "Floors",
    "InputError",
    "MedPRM",
    "MedPRMError",
    "ModelError",
    "NothingScoredError",
    "OutputError",
    "Plan",
    "PolicyError",
    "QuestionTooLongError",
    "RankRequest",
    "Ranking",
    "Samples",
    "SamplingRules",
    "ScoredChain",
    "ScoredFile",
    "ScoredStep",
    "ScoringError",
    "SentenceEffect",
    "ServerError",
    "Trust",
    "Vote",
    "__version__",
    "asample_chains",
    "ascore_file",
    "calibrate",
    "evaluate",
    "extract_answer",
    "normalize_answer",
    "policy_messages",
    "read_answer",
    "sample_chains",
    "score_file",
    "should_stop",
]
__getattr__, __dir__ = lazy(
    __name__,
    {
        "medprm_scorer.sampling.stopping": "Confident should_stop",
        "medprm_scorer.text.answers": "DECLINED extract_answer normalize_answer read_answer",
        "medprm_scorer.text.steps": "SPLIT_RULES",
        "medprm_scorer.selection": "STRATEGIES",
        "medprm_scorer.aggregate": "AGGREGATES",
        "medprm_scorer.bulk.score_file": "ScoredFile ascore_file score_file",
        "medprm_scorer.errors": "DoubtfulAnswerError InputError MedPRMError ModelError NothingScoredError OutputError "
        "PolicyError QuestionTooLongError ScoringError ServerError",
        "medprm_scorer.evaluation.calibrate": "calibrate",
        "medprm_scorer.evaluation.evaluate": "Plan evaluate",
        "medprm_scorer.evaluation.results": "Evaluation",
        "medprm_scorer.results.explanation": "Effect Explanation SentenceEffect",
        "medprm_scorer.results.models": "RankRequest Ranking ScoredChain ScoredStep Vote",
        "medprm_scorer.scorer": "MedPRM",
        "medprm_scorer.text.policy": "policy_messages",
        "medprm_scorer.sampling.sample_chains": "Samples asample_chains sample_chains",
        "medprm_scorer.sampling.rules": "SamplingRules",
        "medprm_scorer.trust.calibration": "Calibration",
        "medprm_scorer.trust.floors": "Floors",
        "medprm_scorer.trust.trust": "Trust",
    },
)
