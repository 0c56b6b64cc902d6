"""MedPRM for LangChain: a reranker, best-of-n, a chat model, an output parser, and middleware for agents.

Needs langchain-core (`pip install "medprm[langchain]"`); `MedPRMMiddleware` needs langchain too.

>>> from medprm_scorer import MedPRM
>>> from medprm_integrations.langchain import MedPRMReranker
>>> reranker = MedPRMReranker(prm=MedPRM.from_pretrained(), strategy="best_of_n")
>>> reranker.invoke({"question": "Which dose?", "candidates": ["Step 1: Give 5 mg.", " "]}).best.index
0
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medprm_integrations.shared.lazy_imports import missing

if TYPE_CHECKING:
    from medprm_integrations.langchain.answers import EmbeddingAnswerGroups, LLMAnswerGroups, LLMAnswerReader
    from medprm_integrations.langchain.best_of_n import MedPRMBestOfN
    from medprm_integrations.langchain.chat_model import ChatMedPRM
    from medprm_integrations.langchain.messages import ranking_of
    from medprm_integrations.langchain.middleware import MedPRMMiddleware
    from medprm_integrations.langchain.output_parser import MedPRMOutputParser
    from medprm_integrations.langchain.reranker import MedPRMReranker
    from medprm_integrations.shared.drawing import IdenticalSamplesWarning, SamplesFailedWarning
    from medprm_integrations.shared.evidence import DocumentsLeftOutWarning
    from medprm_integrations.shared.evidence_tools import UnknownToolWarning

_HOMES = {
    "LLMAnswerReader": "medprm_integrations.langchain.answers",
    "LLMAnswerGroups": "medprm_integrations.langchain.answers",
    "EmbeddingAnswerGroups": "medprm_integrations.langchain.answers",
    "ChatMedPRM": "medprm_integrations.langchain.chat_model",
    "DocumentsLeftOutWarning": "medprm_integrations.shared.evidence",
    "IdenticalSamplesWarning": "medprm_integrations.shared.drawing",
    "MedPRMBestOfN": "medprm_integrations.langchain.best_of_n",
    "MedPRMMiddleware": "medprm_integrations.langchain.middleware",
    "MedPRMOutputParser": "medprm_integrations.langchain.output_parser",
    "MedPRMReranker": "medprm_integrations.langchain.reranker",
    "SamplesFailedWarning": "medprm_integrations.shared.drawing",
    "UnknownToolWarning": "medprm_integrations.shared.evidence_tools",
    "ranking_of": "medprm_integrations.langchain.messages",
}
__all__ = [
    "ChatMedPRM",
    "DocumentsLeftOutWarning",
    "EmbeddingAnswerGroups",
    "IdenticalSamplesWarning",
    "LLMAnswerGroups",
    "LLMAnswerReader",
    "MedPRMBestOfN",
    "MedPRMMiddleware",
    "MedPRMOutputParser",
    "MedPRMReranker",
    "SamplesFailedWarning",
    "UnknownToolWarning",
    "ranking_of",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that only the middleware needs langchain itself."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except ImportError as error:
        better = missing(name, "langchain_core", '"medprm[langchain]"', error)
        if better is error:
            raise
        raise better from error
    globals()[name] = value
    return value
