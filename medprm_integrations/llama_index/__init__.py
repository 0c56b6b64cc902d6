"""MedPRM for LlamaIndex: a node postprocessor, a response synthesizer, a language model, and an evaluator.

Needs llama-index-core (`pip install "medprm[llama-index]"`).

>>> from medprm_scorer import MedPRM
>>> from medprm_integrations.llama_index import MedPRMRerank, chain_node
>>> rerank = MedPRMRerank(prm=MedPRM.from_pretrained())
>>> nodes = [chain_node("Step 1: Give 5 mg. The answer is (A)"), chain_node(" ")]
>>> [node.text for node in rerank.postprocess_nodes(nodes, query_str="Which dose?")]
['Step 1: Give 5 mg. The answer is (A)']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medprm_integrations.shared.lazy_imports import missing

if TYPE_CHECKING:
    from medprm_integrations.llama_index.answers import EmbeddingAnswerGroups, LLMAnswerGroups, LLMAnswerReader
    from medprm_integrations.llama_index.evaluator import MedPRMEvaluator
    from medprm_integrations.llama_index.llm import MedPRMLLM
    from medprm_integrations.llama_index.nodes import chain_node
    from medprm_integrations.llama_index.prompts import policy_template
    from medprm_integrations.llama_index.rerank import MedPRMRerank
    from medprm_integrations.llama_index.responses import ranking_of
    from medprm_integrations.llama_index.synthesizer import MedPRMSynthesizer
    from medprm_integrations.shared.drawing import IdenticalSamplesWarning, SamplesFailedWarning
    from medprm_integrations.shared.evidence import DocumentsLeftOutWarning
    from medprm_integrations.shared.evidence_tools import UnknownToolWarning

_HOMES = {
    "LLMAnswerReader": "medprm_integrations.llama_index.answers",
    "LLMAnswerGroups": "medprm_integrations.llama_index.answers",
    "EmbeddingAnswerGroups": "medprm_integrations.llama_index.answers",
    "DocumentsLeftOutWarning": "medprm_integrations.shared.evidence",
    "IdenticalSamplesWarning": "medprm_integrations.shared.drawing",
    "MedPRMEvaluator": "medprm_integrations.llama_index.evaluator",
    "MedPRMLLM": "medprm_integrations.llama_index.llm",
    "MedPRMRerank": "medprm_integrations.llama_index.rerank",
    "MedPRMSynthesizer": "medprm_integrations.llama_index.synthesizer",
    "SamplesFailedWarning": "medprm_integrations.shared.drawing",
    "UnknownToolWarning": "medprm_integrations.shared.evidence_tools",
    "chain_node": "medprm_integrations.llama_index.nodes",
    "policy_template": "medprm_integrations.llama_index.prompts",
    "ranking_of": "medprm_integrations.llama_index.responses",
}
__all__ = [
    "DocumentsLeftOutWarning",
    "EmbeddingAnswerGroups",
    "IdenticalSamplesWarning",
    "LLMAnswerGroups",
    "LLMAnswerReader",
    "MedPRMEvaluator",
    "MedPRMLLM",
    "MedPRMRerank",
    "MedPRMSynthesizer",
    "SamplesFailedWarning",
    "UnknownToolWarning",
    "chain_node",
    "policy_template",
    "ranking_of",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that a missing llama-index-core is a clear error."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except ImportError as error:
        better = missing(name, "llama_index", '"medprm[llama-index]"', error)
        if better is error:
            raise
        raise better from error
    globals()[name] = value
    return value
