"""A question whose candidates grow step by step: what was scored before is not computed again."""

import asyncio
from collections.abc import Sequence
from types import TracebackType

from medprm_scorer.engine import Engine, open_session
from medprm_scorer.preparation import RequestEncoder
from medprm_scorer.results.models import ScoredChain
from medprm_scorer.results.request_parsing import Candidate, make_request


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

    def score(self, candidates: Sequence[Candidate]) -> list[ScoredChain]:
        """As `MedPRM.score`; the candidates may be those of earlier calls with more steps, or others.

        Raises:
            InputError: As in `MedPRM.score`, or the session is closed.
            ScoringError: As in `MedPRM.score`.
        """
        request = make_request(self._question, candidates, self._documents)
        encoded = self._encoder.encode(request, self._prefix)
        return encoded.scored(self._engine.score(encoded.prompt.chains))

    async def ascore(self, candidates: Sequence[Candidate]) -> list[ScoredChain]:
        """`score`, with the event loop left free."""
        return await asyncio.to_thread(self.score, candidates)

    def close(self) -> None:
        """Free what is kept; the session cannot be used after that."""
        self._engine.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:  # shows no text
        return f"Session({self._prefix!r})"
