"""Documents that are retrieved while chains grow: asked for with the newest step, each once, and not without end.

So "interleaving retrieval with chain-of-thought" (IRCoT, arXiv 2212.10509) asks: the newest sentence of a chain is the
next query. What is found joins the evidence of all chains, behind the documents that are there already.
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
"""What a step begins with, which says nothing of it."""


@dataclass(frozen=True, repr=False)
class Retrieve:
    """Asks the user's retriever; the answer is what it gave for each query, or the exception that it raised."""

    retriever: Callable[[str], Any]
    queries: Sequence[str]


class Gathering:
    """What is retrieved for one search.

    Args:
        retriever: Gives a list of texts for a step, the most relevant first.
        max_documents: Most documents that are added to those of the question.
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
        """How many were there already, and how many are too many or too long."""

    def ask(self, steps: Sequence[str]) -> Retrieve | None:
        """What to ask for with these newest steps; None for nothing.

        Nothing is asked for any more when as many documents were added as may be.
        """
        if len(self.added) >= self._most:
            return None
        queries = [LABEL.sub("", " ".join(one.split())) for one in steps]
        new = [one for one in dict.fromkeys(queries) if one and one not in self._asked]
        self._asked.update(new)
        return Retrieve(self._retriever, new) if new else None

    def take(self, found: Sequence[object]) -> list[str]:
        """The new documents among those that were found, which are added.

        Args:
            found: What the retriever gave for each query.

        Raises:
            InputError: It is no list of texts.
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
    """What the retriever gives, query by query.

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
    """`retrieved`; an async function is awaited for all queries at once, one that is not runs in threads."""

    async def one(query: str) -> object:
        found = await asyncio.to_thread(ask.retriever, query) if not _is_async(ask.retriever) else ask.retriever(query)
        return await found if isinstance(found, Awaitable) else found

    return list(await asyncio.gather(*map(one, ask.queries)))


def _is_async(function: object) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004 - an object whose call is async is async, too
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
