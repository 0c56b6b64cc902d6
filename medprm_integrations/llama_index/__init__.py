"""MedPRM for LlamaIndex: a node postprocessor, a response synthesizer, a language model, and an evaluator.

Needs llama-index-core (`pip install "medprm[llama-index]"`).

>>> from medprm_scorer import MedPRM
>>> from medprm_integrations.llama_index import MedPRMRerank, chain_node
>>> rerank = MedPRMRerank(prm=MedPRM.from_pretrained())
>>> nodes = [chain_node("Step 1: Give 5 mg. The answer is (A)"), chain_node(" ")]
>>> [node.text for node in rerank.postprocess_nodes(nodes, query_str="Which dose?")]
['Step 1: Give 5 mg. The answer is (A)']
"""

from typing import TYPE_CHECKING

from medprm_scorer.lazy_imports import lazy

if TYPE_CHECKING:
    from medprm_integrations.llama_index.answers import EmbeddingAnswerGroups, LLMAnswerGroups, LLMAnswerReader
    from medprm_integrations.llama_index.evaluator import MedPRMEvaluator
    from medprm_integrations.llama_index.events import MedPRMRankingEvent
    from medprm_integrations.llama_index.helper_calls import is_answer
    from medprm_integrations.llama_index.llm import MedPRMLLM
    from medprm_integrations.llama_index.nodes import chain_node, is_evidence
    from medprm_integrations.llama_index.policy import LLMPolicy
    from medprm_integrations.llama_index.prompts import policy_template, refining_template
    from medprm_integrations.llama_index.rerank import MedPRMRerank
    from medprm_integrations.llama_index.responses import ranking_of
    from medprm_integrations.llama_index.synthesizer import MedPRMSynthesizer
    from medprm_integrations.shared.search_settings import StepSearch
    from medprm_integrations.shared.user_warnings import (
        DocumentsLeftOutWarning,
        ExplanationFailedWarning,
        IdenticalSamplesWarning,
        SamplesFailedWarning,
        UnknownToolWarning,
    )

__all__ = [
    "DocumentsLeftOutWarning",
    "EmbeddingAnswerGroups",
    "ExplanationFailedWarning",
    "IdenticalSamplesWarning",
    "LLMAnswerGroups",
    "LLMAnswerReader",
    "LLMPolicy",
    "MedPRMEvaluator",
    "MedPRMLLM",
    "MedPRMRankingEvent",
    "MedPRMRerank",
    "MedPRMSynthesizer",
    "SamplesFailedWarning",
    "StepSearch",
    "UnknownToolWarning",
    "chain_node",
    "is_answer",
    "is_evidence",
    "policy_template",
    "ranking_of",
    "refining_template",
]
__getattr__, __dir__ = lazy(
    __name__,
    {
        f"{__name__}.answers": "EmbeddingAnswerGroups LLMAnswerGroups LLMAnswerReader",
        f"{__name__}.evaluator": "MedPRMEvaluator",
        f"{__name__}.events": "MedPRMRankingEvent",
        f"{__name__}.helper_calls": "is_answer",
        f"{__name__}.llm": "MedPRMLLM",
        f"{__name__}.nodes": "chain_node is_evidence",
        f"{__name__}.policy": "LLMPolicy",
        f"{__name__}.prompts": "policy_template refining_template",
        f"{__name__}.rerank": "MedPRMRerank",
        f"{__name__}.responses": "ranking_of",
        f"{__name__}.synthesizer": "MedPRMSynthesizer",
        "medprm_integrations.shared.search_settings": "StepSearch",
        "medprm_integrations.shared.user_warnings": (
            "DocumentsLeftOutWarning ExplanationFailedWarning IdenticalSamplesWarning SamplesFailedWarning "
            "UnknownToolWarning"
        ),
    },
    needs=("llama_index", '"medprm[llama-index]"'),
)
