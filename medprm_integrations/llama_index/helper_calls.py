"""Which calls of a language model are answers to the user, and which are helper calls: these run once, unjudged.

Helper calls condense a follow-up into a standalone question, choose an engine or a tool, split a question into
sub-questions or search queries, write titles, keywords, summaries or evaluations, or give structured output of a model
without tools that has no documents to answer from. They have these signs, checked in this order.

1. The kind that LlamaIndex gives to a prompt template (`PromptType`), such as `single_select`.
2. The variables of a template: names that only helpers use, such as `context_list`; or a context without a question
   (`query_str`).
3. The prompt's beginning, if it is one of LlamaIndex's own.

All other calls count as answers, including helper prompts that you wrote yourself: unneeded samples cost money, but an
answer that was not judged may cost more. Distinguish them with `is_answer=`.
"""

from collections.abc import Sequence

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts.prompt_type import PromptType

from medprm_integrations.llama_index.conversation import text_of
from medprm_integrations.llama_index.prompts import Filled, PromptMessages
from medprm_integrations.shared.prompt_context import holds_documents

_ANSWER_KINDS = frozenset(
    {
        *(PromptType.QUESTION_ANSWER, PromptType.REFINE, PromptType.SUMMARY, PromptType.SIMPLE_INPUT),
        *(PromptType.CONVERSATION, PromptType.TABLE_CONTEXT, PromptType.SQL_RESPONSE_SYNTHESIS),
        *(PromptType.SQL_RESPONSE_SYNTHESIS_V2, PromptType.CUSTOM),
    }
)

_HELPER_VALUES = frozenset(
    {
        *("context_list", "tools_str", "num_choices", "max_outputs", "num_queries"),
        *("max_keywords", "max_knowledge_triplets", "prev_reasoning"),
    }
)

_BEGINNINGS = (
    "Given the following conversation between a user and an AI assistant and a follow up question",
    "Given a conversation (between Human and Assistant) and a follow up message",
    "Here is the original query:\n",
    "Some choices are given below",
    "Given a user question, and a list of tools",
    "You are a helpful assistant that generates multiple search queries",
    "The following is a conversation between the user and assistant. Write a concise summary",
    "Write a summary of the following",
    "You are RankGPT",
    "Please tell if a given piece of information",
    "We want to understand if the following information is present",
    "Your task is to evaluate if the response",
    "Your task is to evaluate if the retrieved context",
    "You are an expert evaluation system",
)
"""How the prompts of LlamaIndex's own helper calls begin."""

_SCHEMA = "Here's a JSON schema to follow:"
"""The beginning of what `PydanticOutputParser` appends to a prompt."""


def is_answer(messages: Sequence[ChatMessage]) -> bool:
    """Whether a call of a language model is an answer to the user, by default (`MedPRMLLM.is_answer`).

    Args:
        messages: The messages of the call; a text prompt is one message.

    Example:
        >>> is_answer([ChatMessage("Which dose?")])
        True
        >>> is_answer([ChatMessage("Some choices are given below. It is provided in a numbered list …")])
        False
    """
    filled = messages.filled if isinstance(messages, PromptMessages) else Filled()
    if filled.kind is not None and filled.kind not in _ANSWER_KINDS:
        return False
    if filled.names & _HELPER_VALUES or (filled.context and filled.question is None):
        return False
    told = [text_of(message).lstrip() for message in messages]
    if any(text.startswith(_BEGINNINGS) for text in (*told[:1], *told[-1:])):
        return False
    structured = any(_SCHEMA in text for text in told)
    return not structured or bool(filled.context) or holds_documents(told)
