"""`MedPRMReranker`: the reranking step of a chain. A question, candidates and documents in, a `Ranking` out."""

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AnyMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import RunnableConfig
from pydantic import Field
from typing_extensions import NotRequired, TypedDict, override

from medprm_integrations.langchain.convert import document_texts, question_text, samples_of
from medprm_integrations.langchain.packed_runnable import PackedRunnable
from medprm_integrations.shared.jobs import request_of
from medprm_integrations.shared.ranking import arank_all, rank_all
from medprm_integrations.shared.settings import ChoiceSettings, checked_keys
from medprm_scorer.errors import MedPRMError
from medprm_scorer.results.models import Ranking, RankRequest


class RerankInput(TypedDict):
    """What `MedPRMReranker` takes; a question may be a conversation too, candidates the result of `generate`."""

    question: str | AnyMessage
    candidates: list[str | list[str] | AnyMessage | ChatGeneration | Generation]
    documents: NotRequired[list[str | Document]]


class MedPRMReranker(PackedRunnable[RerankInput, Ranking], ChoiceSettings):
    """Scores the candidate answers to a question against documents and ranks them.

    `batch` and `abatch` hand all requests to the reward model together; one that cannot be ranked does not end the
    others (with `return_exceptions=True` its error stands in its place, and says which request it is, from 0).

    The input may have other keys than those that are read. Documents under another name (`context`, `docs`) are
    refused, since they would not be read; none of them read at all is warned of (`DocumentsLeftOutWarning`).

    Args:
        top_n: How many chains the ranking keeps, the best first; None keeps all. The votes are always of all.
        settings: Those of `ChoiceSettings`: `prm`, `strategy`, `aggregate`, `answer`, `options`, `group`, `on_ranking`.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> reranker = MedPRMReranker(prm=MedPRM.from_pretrained())
        >>> ranking = reranker.invoke(
        ...     {"question": "Which dose?", "candidates": ["Step 1: Give 5 mg. The answer is (A)"], "documents": []}
        ... )
        >>> ranking.answer
        'A'
    """

    top_n: int | None = Field(default=None, ge=1, strict=True)

    @override
    def _run(self, values: list[RerankInput], config: list[RunnableConfig], **kwargs: Any) -> list[Exception | Ranking]:
        return self._shortened(rank_all(self, [self._request(value) for value in values]))

    @override
    async def _arun(
        self, values: list[RerankInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | Ranking]:
        return self._shortened(await arank_all(self, [self._request(value) for value in values]))

    def _request(self, value: RerankInput) -> RankRequest | MedPRMError:
        """The request that an input stands for, or what is wrong with it."""
        try:
            given = checked_keys(value, ("question", "candidates"))
            question, documents = question_text(given["question"]), document_texts(given.get("documents"))
            return request_of(self, question, samples_of(given["candidates"]), documents)
        except MedPRMError as error:
            return error

    def _shortened(self, results: Sequence[Ranking | Exception]) -> list[Exception | Ranking]:
        """The best chains of each ranking; of several requests an error says which it was."""
        for place, result in enumerate(results):
            if isinstance(result, Exception) and len(results) > 1:
                result.args = (f"request {place}: {result}",)
        return [
            result
            if isinstance(result, Exception)
            else result.model_copy(update={"chains": result.chains[: self.top_n]})
            for result in results
        ]
