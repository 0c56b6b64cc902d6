"""A question whose candidates grow step by step: what was scored before is not computed again."""

import asyncio
import time
from collections.abc import Sequence
from inspect import isawaitable
from types import TracebackType

from medprm_scorer.aggregate import Aggregate
from medprm_scorer.encoding import EncodedChain
from medprm_scorer.engine import Engine, open_session
from medprm_scorer.preparation import Choice, EncodedRequest, RequestEncoder
from medprm_scorer.results.models import Ranking, ScoredChain
from medprm_scorer.results.request_parsing import Candidate, make_request
from medprm_scorer.selection import Strategy
from medprm_scorer.text.answers import Options
from medprm_scorer.text.answers.callers_functions import AnswerFunction, GroupFunction


class Session:
    """Scores growing chains of one question. Made by `MedPRM.session`; closed by `with`, or by `close`.

    A local model keeps the keys and values of the documents and question, and of the chains of the latest call, so that
    scoring the same chains with one more step each runs the new steps only; chains that are left out of a call are
    dropped. With a server, what is kept is the server's to decide. Safe to use from many threads and tasks at once.

    Args:
        encoder: Turns candidates into token ids.
        engine: Computes rewards.
        question: The question.
        documents: Its documents.

    Raises:
        InputError: A wrong type, a blank question, or a question too long for the model.
    """

    def __init__(self, encoder: RequestEncoder, engine: Engine, question: str, documents: Sequence[str]) -> None:
        self._encoder, self._question, self._documents = encoder, question, documents
        self._prefix = encoder.prefix(question, documents)
        self._engine = open_session(engine, self._prefix.ids)
        self._latest: dict[EncodedChain, list[float]] = {}

    def score(self, candidates: Sequence[Candidate]) -> list[ScoredChain]:
        """As `MedPRM.score`; the candidates may be those of earlier calls with more steps, or others.

        Raises:
            InputError: As in `MedPRM.score`, or the session is closed.
            ScoringError: As in `MedPRM.score`.
        """
        request = make_request(self._question, candidates, self._documents)
        encoded = self._encoder.encode(request, self._prefix)
        return encoded.scored(self._rewards(encoded.prompt.chains))

    async def ascore(self, candidates: Sequence[Candidate]) -> list[ScoredChain]:
        """`score`, with the event loop left free."""
        return await asyncio.to_thread(self.score, candidates)

    def rank(
        self,
        candidates: Sequence[Candidate],
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        id: str | int | None = None,
        answer: AnswerFunction | None = None,
        options: Options | None = None,
        group: GroupFunction | None = None,
        truncated: Sequence[int] = (),
    ) -> Ranking:
        """As `MedPRM.rank`; what `score` has scored before is not computed again.

        Raises:
            InputError: As in `MedPRM.rank`, or the session is closed.
            ScoringError: As in `MedPRM.rank`.
        """
        begun = time.perf_counter()
        choice = Choice(strategy, aggregate, group)
        encoded = self._encode(candidates, id, answer, options, truncated)
        rewards = self._rewards(encoded.prompt.chains)
        groups = encoded.groups(choice)
        return encoded.ranking(rewards, choice, seconds=time.perf_counter() - begun, groups=groups)

    async def arank(
        self,
        candidates: Sequence[Candidate],
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        id: str | int | None = None,
        answer: AnswerFunction | None = None,
        options: Options | None = None,
        group: GroupFunction | None = None,
        truncated: Sequence[int] = (),
    ) -> Ranking:
        """`rank`, with the event loop left free; `group` may be async."""
        begun = time.perf_counter()
        choice = Choice(strategy, aggregate, group)
        encoded = await asyncio.to_thread(self._encode, candidates, id, answer, options, truncated)
        rewards = await asyncio.to_thread(self._rewards, encoded.prompt.chains)
        groups = await asyncio.to_thread(encoded.groups, choice)
        if isawaitable(groups):
            groups = await groups
        return encoded.ranking(rewards, choice, seconds=time.perf_counter() - begun, groups=groups)

    @property
    def tokens_run(self) -> int:
        """Tokens that the calls so far have run; with a server, the unique ones of each call that it was asked for."""
        return self._engine.tokens_run

    def _rewards(self, chains: Sequence[EncodedChain]) -> list[list[float]]:
        """Their rewards; the engine is not asked, and so drops nothing, if the call before had all of them."""
        latest = self._latest
        if chains and all(chain in latest for chain in chains):
            return [latest[chain] for chain in chains]
        rewards = self._engine.score(chains)
        self._latest = dict(zip(chains, rewards, strict=True)) if len(rewards) == len(chains) else {}
        return rewards

    def _encode(
        self,
        candidates: Sequence[Candidate],
        id: str | int | None,
        answer: AnswerFunction | None,
        options: Options | None,
        truncated: Sequence[int],
    ) -> EncodedRequest:
        request = make_request(self._question, candidates, self._documents, id=id, options=options, truncated=truncated)
        return self._encoder.encode(request, self._prefix, answer)

    def close(self) -> None:
        """Free what is kept; the session cannot be used after that."""
        self._engine.close()
        self._latest = {}

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:  # shows no text
        return f"Session({self._prefix!r})"
