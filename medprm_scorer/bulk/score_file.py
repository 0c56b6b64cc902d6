"""`score_file`: any number of requests through one engine, from a file to a file; a killed run can be resumed.

Only a few batches of requests are in progress at a time, so memory does not grow with the file. Results are written in
the order of the requests, whole batches at a time. The division into batches depends only on the file, so a resumed run
begins with a whole batch. Simultaneous calls are packed as they arrive, and processes may choose different kinds of
attention, so the rewards of two runs may differ by rounding; with a deterministic engine they are identical to the last
bit.
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

_BATCH_BYTES = 1 << 20  # bytes of requests; about eight of the released test set
_WINDOW_BYTES = 1 << 25
PROBLEMS_KEPT = 5

_Batch = list[RequestLine]


@dataclass(frozen=True)
class ScoredFile:
    """Counts of the results in a file.

    Args:
        records: Records that have a result, including those of earlier runs.
        errors: How many of these results are errors.
        earlier: How many of the records had a result before this run.
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
    """Rank the requests in a file, and write a line for each to another file.

    The lines are `{"id": …, "run": {…}, "ranking": {…}}`, or `{"id": …, "run": {…}, "error": "…"}` for a request that
    cannot be ranked, in the order of the requests; `run` records what the result was made with. `data_source`,
    `correct_answer`, and the `answer` and `score` of solutions are kept, so that `evaluate` can read the file. If it
    was stopped in any way, another call with the same arguments resumes.

    Args:
        path: JSONL, a JSON list, or gzip of either; requests, or records of the released test set.
        out: The file to write. It must not exist, or be empty, or come from an earlier run with the same settings on a
            file that begins with the same records.
        prm: Scores the requests. A function that loads the scorer is called at the first request, and not at all if
            there is none.
        strategy: As in `MedPRM.rank`.
        aggregate: As in `MedPRM.rank`.
        batch: Most requests in one engine call, at least 1.
        in_flight: Most simultaneous calls, at least 1. With more than one, texts are tokenized while the model runs,
            and a server is kept busy.
        progress: Whether to show a progress bar on stderr. None: a bar on a terminal, otherwise an occasional line.

    Returns:
        How many records there are, and how many of them have an error.

    Raises:
        InputError: An option is wrong; `out` or its earlier records are not those of this run; the input cannot be read
            beyond some place, in which case everything before it is written.
        ScoringError: The engine fails, and not because of a request. Finished results are written.
        OutputError: The disk is full.
        RuntimeError: It was called where an event loop runs: use `await ascore_file` there.

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
        run.close()  # the coroutine has not started if an event loop is already running


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
    """`score_file` for an event loop, which is blocked only while files are read, not while the engine works."""
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
    """The first batch without results; what the earlier ones were made with; bytes of the file before it."""

    batch: _Batch
    settings: Mapping[str, Any] | None
    skipped: int


def _resume(
    batches: Iterator[_Batch], results: ResultFile, path: str | Path, options: Mapping[str, str]
) -> _First | None:
    """Skip the batches that have results, and check that these belong to the same records; None if all have."""
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
        f"{path} has changed: its first records, which have results in {out}, are not those of the earlier run; "
        "name another output, or delete it to start again"
    )


def _compare(earlier: Mapping[str, Any], now: Mapping[str, str], out: str | Path) -> None:
    """Refuse settings other than those of the existing results; the message names the first that differs."""
    for key, value in now.items():
        if earlier.get(key) != value:
            raise InputError(
                f"{out} was begun with a different {key} ({earlier.get(key)}, not {value}): use that again, name "
                "another file, or delete this one to start again"
            )


def _batches(lines: Iterator[RequestLine], most: int) -> Iterator[_Batch]:
    """The lines in batches; the lines before an unreadable place come before the error is raised."""
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
    """The batches with their results, in order, while later ones are already in progress.

    At most `in_flight` are with the engine; as many again may be finished and wait for an earlier one.
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
                except InputError as error:  # what was read before must still be written
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
