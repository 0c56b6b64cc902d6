"""`MedPRMReranker`: the reranking step of a chain. A question, candidates and documents in, a `Ranking` out."""

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AnyMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from pydantic import Field
from typing_extensions import NotRequired, TypedDict, override

from medprm_integrations.langchain.convert import document_texts, question_text, samples_of
from medprm_integrations.shared.best_of_n import arank_all, only, rank_all, request_of
from medprm_integrations.shared.settings import ChoiceSettings, checked_keys
from medprm_scorer.errors import MedPRMError
from medprm_scorer.results.models import Ranking, RankRequest


class RerankInput(TypedDict):
    """What `MedPRMReranker` takes."""

    question: str | AnyMessage
    candidates: list[str | list[str] | AnyMessage | ChatGeneration | Generation]
    documents: NotRequired[list[str | Document]]


class MedPRMReranker(RunnableSerializable[RerankInput, Ranking], ChoiceSettings):
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
    def invoke(self, input: RerankInput, config: RunnableConfig | None = None, **kwargs: Any) -> Ranking:
        """Rank the candidates of one question.

        Args:
            input: `question` (a text, a message or a conversation), `candidates` (texts, lists of steps, messages,
                generations, or the result of `generate`), and perhaps `documents` (texts or `Document`s).
            config: Callbacks, tags and the like.
            kwargs: None are known.

        Raises:
            InputError: Something in the input is missing or of the wrong kind.
            ScoringError: No candidate could be scored.
        """
        return self._call_with_config(self._rank, input, config, **kwargs)

    @override
    async def ainvoke(self, input: RerankInput, config: RunnableConfig | None = None, **kwargs: Any) -> Ranking:
        """`invoke`, with the reward model in a worker thread."""
        return await self._acall_with_config(self._arank, input, config, **kwargs)

    @override
    def batch(
        self,
        inputs: list[RerankInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Ranking]:
        """Rank many questions in one call of the reward model."""
        return self._batch_with_config(self._rank_all, inputs, config, return_exceptions=return_exceptions, **kwargs)

    @override
    async def abatch(
        self,
        inputs: list[RerankInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Ranking]:
        """`batch`, with the reward model in a worker thread."""
        return await self._abatch_with_config(
            self._arank_all, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def _rank(self, value: RerankInput) -> Ranking:
        return only(self._rank_all([value]))

    async def _arank(self, value: RerankInput) -> Ranking:
        return only(await self._arank_all([value]))

    def _rank_all(self, values: list[RerankInput]) -> list[Exception | Ranking]:
        requests = [self._request(value) for value in values]
        return self._merge(requests, rank_all(self, _good(requests)))

    async def _arank_all(self, values: list[RerankInput]) -> list[Exception | Ranking]:
        requests = [self._request(value) for value in values]
        return self._merge(requests, await arank_all(self, _good(requests)))

    def _request(self, value: RerankInput) -> RankRequest | MedPRMError:
        """The request that an input stands for, or what is wrong with it."""
        try:
            given = checked_keys(value, ("question", "candidates"))
            question, documents = question_text(given["question"]), document_texts(given.get("documents"))
            return request_of(self, question, samples_of(given["candidates"]), documents)
        except MedPRMError as error:
            return error

    def _merge(
        self, requests: Sequence[RankRequest | MedPRMError], results: Sequence[Ranking | Exception]
    ) -> list[Exception | Ranking]:
        """The results in the order of the inputs, with the errors of those that were no requests."""
        ranked = iter(results)
        merged: list[Exception | Ranking] = []
        for place, request in enumerate(requests):
            result = request if isinstance(request, MedPRMError) else next(ranked)
            if isinstance(result, Ranking):
                result = result.model_copy(update={"chains": result.chains[: self.top_n]})
            elif len(requests) > 1:
                result.args = (f"request {place}: {result}",)
            merged.append(result)
        return merged


def _good(requests: Sequence[RankRequest | MedPRMError]) -> list[RankRequest]:
    return [request for request in requests if isinstance(request, RankRequest)]
