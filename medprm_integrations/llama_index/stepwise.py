"""Step-by-step search for an answer: LlamaIndex's part, and the steps as a stream."""

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.schema import NodeWithScore, TextNode

from medprm_integrations.llama_index.nodes import document_texts
from medprm_integrations.llama_index.policy import LLMPolicy
from medprm_integrations.llama_index.prompts import prompt_values
from medprm_integrations.llama_index.responses import total_usage
from medprm_integrations.llama_index.unstreamed_llm import messages_of, text_prompt_of
from medprm_integrations.shared.best_of_n import Choice
from medprm_integrations.shared.jobs import Job
from medprm_integrations.shared.search_settings import SearchingSettings
from medprm_integrations.shared.stepwise import Searched, asearching, retrieved_since, searching
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking
from medprm_scorer.search import SearchRanking


def check_search(settings: SearchingSettings, llm: LLM | None) -> None:
    """Make the policy, and refuse unsuitable arguments.

    Raises:
        InputError: There is no model to write the steps, or the retriever is not one.
    """
    if settings.search is None:
        return
    if settings.search.policy is None:
        if llm is None:
            raise InputError("search needs an llm that writes the steps, or StepSearch(policy=…)")
        settings.policy_of(LLMPolicy, llm)
    retriever = settings.search.retriever
    if retriever is not None and not isinstance(retriever, BaseRetriever) and not callable(retriever):
        raise InputError(f"the retriever must be a retriever or a function, not {type(retriever).__name__}")


def searched(
    settings: SearchingSettings,
    job: Job[Any],
    template: BasePromptTemplate,
    question: str,
    to_read: Sequence[str],
    more: dict[str, Any] | None = None,
    *,
    is_async: bool,
) -> Searched[CompletionResponse]:
    """The job of a search.

    Args:
        settings: The settings of the search.
        job: The judged question, its documents and cautions.
        template: The prompt for the language model.
        question: The question as asked.
        to_read: The documents in the prompt; those that are found during the search come after them.
        more: Values for the user's own template.
        is_async: Whether calls are awaited.
    """
    how = settings.search
    assert how is not None
    llm = job.source

    def messages(_: str, documents: Sequence[str]) -> Any:
        assert isinstance(llm, LLM)
        new = retrieved_since(settings, job, documents)
        values = prompt_values(question, [*to_read, *new], more)
        filled = messages_of if llm.metadata.is_chat_model else text_prompt_of
        return filled(llm, template, values)

    own: Any = None if how.policy is not None else settings.policy_of(LLMPolicy, llm).asking(messages)
    return Searched(
        question=job.question,
        policy=own if how.policy is None else how.policy,
        answer=lambda text: CompletionResponse(text=text),
        usage=lambda: None if own is None else total_usage(own.replies),
        documents=job.documents,
        scores=job.scores,
        cautions=job.cautions,
        retrieve=None if how.retriever is None else partial(_retrieved, how.retriever, is_async=is_async),
    )


def found_nodes(ranking: Ranking | None) -> list[NodeWithScore]:
    """The documents that were retrieved during the search for an answer, as nodes.

    Args:
        ranking: The ranking of the answer; for None, or a ranking of whole samples, there are none.
    """
    texts = ranking.tree.documents if isinstance(ranking, SearchRanking) else ()
    return [NodeWithScore(node=TextNode(text=text)) for text in texts]


def pieces(
    settings: SearchingSettings, job: Searched[Any], ended: Callable[[Choice[Any]], object]
) -> Generator[str, None, None]:
    """The steps of the answer, each as soon as it is final.

    Args:
        settings: How to search.
        job: The question.
        ended: Called with the choice before the stream ends.
    """
    for found in searching(settings, job):
        if isinstance(found, Choice):
            ended(found)
        else:
            yield found


async def apieces(
    settings: SearchingSettings, job: Searched[Any], ended: Callable[[Choice[Any]], object]
) -> AsyncGenerator[str, None]:
    """`pieces`, without blocking the event loop."""
    async with aclosing(asearching(settings, job)) as events:
        async for found in events:
            if isinstance(found, Choice):
                ended(found)
            else:
                yield found


def _retrieved(retriever: Any, query: str, *, is_async: bool) -> Any:
    """The texts of the documents found for a text; awaited if needed."""
    if isinstance(retriever, BaseRetriever):
        found = retriever.aretrieve(query) if is_async else retriever.retrieve(query)
    else:
        found = retriever(query)
    if not hasattr(found, "__await__"):
        return document_texts(found)
    if not is_async:
        return found

    async def later() -> list[str]:
        return document_texts(await found)

    return later()
