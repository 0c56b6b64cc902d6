"""`score_file`: any number of requests through one engine, from a file to a file; a killed run is resumed.

A few batches of requests are on their way at a time, so memory does not grow with the file. Results are written in the
order of the requests, whole batches at a time, and batches are cut by what is in the file alone: a run that is resumed
begins with a whole batch of these. Several calls at a time are packed as they come, so rewards of two runs may differ
by rounding; one call at a time, or a deterministic engine, gives the same to the last bit.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medprm_scorer.aggregate import Aggregate
from medprm_scorer.bulk.line_ranking import LineRanker, ResultLine
from medprm_scorer.bulk.request_lines import RequestLine, read_request_lines
from medprm_scorer.bulk.result_file import ResultFile
from medprm_scorer.errors import InputError
from medprm_scorer.files.progress import file_bar
from medprm_scorer.scorer import MedPRM
from medprm_scorer.selection import Strategy, check_settings

_BATCH_BYTES = 1 << 20  # of requests; eight of the released test set's
_WINDOW_BYTES = 1 << 25
PROBLEMS_KEPT = 5

_Batch = list[RequestLine]


@dataclass(frozen=True)
class ScoredFile:
    """How far the results in a file go.

    Args:
        records: Records that have their result, those of earlier runs included.
        errors: How many of these results are errors.
        earlier: How many of the records had their result before this run.
        problems: The first few errors of this run, each with the place of its record.
        earlier_errors: How many of the errors are of earlier runs.
    """

    records: int
    errors: int
    earlier: int
    problems: list[str] = field(default_factory=list)
    earlier_errors: int = 0


def score_file(
    path: str | Path,
    out: str | Path,
    prm: MedPRM | Callable[[], MedPRM],
    *,
    strategy: Strategy = "weighted_vote",
    aggregate: Aggregate = "min",
    batch: int = 4,
    in_flight: int = 4,
    progress: bool | None = None,
) -> ScoredFile:
    """Rank the requests in a file, and write a line for each to another.

    The lines are `{"id": …, "run": {…}, "ranking": {…}}`, or `{"id": …, "run": {…}, "error": "…"}` for a request that
    cannot be ranked, in the order of the requests; `run` says what the result was made with. `data_source`,
    `correct_answer`, and the `answer` and `score` of solutions are kept, so that `evaluate` reads the file. Called
    again after it was stopped, however that was, it resumes.

    Args:
        path: JSONL, a JSON list, or gzip of either; requests, or records of the released test set.
        out: The file to write. Must not exist, be empty, or be of an earlier run with the same settings on a file that
            begins with the same records.
        prm: Scores the requests; a function is called when the first of them comes, and not if there is none.
        strategy: As in `MedPRM.rank`.
        aggregate: As in `MedPRM.rank`.
        batch: Most requests in one call of the engine, at least 1.
        in_flight: Most calls at a time, at least 1: more than one lets texts be tokenized while the model runs, and
            keeps a server busy.
        progress: Whether to show a bar on stderr; None: a bar on a terminal, else a line now and then.

    Returns:
        How many records there are, and how many of them have an error.

    Raises:
        InputError: An option is wrong; `out` or its earlier records are not those of this run; the input cannot be read
            further, in which case everything before that place is written.
        ScoringError: The engine fails, and not because of a request. What was done is written.
        OutputError: The disk is full.
        RuntimeError: Called where an event loop runs: `await ascore_file` there.

    Example:
        >>> import json, tempfile
        >>> request = {"id": "q1", "question": "Which?", "candidates": ["The answer is (A)", "The answer is (B)"]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     requests, rankings = Path(folder, "requests.jsonl"), Path(folder, "rankings.jsonl")
        ...     _ = requests.write_text(json.dumps(request) + "\\nno JSON\\n", encoding="utf-8")
        ...     score_file(requests, rankings, MedPRM.from_pretrained)
        ...     [sorted(json.loads(line)) for line in rankings.open()]
        ScoredFile(records=2, errors=1, earlier=0, problems=['line 2: not valid JSON at character 0'], earlier_errors=0)
        [['id', 'ranking', 'run'], ['error', 'id', 'run']]
    """
    run = ascore_file(
        path,
        out,
        prm,
        strategy=strategy,
        aggregate=aggregate,
        batch=batch,
        in_flight=in_flight,
        progress=progress,
    )
    try:
        return asyncio.run(run)
    finally:
        run.close()  # has not begun where an event loop runs already


async def ascore_file(
    path: str | Path,
    out: str | Path,
    prm: MedPRM | Callable[[], MedPRM],
    *,
    strategy: Strategy = "weighted_vote",
    aggregate: Aggregate = "min",
    batch: int = 4,
    in_flight: int = 4,
    progress: bool | None = None,
) -> ScoredFile:
    """`score_file` for an event loop, which is left free while the engine works, but not while files are read."""
    check_settings(strategy, aggregate)
    if batch < 1 or in_flight < 1:
        raise InputError("batch and in_flight must be at least 1")
    batches = _batches(read_request_lines(path), batch)
    with ResultFile(out) as results:
        first = _resume(batches, results, path, {"strategy": strategy, "aggregate": aggregate})
        earlier, earlier_errors = results.records, results.errors
        problems: list[str] = []
        if first is not None:
            prm = prm if isinstance(prm, MedPRM) else prm()
            rank = LineRanker(prm, strategy, aggregate)
            if first.settings is not None:
                _compare(first.settings, rank.run, out)
            results.resume()
            with file_bar(path, "scoring", progress, first.skipped) as bar:
                async with aclosing(_in_order(first.batch, batches, rank, in_flight)) as ranked:
                    async for requests, found in ranked:
                        _write(results, requests, found, problems)
                        bar.set_postfix_str(f"{results.records:,} records, {results.errors:,} errors", False)
                        bar.update(requests[-1].end - bar.n)
        return ScoredFile(results.records, results.errors, earlier, problems, earlier_errors)


@dataclass(frozen=True)
class _First:
    """The first batch without its results; what the earlier ones were made with; bytes of the file before it."""

    batch: _Batch
    settings: Mapping[str, Any] | None
    skipped: int


def _resume(
    batches: Iterator[_Batch], results: ResultFile, path: str | Path, options: Mapping[str, str]
) -> _First | None:
    """Read over the batches that have their results, and see that these are of the same records; None if all have."""
    settings: dict[str, Any] | None = None
    end = 0
    for batch in batches:
        for request in batch:
            run = results.next()
            if run is None:
                return _First(batch, settings, end)
            settings = {key: value for key, value in run.items() if key != "record"}
            _compare(settings, options, results.path)
            if run.get("record") != request.digest:
                raise InputError(_changed(path, results.path))
        results.keep()
        end = batch[-1].end
    if results.next() is not None:
        raise InputError(_changed(path, results.path))
    return None


def _changed(path: str | Path, out: str | Path) -> str:
    return (
        f"{path} has changed: its first records, which have their results in {out}, are not those of the earlier run; "
        "name another output, or delete it to start again"
    )


def _compare(earlier: Mapping[str, Any], now: Mapping[str, str], out: str | Path) -> None:
    """Refuse settings other than those of the results that are there; names the first that differs."""
    for key, value in now.items():
        if earlier.get(key) != value:
            raise InputError(
                f"{out} was begun with another {key} ({earlier.get(key)}, not {value}): use that again, name another "
                "file, or delete this one to start again"
            )


def _batches(lines: Iterator[RequestLine], most: int) -> Iterator[_Batch]:
    """The lines in batches; those before a place that cannot be read come before its error."""
    batch: _Batch = []
    try:
        for line in lines:
            batch.append(line)
            if len(batch) == most or sum(one.size for one in batch) >= _BATCH_BYTES:
                yield batch
                batch = []
    except InputError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


async def _in_order(
    first: _Batch, batches: Iterator[_Batch], rank: LineRanker, in_flight: int
) -> AsyncGenerator[tuple[_Batch, list[ResultLine]], None]:
    """The batches with their results, in order, while later ones are already on their way.

    At most `in_flight` are with the engine; as many again may wait, done, for one before them.
    """
    turns = asyncio.Semaphore(in_flight)

    async def ranked(batch: _Batch) -> list[ResultLine]:
        async with turns:
            return await rank(batch)

    window = deque([(first, asyncio.create_task(ranked(first)))])
    unreadable: InputError | None = None
    more = True
    try:
        while window:
            while more and len(window) < 2 * in_flight and _size(window) < _WINDOW_BYTES:
                try:
                    batch = next(batches, None)
                except InputError as error:  # what was read before is still to be written
                    batch, unreadable = None, error
                if batch is None:
                    more = False
                else:
                    window.append((batch, asyncio.create_task(ranked(batch))))
            batch, task = window[0]
            results = await task
            window.popleft()
            yield batch, results
        if unreadable is not None:
            raise unreadable
    finally:
        for _, task in window:
            task.cancel()
        await asyncio.gather(*(task for _, task in window), return_exceptions=True)


def _size(window: Sequence[tuple[_Batch, Any]]) -> int:
    return sum(line.size for batch, _ in window for line in batch)


def _write(results: ResultFile, requests: _Batch, found: Sequence[ResultLine], problems: list[str]) -> None:
    for request, result in zip(requests, found, strict=True):
        if result.error is not None and len(problems) < PROBLEMS_KEPT:
            problems.append(f"{request.name}: {result.error}")
    results.add([result.text for result in found], sum(result.error is not None for result in found))
