"""Documents that are retrieved while chains grow: each newest step is a query, asked once, up to a limit.


This is how "interleaving retrieval with chain-of-thought" (IRCoT, arXiv 2212.10509) works: the newest sentence of a
chain is the next query. The documents found are added to the evidence of all chains, after those already present.
"""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from medprm_scorer.errors import InputError
from medprm_scorer.text.prompts import DOCUMENT_TOKEN_BUDGET
from medprm_scorer.text.sanitize import valid_unicode

LABEL = re.compile(r"\A\W{0,8}step \d{1,4}\W{0,8}", re.IGNORECASE)
"""A step's label, which says nothing about its content."""


@dataclass(frozen=True, repr=False)
class Retrieve:
    """A request to the user's retriever; answered with its result for each query, or with its exception."""

    retriever: Callable[[str], Any]
    queries: Sequence[str]


class Gathering:
    """The documents retrieved for one search.

    Args:
        retriever: Returns a list of texts for a step, the most relevant first.
        max_documents: The most documents that are added to the question's own.
        documents: The question's own documents.
        count_tokens: Counts the tokens of a text.
    """

    def __init__(
        self,
        retriever: Callable[[str], Any],
        max_documents: int,
        documents: Sequence[str],
        count_tokens: Callable[[str], int],
    ) -> None:
        self._retriever, self._most, self._count = retriever, max_documents, count_tokens
        self._known = {one.strip() for one in documents}
        self._budget = DOCUMENT_TOKEN_BUDGET - sum(count_tokens(one) + 1 for one in documents)
        self._asked: set[str] = set()
        self.added: list[str] = []
        """The documents that were added, in order."""
        self.repeated = self.left_out = 0
        """How many were already present, and how many were left out as too many or too long."""

    def ask(self, steps: Sequence[str]) -> Retrieve | None:
        """The request for these newest steps; None if there is nothing to ask.

        Once the largest number of documents has been added, nothing more is asked.
        """
        if len(self.added) >= self._most:
            return None
        queries = [LABEL.sub("", " ".join(one.split())) for one in steps]
        new = [one for one in dict.fromkeys(queries) if one and one not in self._asked]
        self._asked.update(new)
        return Retrieve(self._retriever, new) if new else None

    def take(self, found: Sequence[object]) -> list[str]:
        """Add the new documents among those found, and return them.

        Args:
            found: The retriever's result for each query.

        Raises:
            InputError: A result is not a list of texts.
        """
        new = []
        for some in found:
            if isinstance(some, str) or not isinstance(some, Sequence) or not all(isinstance(one, str) for one in some):
                raise InputError("the retriever must give a list of texts")
            for one in map(valid_unicode, some):
                if not one.strip() or one.strip() in self._known:
                    self.repeated += bool(one.strip())
                    continue
                cost = self._count(one) + 1
                if len(self.added) >= self._most or cost > self._budget:
                    self.left_out += 1
                    continue
                self._known.add(one.strip())
                self._budget -= cost
                self.added.append(one)
                new.append(one)
        return new


def retrieved(ask: Retrieve) -> list[object]:
    """The retriever's result for each query.

    Raises:
        InputError: It is async.
    """
    found: list[object] = []
    for query in ask.queries:
        one = ask.retriever(query)
        if isinstance(one, Awaitable):
            if inspect.iscoroutine(one):
                one.close()
            raise InputError("the retriever is async: use the search whose name begins with a")
        found.append(one)
    return found


async def aretrieved(ask: Retrieve) -> list[object]:
    """`retrieved`; an async retriever is awaited for all queries at once, a plain function runs in threads."""

    async def one(query: str) -> object:
        found = await asyncio.to_thread(ask.retriever, query) if not _is_async(ask.retriever) else ask.retriever(query)
        return await found if isinstance(found, Awaitable) else found

    return list(await asyncio.gather(*map(one, ask.queries)))


def _is_async(function: object) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004 - an object whose call is async counts as async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
