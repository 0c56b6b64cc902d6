"""Uses LlamaIndex models to decide which answers are equal, and to read answers that rules cannot read."""

from collections.abc import Sequence

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM
from llama_index.core.prompts import PromptTemplate

from medprm_integrations.shared.equal_answers import (
    AnswerGroupsByEmbeddings,
    AnswerGroupsByModel,
    AnswerReaderByModel,
    AskingModel,
    Schema,
)


class _AskingLLM(AskingModel):
    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    def _ask(self, prompt: str, schema: type[Schema]) -> Schema:
        return schema.model_validate(self._llm.structured_predict(schema, PromptTemplate("{text}"), text=prompt))


class LLMAnswerGroups(_AskingLLM, AnswerGroupsByModel):
    """For `group=`: asks an LLM, once for each question, which of the different answers mean the same.

    If the call fails, answers are compared by their exact wording, with an `AnswerModelFailedWarning`.

    Args:
        llm: Any LLM; one that cannot call tools is asked for JSON.
    """


class LLMAnswerReader(_AskingLLM, AnswerReaderByModel):
    """For `answer=`: the package's rules, and an LLM for chains that they cannot read.

    One call for each such chain. If it fails, the chain gives no answer, with an `AnswerModelFailedWarning`.

    Args:
        llm: Any LLM; one that cannot call tools is asked for JSON.
    """


class EmbeddingAnswerGroups(AnswerGroupsByEmbeddings):
    """For `group=`: answers with similar embeddings are equal; answers with different numbers never are.

    Args:
        embed_model: The embeddings.
        threshold: Cosine similarity at which two answers count as equal, in (0, 1]. The right value depends on the
            embeddings: try some pairs of your own.

    Raises:
        InputError: The threshold is not a number in (0, 1].
    """

    def __init__(self, embed_model: BaseEmbedding, threshold: float = 0.9) -> None:
        super().__init__(threshold)
        self._embed_model = embed_model

    def _embed(self, answers: list[str]) -> Sequence[Sequence[float]]:
        return self._embed_model.get_text_embedding_batch(answers)
