"""From request lines to result lines, one batch at a time; decides who is at fault when there is no ranking.

A request may be at fault: it is not JSON, or has no candidate that can be scored. Its result is then an error, like any
other result. Or the engine fails: the server is unreachable, memory has run out, rewards are NaN. That says nothing
about the request, unless the engine works on other requests. So when the engine fails, it is tried on a small request
that is known to be good. If it fails on that too, the error is raised, and no request is blamed. If it works, each
request of the batch is tried again alone. A request on which the engine fails again, while the known one works before
and after, gets the error as its result.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medprm_scorer.aggregate import Aggregate
from medprm_scorer.bulk.request_lines import RequestLine, decode_line
from medprm_scorer.bulk.result_file import result_line
from medprm_scorer.errors import InputError, MedPRMError, NothingScoredError
from medprm_scorer.results.models import Ranking, RankRequest
from medprm_scorer.results.request_parsing import parse_request, request_id
from medprm_scorer.scorer import MedPRM
from medprm_scorer.selection import Strategy, check_settings

_KNOWN = RankRequest(question="Which dose?", candidates=["Step 1: Give 5 mg. The answer is (A)"])


@dataclass(frozen=True)
class ResultLine:
    """The outcome for one request.

    Args:
        text: `{"id": …, "run": {…}, "ranking": {…}}` or `{"id": …, "run": {…}, "error": "…"}` and a newline, and what
            `medprm evaluate` needs: `data_source`, `correct_answer`, and the `answer` and `score` of solutions.
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
        ...     print(result.text[:28], result.error and result.error[:23])
        b'{"id": 1, "run": {"record": ' None
        b'{"id": 2, "run": {"record": ' question: missing; expe
        b'{"id": null, "run": {"record' not valid JSON at chara
    """

    def __init__(self, prm: MedPRM, strategy: Strategy = "weighted_vote", aggregate: Aggregate = "min") -> None:
        check_settings(strategy, aggregate)
        self._prm, self._strategy, self._aggregate = prm, strategy, aggregate
        self.run = run_settings(prm, strategy, aggregate)

    async def __call__(self, lines: Sequence[bytes | RequestLine | None]) -> list[ResultLine]:
        """Rank the requests in some lines, with one engine call if nothing fails.

        Args:
            lines: Each is a request in JSON, or whatever else the line holds; None for a line too long to hold in
                memory.

        Returns:
            A result for each line, in order.

        Raises:
            MedPRMError: The engine failed, even on a request that is known to be good.
        """
        records = [_Record.of(line) for line in lines]
        requests = [record.request for record in records if isinstance(record.request, RankRequest)]
        ranked = iter(await self._rank(requests) if requests else [])
        return [
            self._result(record, next(ranked) if isinstance(record.request, RankRequest) else record.request)
            for record in records
        ]

    def _result(self, record: "_Record", result: Ranking | MedPRMError) -> ResultLine:
        run = {"record": record.digest, **self.run}
        if isinstance(result, Ranking):
            return ResultLine(
                result_line(record.id, run, {"ranking": result.model_dump(mode="json")}, record.kept), None
            )
        outcome: dict[str, Any] = {"error": str(result)}
        if isinstance(record.request, RankRequest):
            outcome["request"] = record.request.model_dump(include={"question", "candidates"})
        return ResultLine(result_line(record.id, run, outcome, record.kept), str(result))

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
    """Whether the engine may be at fault: true for every error not found in a request before the engine sees it."""
    return isinstance(result, MedPRMError) and not isinstance(result, InputError | NothingScoredError)


def run_settings(prm: MedPRM, strategy: str, aggregate: str) -> dict[str, str]:
    """What results depend on besides the request, as stored in each line."""
    return {"strategy": strategy, "aggregate": aggregate, **prm.settings}


@dataclass(frozen=True, repr=False)
class _Record:
    """One line as far as it can be read.

    Args:
        id: The request's own id, if it has one.
        digest: Digest of the line.
        request: The request, or what is wrong with it.
        kept: The fields that its result keeps for an evaluation.
    """

    id: str | int | None
    digest: str
    request: RankRequest | InputError
    kept: Mapping[str, Any]

    @classmethod
    def of(cls, line: bytes | RequestLine | None) -> "_Record":
        text = line.text if isinstance(line, RequestLine) else line
        digest = line.digest if isinstance(line, RequestLine) else hashlib.sha256(line or b"").hexdigest()[:16]
        record: object = None
        try:
            record = decode_line(text)
            request: RankRequest | InputError = parse_request(record)
        except InputError as error:
            return cls(request_id(record), digest, error, {})
        return cls(request_id(record), digest, request, _kept(record) if isinstance(record, Mapping) else {})


def _kept(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: record[key] for key in ("data_source", "correct_answer") if record.get(key) is not None}
    if "candidates" not in record:
        fields = ("answer", "score")
        kept["solutions"] = [{key: one[key] for key in fields if key in one} for one in record["solutions"]]
    return kept
