"""Uses LangChain models to decide which answers are equal, and to read answers that rules cannot read."""

from collections.abc import Sequence
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel

from medprm_integrations.shared.equal_answers import (
    AnswerGroupsByEmbeddings,
    AnswerGroupsByModel,
    AnswerReaderByModel,
    AskingModel,
    Schema,
)


class _AskingChatModel(AskingModel):
    def __init__(self, llm: BaseChatModel) -> None:
        self._llm = llm

    def _ask(self, prompt: str, schema: type[Schema]) -> Schema:
        found: Any = self._llm.with_structured_output(schema).invoke(prompt)
        return schema.model_validate(found)


class LLMAnswerGroups(_AskingChatModel, AnswerGroupsByModel):
    """For `group=`: asks a chat model, once for each question, which of the different answers mean the same.

    If the call fails, answers are compared by their exact wording, with an `AnswerModelFailedWarning`.

    Args:
        llm: A chat model that gives structured output (`with_structured_output`).
    """


class LLMAnswerReader(_AskingChatModel, AnswerReaderByModel):
    """For `answer=`: the package's rules, and a chat model for chains that they cannot read.

    One call for each such chain. If it fails, the chain gives no answer, with an `AnswerModelFailedWarning`.

    Args:
        llm: A chat model that gives structured output (`with_structured_output`).
    """


class EmbeddingAnswerGroups(AnswerGroupsByEmbeddings):
    """For `group=`: answers with similar embeddings are equal; answers with different numbers never are.

    Args:
        embeddings: The embeddings.
        threshold: Cosine similarity at which two answers count as equal, in (0, 1]. The right value depends on the
            embeddings: try some pairs of your own.

    Raises:
        InputError: The threshold is not a number in (0, 1].
    """

    def __init__(self, embeddings: Embeddings, threshold: float = 0.9) -> None:
        super().__init__(threshold)
        self._embeddings = embeddings

    def _embed(self, answers: list[str]) -> Sequence[Sequence[float]]:
        return self._embeddings.embed_documents(answers)
