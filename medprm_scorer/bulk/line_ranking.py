"""From request lines to result lines, a batch at a time; and whose fault it is when there is no ranking.

A request may be at fault (it is no JSON, has no candidate that can be scored), which is a result like any other: an
error, in its place. Or the engine fails: the server has gone, memory has run out, rewards are NaN. That says nothing of
the request, unless the engine does work on other requests. So when the engine fails, it is tried on a small request
that is known to be good. If it fails on that one too, the error is raised, and no request is blamed. If it works,
each request of the batch is tried again alone, and one that the engine then fails on again, with the known one working
before and after, gets the error as its result.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from medprm_scorer.bulk.request_lines import decode_line
from medprm_scorer.errors import InputError, MedPRMError, NothingScoredError
from medprm_scorer.request_parsing import parse_request, request_id
from medprm_scorer.results.models import Ranking, RankRequest
from medprm_scorer.scorer import MedPRM
from medprm_scorer.selection import check_settings

_KNOWN = RankRequest(question="Which dose?", candidates=["Step 1: Give 5 mg. The answer is (A)"])


@dataclass(frozen=True)
class ResultLine:
    """What became of one request.

    Args:
        text: `{"id": …, "ranking": {…}}` or `{"id": …, "error": "…"}` and a newline, in ASCII: nothing in it can steer
            a terminal or break a line.
        error: Why there is no ranking; None if there is one.
    """

    text: bytes = field(repr=False)
    error: str | None


class LineRanker:
    """Ranks lines of JSON requests; safe to use from many tasks at once.

    Args:
        prm: Scores the requests, by its async calls.
        strategy: As in `MedPRM.rank`.
        aggregate: As in `MedPRM.rank`.

    Raises:
        InputError: An unknown strategy or aggregate.

    Example:
        >>> import asyncio
        >>> rank = LineRanker(MedPRM.from_pretrained())
        >>> lines = [b'{"id": 1, "question": "Which?", "candidates": ["The answer is (B)"]}', b'{"id": 2}', b"{oops}"]
        >>> for result in asyncio.run(rank(lines)):
        ...     print(result.text[:40], result.error and result.error[:23])
        b'{"id": 1, "ranking": {"best": {"index": ' None
        b'{"id": 2, "error": "question: missing; e' question: missing; expe
        b'{"id": null, "error": "not valid JSON at' not valid JSON at chara
    """

    def __init__(self, prm: MedPRM, strategy: str = "weighted_vote", aggregate: str = "min") -> None:
        check_settings(strategy, aggregate)
        self._prm, self._strategy, self._aggregate = prm, strategy, aggregate

    async def __call__(self, lines: Sequence[bytes | None]) -> list[ResultLine]:
        """Rank the requests in some lines, with one call of the engine if all goes well.

        Args:
            lines: Each a request in JSON, or whatever else stood there; None for one too long to be held.

        Returns:
            A result for each line, in order.

        Raises:
            MedPRMError: The engine failed, on a request that is known to be good, too.
        """
        parsed = [_parse(line) for line in lines]
        requests = [request for _, request in parsed if isinstance(request, RankRequest)]
        ranked = iter(await self._rank(requests) if requests else [])
        return [
            _result(name, next(ranked) if isinstance(request, RankRequest) else request) for name, request in parsed
        ]

    async def _rank(self, requests: Sequence[RankRequest]) -> list[Ranking | MedPRMError]:
        results = await self._try(requests)
        if any(_is_of_engine(result) for result in results):
            await self._check_engine()
        return [
            await self._rank_alone(request) if _is_of_engine(result) else result
            for request, result in zip(requests, results, strict=True)
        ]

    async def _rank_alone(self, request: RankRequest) -> Ranking | MedPRMError:
        (result,) = await self._try([request])
        if _is_of_engine(result):
            await self._check_engine()
        return result

    async def _try(self, requests: Sequence[RankRequest]) -> list[Ranking | MedPRMError]:
        """The results of one call; if it failed as a whole, its error for each."""
        try:
            return await self._prm.arank_batch(requests, strategy=self._strategy, aggregate=self._aggregate)
        except MedPRMError as error:
            return [error] * len(requests)

    async def _check_engine(self) -> None:
        (result,) = await self._prm.arank_batch([_KNOWN])
        if isinstance(result, MedPRMError):
            raise result


def _is_of_engine(result: Ranking | MedPRMError) -> bool:
    """Whether the engine may be to blame: whatever is not found wrong with a request before the engine sees it."""
    return isinstance(result, MedPRMError) and not isinstance(result, InputError | NothingScoredError)


def _parse(line: bytes | None) -> tuple[str | int | None, RankRequest | InputError]:
    """The id of a request, as far as it has one, and the request, or what is wrong with it."""
    record: object = None
    try:
        record = decode_line(line)
        return request_id(record), parse_request(record)
    except InputError as error:
        return request_id(record), error


def _result(name: str | int | None, result: Ranking | MedPRMError) -> ResultLine:
    error = str(result) if isinstance(result, MedPRMError) else None
    outcome = {"ranking": result.model_dump(mode="json")} if isinstance(result, Ranking) else {"error": error}
    return ResultLine(json.dumps({"id": name, **outcome}).encode() + b"\n", error)
