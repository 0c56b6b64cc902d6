"""Step-by-step search for the answer of `MedPRMBestOfN`: LangChain's part, and the steps as a stream."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig

from medprm_integrations.langchain.messages import total_usage, with_ranking
from medprm_integrations.langchain.policy import ChatModelPolicy
from medprm_integrations.langchain.retrieved import Retrieving, document_texts
from medprm_integrations.shared.best_of_n import Choice
from medprm_integrations.shared.jobs import Job
from medprm_integrations.shared.search_settings import SearchingSettings
from medprm_integrations.shared.stepwise import Searched, asearching, retrieved_since, searching
from medprm_scorer.errors import InputError
from medprm_scorer.text.policy import policy_messages
from medprm_scorer.text.prompts import document_block


def check_search(settings: SearchingSettings, llm: Runnable[Any, Any]) -> None:
    """Make the policy, and refuse an unsuitable `llm`.

    Raises:
        InputError: The `llm` is not a chat model, or the retriever is not one.
    """
    if settings.search is None:
        return
    if settings.search.policy is None:
        settings.policy_of(ChatModelPolicy, llm)
    retriever = settings.search.retriever
    if retriever is not None and not callable(getattr(retriever, "invoke", retriever)):
        raise InputError(f"the retriever must be a retriever or a function, not {type(retriever).__name__}")


def searched(
    settings: SearchingSettings,
    job: Job[AIMessage],
    given: Any,
    prompt: Runnable[Any, Any] | None,
    config: RunnableConfig,
    arguments: Mapping[str, Any],
    *,
    awaited: bool,
) -> Searched[AIMessage]:
    """The job of a search.

    Args:
        settings: The settings of the search.
        job: The question, its documents and cautions.
        given: The input of the prompt; without a prompt, the question as asked.
        prompt: As in `MedPRMBestOfN`.
        config: The run.
        arguments: Further arguments of each call of the language model.
        awaited: Whether calls are awaited.
    """
    how = settings.search
    assert how is not None

    def messages(_: str, documents: Sequence[str]) -> Any:
        documents = [*job.documents, *retrieved_since(settings, job, documents)]
        if prompt is None:
            return policy_messages(given, documents)
        values = {**given, "documents": document_block(documents).rstrip("\n")}
        return prompt.ainvoke(values, config) if awaited else prompt.invoke(values, config)

    own: Any = None
    if how.policy is None:
        own = settings.policy_of(ChatModelPolicy, job.source).in_run(messages, config, arguments)
    return Searched(
        question=job.question,
        policy=own if how.policy is None else how.policy,
        answer=AIMessage,
        usage=lambda: None if own is None else total_usage(own.replies),
        documents=job.documents,
        scores=job.scores,
        cautions=job.cautions,
        retrieve=None if how.retriever is None else _retrieve(how.retriever, config, awaited=awaited),
    )


def pieces(settings: SearchingSettings, job: Searched[AIMessage]) -> Iterator[AIMessageChunk | Choice[AIMessage]]:
    """The answer in pieces, the last of which has the ranking; then the choice."""
    for found in searching(settings, job):
        yield from _chunks(found)


async def apieces(
    settings: SearchingSettings, job: Searched[AIMessage]
) -> AsyncGenerator[AIMessageChunk | Choice[AIMessage], None]:
    """`pieces`, without blocking the event loop."""
    async with aclosing(asearching(settings, job)) as events:
        async for found in events:
            for one in _chunks(found):
                yield one


def _chunks(found: str | Choice[AIMessage]) -> Iterator[AIMessageChunk | Choice[AIMessage]]:
    if isinstance(found, str):
        yield AIMessageChunk(content=found)
        return
    whole = with_ranking(found.value, found)
    yield AIMessageChunk(
        content="",
        response_metadata=whole.response_metadata,
        usage_metadata=whole.usage_metadata,
        chunk_position="last",
    )
    yield found


def _retrieve(retriever: Any, config: RunnableConfig, *, awaited: bool) -> Callable[[str], Any]:
    """A function from a text to the texts of documents."""
    if isinstance(retriever, Retrieving):
        retriever = retriever.retriever
    if not isinstance(retriever, Runnable):
        return lambda query: _texts(retriever(query), awaited=awaited)
    if awaited:

        async def found(query: str) -> list[str]:
            return document_texts(await retriever.ainvoke(query, config))

        return found
    return lambda query: document_texts(retriever.invoke(query, config))


def _texts(found: Any, *, awaited: bool) -> Any:
    """The texts from a user's function, whose result may have to be awaited."""
    if awaited and hasattr(found, "__await__"):

        async def later() -> list[str]:
            return document_texts(await found)

        return later()
    return found if hasattr(found, "__await__") else document_texts(found)
