"""Documents in LangChain's forms: lists with or without scores, and retrievers instead of an evidence function."""

from collections.abc import Callable
from functools import partial
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from medprm_integrations.shared import evidence
from medprm_scorer.scorer import MedPRM

SCORE = "relevance_score"
"""The metadata key under which LangChain's rerankers write a document's score, the higher the better.

A `score` is not read: in some stores it is a distance, and the nearest document would come last.
"""


def document_texts(documents: object) -> list[str]:
    """The texts of a list of `Document`s (with their ids) and texts, in their order; none for None.

    Raises:
        InputError: It is something else.
    """
    return evidence.document_texts(documents, named_text, "Document")


def named_text(document: object) -> object:
    """The text of a `Document`, with its id; anything else unchanged."""
    return evidence.NamedText(document.page_content, document.id) if isinstance(document, Document) else document


def document_scores(documents: Any) -> list[float | None]:
    """The score of each document of a list, or None; an empty result if no document has one.

    Example:
        >>> document_scores([Document("a", metadata={"relevance_score": 0.7}), "b"])
        [0.7, None]
    """
    scores = [_score(document) for document in documents or ()]
    return [] if all(score is None for score in scores) else scores


def evidence_within_budget(documents: object, prm: MedPRM) -> evidence.Evidence:
    """The documents that the reward model reads: by score if they have scores, otherwise in order.

    Raises:
        InputError: It is not a list of documents.
    """
    texts = document_texts(documents)
    return evidence.within_budget(texts, prm.count_tokens, scores=document_scores(documents))


def evidence_call(function: Any, given: Any, question: str, *, awaited: bool) -> Callable[[], Any] | None:
    """How to get the user's evidence; a retriever gets the judged question.

    Args:
        function: A function of the messages or the `ModelRequest`, a retriever (or its bound `invoke`), or None.
        given: The argument for a function.
        question: The query for a retriever.
        awaited: Whether the result may be awaited.
    """
    retriever = _retriever_in(function)
    if retriever is None:
        return function and partial(function, given)
    return partial(retriever.ainvoke if awaited else retriever.invoke, question)


def evidence_function(value: object) -> object:
    """A user's `evidence=` as a function; a retriever becomes one, too."""
    return Retrieving(value) if isinstance(value, BaseRetriever) else value


class Retrieving:
    """A retriever as an evidence function."""

    def __init__(self, retriever: BaseRetriever) -> None:
        self.retriever = retriever

    def __call__(self, question: str) -> list[Document]:
        """The documents found for a question."""
        return self.retriever.invoke(question)


def _retriever_in(function: Any) -> BaseRetriever | None:
    """The retriever, even if its `invoke` was passed, which would receive messages that it cannot read."""
    found = function.retriever if isinstance(function, Retrieving) else getattr(function, "__self__", None)
    return found if isinstance(found, BaseRetriever) else None


def _score(document: object) -> float | None:
    score = document.metadata.get(SCORE) if isinstance(document, Document) else None
    return float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
