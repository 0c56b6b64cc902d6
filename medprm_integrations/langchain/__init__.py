"""MedPRM for LangChain: a reranker, best-of-n, a chat model, an output parser, an evaluator, and agent middleware.

Needs langchain-core (`pip install "medprm[langchain]"`); `MedPRMMiddleware` needs langchain too.

>>> from medprm_scorer import MedPRM
>>> from medprm_integrations.langchain import MedPRMReranker
>>> reranker = MedPRMReranker(prm=MedPRM.from_pretrained(), strategy="best_of_n")
>>> reranker.invoke({"question": "Which dose?", "candidates": ["Step 1: Give 5 mg.", " "]}).best.index
0
"""

from typing import TYPE_CHECKING

from medprm_scorer.lazy_imports import lazy

if TYPE_CHECKING:
    from medprm_integrations.langchain.answers import EmbeddingAnswerGroups, LLMAnswerGroups, LLMAnswerReader
    from medprm_integrations.langchain.best_of_n import MedPRMBestOfN
    from medprm_integrations.langchain.chat_model import ChatMedPRM
    from medprm_integrations.langchain.doubt import ask_in_doubt
    from medprm_integrations.langchain.evaluator import MedPRMEvaluator
    from medprm_integrations.langchain.messages import ranking_of
    from medprm_integrations.langchain.middleware import MedPRMMiddleware
    from medprm_integrations.langchain.order import MiddlewareOrderWarning
    from medprm_integrations.langchain.output_parser import MedPRMOutputParser
    from medprm_integrations.langchain.policy import ChatModelPolicy
    from medprm_integrations.langchain.reranker import MedPRMReranker
    from medprm_integrations.shared.search_settings import StepSearch
    from medprm_integrations.shared.user_warnings import (
        DocumentsLeftOutWarning,
        ExplanationFailedWarning,
        IdenticalSamplesWarning,
        SamplesFailedWarning,
        UnknownToolWarning,
    )

__all__ = [
    "ChatMedPRM",
    "ChatModelPolicy",
    "DocumentsLeftOutWarning",
    "EmbeddingAnswerGroups",
    "ExplanationFailedWarning",
    "IdenticalSamplesWarning",
    "LLMAnswerGroups",
    "LLMAnswerReader",
    "MedPRMBestOfN",
    "MedPRMEvaluator",
    "MedPRMMiddleware",
    "MedPRMOutputParser",
    "MedPRMReranker",
    "MiddlewareOrderWarning",
    "SamplesFailedWarning",
    "StepSearch",
    "UnknownToolWarning",
    "ask_in_doubt",
    "ranking_of",
]
__getattr__, __dir__ = lazy(
    __name__,
    {
        f"{__name__}.answers": "EmbeddingAnswerGroups LLMAnswerGroups LLMAnswerReader",
        f"{__name__}.best_of_n": "MedPRMBestOfN",
        f"{__name__}.chat_model": "ChatMedPRM",
        f"{__name__}.doubt": "ask_in_doubt",
        f"{__name__}.evaluator": "MedPRMEvaluator",
        f"{__name__}.messages": "ranking_of",
        f"{__name__}.middleware": "MedPRMMiddleware",
        f"{__name__}.order": "MiddlewareOrderWarning",
        f"{__name__}.output_parser": "MedPRMOutputParser",
        f"{__name__}.policy": "ChatModelPolicy",
        f"{__name__}.reranker": "MedPRMReranker",
        "medprm_integrations.shared.search_settings": "StepSearch",
        "medprm_integrations.shared.user_warnings": (
            "DocumentsLeftOutWarning ExplanationFailedWarning IdenticalSamplesWarning SamplesFailedWarning "
            "UnknownToolWarning"
        ),
    },
    needs=("langchain_core", '"medprm[langchain]"'),
)
