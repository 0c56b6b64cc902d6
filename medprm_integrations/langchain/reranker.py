"""`MedPRMReranker`: the reranking step of a chain. A question, candidates and documents in, a `Ranking` out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from langchain_core.documents import Document
from langchain_core.messages import AnyMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import RunnableConfig
from pydantic import Field
from typing_extensions import NotRequired, TypedDict, override

from medprm_integrations.langchain.convert import asked_about, samples_of
from medprm_integrations.langchain.events import aannounce, announce
from medprm_integrations.langchain.input_keys import checked_keys
from medprm_integrations.langchain.packed_runnable import PackedRunnable
from medprm_integrations.langchain.retrieved import evidence_within_budget
from medprm_integrations.shared.evidence import Evidence
from medprm_integrations.shared.jobs import request_of
from medprm_integrations.shared.questions import Asked
from medprm_integrations.shared.ranking import arank_all, rank_all
from medprm_integrations.shared.settings import ChoiceSettings
from medprm_scorer.errors import MedPRMError
from medprm_scorer.results.models import Ranking, RankRequest
from medprm_scorer.trust.doubt import doubtful

NONE = Evidence(())


class RerankInput(TypedDict):
    """The input of `MedPRMReranker`; a question may also be a conversation, candidates the result of `generate`."""

    question: str | AnyMessage
    candidates: list[str | list[str] | AnyMessage | ChatGeneration | Generation]
    documents: NotRequired[list[str | Document]]


class MedPRMReranker(PackedRunnable[RerankInput, Ranking], ChoiceSettings):
    """Scores the candidate answers to a question against documents and ranks them.

    `batch` and `abatch` pass all requests to the reward model together; one that cannot be ranked does not affect the
    others (with `return_exceptions=True` its error takes its place, and gives the index of the request, from 0).

    The input may have further keys. Documents under another name (`context`, `docs`) are refused, since they would not
    be read. If not all documents fit in the reward model's budget, those with the highest `relevance_score` in their
    metadata (as written by LangChain's rerankers) are read, otherwise the first ones; one that does not fit is skipped.
    Documents that were not read give a `DocumentsLeftOutWarning`.

    Args:
        top_n: How many chains the ranking keeps, the best first; None keeps all. The votes always count all.
        question: Your own function from the input to the judged question. None takes the input's `question`; for a
            conversation, the user's turns, joined with a caution as in `questions.put_together`.
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

    doubts: ClassVar[tuple[str, ...]] = ("answer", "raise")

    top_n: int | None = Field(default=None, ge=1, strict=True)
    question: Callable[[Any], str] | None = Field(default=None, repr=False, exclude=True)

    @override
    def _run(self, values: list[RerankInput], config: list[RunnableConfig], **kwargs: Any) -> list[Exception | Ranking]:
        results = self._shortened(rank_all(self, *self._requests(values)))
        announce(results, config)
        return results

    @override
    async def _arun(
        self, values: list[RerankInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | Ranking]:
        results = self._shortened(await arank_all(self, *self._requests(values)))
        await aannounce(results, config)
        return results

    def _requests(
        self, values: list[RerankInput]
    ) -> tuple[list[RankRequest | Exception], list[Evidence], list[tuple[str, ...]]]:
        """What `rank_all` takes."""
        read = [self._read(value) for value in values]
        return [one.request for one in read], [one.evidence for one in read], [one.cautions for one in read]

    def _read(self, value: RerankInput) -> "_Read":
        """The request in an input, or what is wrong with it."""
        try:
            given = checked_keys(value, ("question", "candidates"))
            asked = asked_about(given["question"]) if self.question is None else Asked(self.question(given))
            found = evidence_within_budget(given.get("documents"), self.prm)
            request = request_of(self, asked.text, samples_of(given["candidates"]), found.texts)
            return _Read(request, found, asked.cautions)
        except MedPRMError as error:
            return _Read(error)

    def _shortened(self, results: Sequence[Ranking | Exception]) -> list[Exception | Ranking]:
        """The best chains of each ranking; with several requests, an error names its request."""
        if self.on_doubt == "raise":
            results = [doubtful(r) if isinstance(r, Ranking) and r.trusted is False else r for r in results]
        for place, result in enumerate(results):
            if isinstance(result, Exception) and len(results) > 1:
                result.args = (f"request {place}: {result}",)
        return [
            result
            if isinstance(result, Exception)
            else result.model_copy(update={"chains": result.chains[: self.top_n]})
            for result in results
        ]


@dataclass(frozen=True, repr=False)
class _Read:
    """An input in the form in which it is ranked."""

    request: RankRequest | MedPRMError
    evidence: Evidence = NONE
    cautions: tuple[str, ...] = ()
