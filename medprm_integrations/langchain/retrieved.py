"""Documents as LangChain brings them: lists with or without scores, and retrievers in place of an evidence function."""

from collections.abc import Callable
from functools import partial
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from medprm_integrations.shared import evidence
from medprm_scorer.scorer import MedPRM

SCORE = "relevance_score"
"""Where LangChain's rerankers write a document's score into its metadata, the higher the better.

A `score` is not read: in some stores it is a distance, and the nearest document would come last.
"""


def document_texts(documents: object) -> list[str]:
    """The texts of a list of `Document`s (with their ids) and texts, in their order; of None, none.

    Raises:
        InputError: It is something else.
    """
    return evidence.document_texts(documents, named_text, "Document")


def named_text(document: object) -> object:
    """The text of a `Document`, with its id; what is none as it is."""
    return evidence.NamedText(document.page_content, document.id) if isinstance(document, Document) else document


def document_scores(documents: Any) -> list[float | None]:
    """The score of each of a list of documents, None where there is none; none at all if no document has one.

    Example:
        >>> document_scores([Document("a", metadata={"relevance_score": 0.7}), "b"])
        [0.7, None]
    """
    scores = [_score(document) for document in documents or ()]
    return [] if all(score is None for score in scores) else scores


def evidence_within_budget(documents: object, prm: MedPRM) -> evidence.Evidence:
    """Those of the documents that the reward model reads: by their scores where they have some, else in order.

    Raises:
        InputError: It is no list of documents.
    """
    texts = document_texts(documents)
    return evidence.within_budget(texts, prm.count_tokens, scores=document_scores(documents))


def evidence_call(function: Any, given: Any, question: str, *, awaited: bool) -> Callable[[], Any] | None:
    """How the user's evidence is asked for; a retriever is asked for what is judged.

    Args:
        function: A function of the messages or the `ModelRequest`, a retriever (or its bound `invoke`), or None.
        given: What a function gets.
        question: What a retriever gets.
        awaited: Whether what is given back may be awaited.
    """
    retriever = _retriever_in(function)
    if retriever is None:
        return function and partial(function, given)
    return partial(retriever.ainvoke if awaited else retriever.invoke, question)


def evidence_function(value: object) -> object:
    """What a user gave as `evidence=`, as a function; a retriever is one, too."""
    return Retrieving(value) if isinstance(value, BaseRetriever) else value


class Retrieving:
    """A retriever in the place of an evidence function."""

    def __init__(self, retriever: BaseRetriever) -> None:
        self.retriever = retriever

    def __call__(self, question: str) -> list[Document]:
        """The documents that are found for a question."""
        return self.retriever.invoke(question)


def _retriever_in(function: Any) -> BaseRetriever | None:
    """The retriever, also where its `invoke` was given, which would get messages that it cannot read."""
    found = function.retriever if isinstance(function, Retrieving) else getattr(function, "__self__", None)
    return found if isinstance(found, BaseRetriever) else None


def _score(document: object) -> float | None:
    score = document.metadata.get(SCORE) if isinstance(document, Document) else None
    return float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
