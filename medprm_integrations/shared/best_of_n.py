"""Best of n, once for every integration: draw, check, warn, gather evidence, rank, note.

An adapter says what its framework's part is (a `Job`: how a sample is asked for and read, where documents come from)
and puts the winner (a `Choice`) into its framework's form. With `choose_all`, several questions share one limit on the
calls of the language model and one call of the reward model. `rank_all` is the second half, for candidates that are
there already.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar, cast

from medprm_integrations.shared.concurrency import arun_all, never, run_all
from medprm_integrations.shared.evidence import Evidence, agathered, gathered, within_budget
from medprm_integrations.shared.ranking_metadata import RankingMetadata, ranking_metadata
from medprm_integrations.shared.settings import DEFAULT_CONCURRENCY, ChoiceSettings, SamplingSettings
from medprm_integrations.shared.user_warnings import unread, warn_of_failures, warn_of_identical, warn_of_unread
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking, RankRequest
from medprm_scorer.results.request_parsing import make_request
from medprm_scorer.sampling.sample_rounds import Sample, SampleRounds

Value = TypeVar("Value")
Result = TypeVar("Result")

logger = logging.getLogger("medprm")


@dataclass(repr=False, kw_only=True)
class Job(Generic[Value]):
    """One question for which samples are drawn, and the framework's part in it.

    Args:
        question: What the candidates are judged as answers to.
        rounds: The samples to come.
        ask: Gives one sample; in `achoose`, awaited.
        source: The language model, for warnings that are given once for each.
        usage: The tokens of some values together.
        documents: Texts of the documents that are there already.
        evidence: The user's function for more documents, which come first.
        read: From what that function gives to texts.
        cautions: What to know of the question.
        scores: Their scores of retrieval, by which those are chosen that the reward model reads; none: in order.

    Raises:
        InputError: The question is blank or no text; nothing has been paid for yet.
    """

    question: str
    rounds: SampleRounds[Value]
    ask: Callable[[], Any] = field(default=lambda: None)
    source: object
    usage: Callable[[Iterable[Value]], Mapping[str, Any] | None]
    documents: Sequence[str] = ()
    evidence: Callable[[], Any] | None = None
    read: Callable[[object], list[str]] = field(default=cast("Any", list))
    cautions: tuple[str, ...] = ()
    scores: Sequence[float | None] = ()
    given: list[str] | None = field(default=None, init=False)
    """What the user's function gave, once it was asked."""

    def __post_init__(self) -> None:
        if not isinstance(self.question, str) or not self.question.strip():
            raise InputError("the question must be a text that is not blank")

    def found(self, settings: ChoiceSettings) -> Evidence:
        """What the candidates are checked against."""
        texts = [*(self.given or ()), *self.documents]
        scores = [*[None] * len(self.given or ()), *self.scores] if self.scores else []
        return within_budget(texts, settings.prm.count_tokens, scores=scores)


@dataclass(frozen=True, repr=False)
class Choice(Generic[Value]):
    """What became of a job.

    Args:
        value: The winning sample, or, without a ranking, the first that is no candidate, such as a call of tools.
        note: The ranking and how its candidates were drawn; without a ranking, only the `usage`.
        ranking: The ranking; None if there was no candidate.
    """

    value: Value
    note: RankingMetadata
    ranking: Ranking | None = None


def new_rounds(
    settings: SamplingSettings,
    question: str,
    read: Callable[[Value], Sample | str | Exception | None],
    *,
    probe: bool = False,
) -> SampleRounds[Value]:
    """The rounds in which samples are drawn with these settings.

    Args:
        settings: How many, and when it is enough.
        question: The question, whose options the answers are read by.
        read: A sample as a candidate, as in `SampleRounds`.
        probe: Draw one first, which may be a call of tools.

    Raises:
        InputError: A setting was assigned a wrong value.
    """
    settings.check()
    answer = partial(settings.prm.read_answer, question=question, answer=settings.answer, options=settings.options)
    return SampleRounds(settings.n, read, rules=settings.rules, agree=settings.agree, answer=answer, probe=probe)


def choose(settings: SamplingSettings, job: Job[Value], stops: Callable[[Exception], bool] = never) -> Choice[Value]:
    """Draw the samples of one question and choose among them.

    Args:
        settings: How many samples, and how the winner is chosen.
        job: The question.
        stops: Errors of a sample that end everything.

    Raises:
        Exception: Every sample failed: the first one's error.
        ScoringError: No sample could be scored.
    """
    return only(choose_all(settings, [job], stops))


async def achoose(
    settings: SamplingSettings, job: Job[Value], stops: Callable[[Exception], bool] = never
) -> Choice[Value]:
    """`choose`, with samples as tasks and the event loop left free."""
    return only(await achoose_all(settings, [job], stops))


def choose_all(
    settings: SamplingSettings,
    jobs: Sequence[Job[Value] | Exception],
    stops: Callable[[Exception], bool] = never,
    limit: int | None = None,
) -> list[Choice[Value] | Exception]:
    """Draw the samples of many questions and choose among those of each; what fails for one does not end the others.

    Args:
        settings: How many samples, and how the winners are chosen.
        jobs: The questions; an exception, of an input that is none, comes back in its place.
        stops: Errors of a sample that end everything.
        limit: Most calls of the language model at once, where the settings do not say.
    """
    limit = settings.max_concurrency or limit or DEFAULT_CONCURRENCY
    while turns := _next_round(jobs):
        for job in _without_evidence(turns):
            job.given = gathered(job.evidence, job.read)
        _take_in(turns, run_all([job.ask for job, count in turns for _ in range(count)], limit, stops))
    ready = _with_candidates(jobs)
    for job in ready:
        if job.given is None:
            job.given = gathered(job.evidence, job.read)
    evidence = [job.found(settings) for job in ready]
    return _choices(
        settings,
        jobs,
        rank_all(settings, _requests(settings, ready, evidence), evidence, [job.cautions for job in ready]),
    )


async def achoose_all(
    settings: SamplingSettings,
    jobs: Sequence[Job[Value] | Exception],
    stops: Callable[[Exception], bool] = never,
    limit: int | None = None,
) -> list[Choice[Value] | Exception]:
    """`choose_all`, with samples as tasks and the event loop left free."""
    limit = settings.max_concurrency or limit or DEFAULT_CONCURRENCY
    while turns := _next_round(jobs):
        for job in _without_evidence(turns):
            job.given = await agathered(job.evidence, job.read)
        _take_in(turns, await arun_all([job.ask for job, count in turns for _ in range(count)], limit, stops))
    ready = _with_candidates(jobs)
    for job in ready:
        if job.given is None:
            job.given = await agathered(job.evidence, job.read)
    evidence = [job.found(settings) for job in ready]
    return _choices(
        settings,
        jobs,
        await arank_all(settings, _requests(settings, ready, evidence), evidence, [job.cautions for job in ready]),
    )


def rank_all(
    settings: ChoiceSettings,
    requests: Sequence[RankRequest | Exception],
    evidence: Sequence[Evidence] | None = None,
    cautions: Sequence[Sequence[str]] | None = None,
) -> list[Ranking | Exception]:
    """Rank candidates with one call of the reward model, and tell the user what there is to know of each ranking.

    Args:
        settings: How the winners are chosen.
        requests: The questions with their candidates; an exception, of an input that is none, comes back in its place.
        evidence: Where the requests' documents come from; None if they are all that there were.
        cautions: More to know of each request.
    """
    good = [request for request in requests if isinstance(request, RankRequest)]
    results = settings.prm.rank_batch(good, **settings.choice) if good else []
    return _reported(settings, requests, evidence, cautions, results)


async def arank_all(
    settings: ChoiceSettings,
    requests: Sequence[RankRequest | Exception],
    evidence: Sequence[Evidence] | None = None,
    cautions: Sequence[Sequence[str]] | None = None,
) -> list[Ranking | Exception]:
    """`rank_all`, with the event loop left free."""
    good = [request for request in requests if isinstance(request, RankRequest)]
    results = await settings.prm.arank_batch(good, **settings.choice) if good else []
    return _reported(settings, requests, evidence, cautions, results)


def only(results: Sequence[Result | Exception]) -> Result:
    """The one result; an error is raised."""
    (result,) = results
    if isinstance(result, Exception):
        raise result
    return result


def _next_round(jobs: Sequence[Job[Value] | Exception]) -> list[tuple[Job[Value], int]]:
    """The jobs that need more samples, and how many."""
    return [(job, count) for job in jobs if isinstance(job, Job) and (count := job.rounds.to_draw())]


def _without_evidence(turns: Sequence[tuple[Job[Value], int]]) -> list[Job[Value]]:
    """The jobs whose evidence is to be gathered now: before samples are paid for, but after one that may call tools.

    A function that fails so costs no more than that one sample; a turn that calls tools needs no evidence.
    """
    return [job for job, _ in turns if job.given is None and not (job.rounds.probe and not job.rounds.drawn)]


def _take_in(turns: Sequence[tuple[Job[Value], int]], outcomes: Iterable[Value | Exception]) -> None:
    remaining = iter(outcomes)
    for job, count in turns:
        job.rounds.add(list(islice(remaining, count)))


def _with_candidates(jobs: Sequence[Job[Value] | Exception]) -> list[Job[Value]]:
    """The jobs for which there is something to choose; what makes the choice a lesser one is warned of."""
    ready = [job for job in jobs if isinstance(job, Job) and job.rounds.values]
    for job in ready:
        warn_of_failures(job.rounds)
        warn_of_identical([sample.text for sample in job.rounds.samples], job.source)
    return ready


def _requests(settings: ChoiceSettings, jobs: Sequence[Job[Any]], evidence: Sequence[Evidence]) -> list[RankRequest]:
    return [
        request_of(settings, job.question, job.rounds.samples, found.texts)
        for job, found in zip(jobs, evidence, strict=True)
    ]


def request_of(
    settings: ChoiceSettings, question: str, samples: Sequence[Sample], documents: Sequence[str]
) -> RankRequest:
    """The request that ranks samples, with what is known of each.

    Raises:
        InputError: Something has the wrong type; the message names it.
    """
    return make_request(
        question,
        [sample.chain for sample in samples],
        documents,
        options=settings.options,
        answers=[sample.answer for sample in samples],
        truncated=[place for place, sample in enumerate(samples) if sample.truncated],
    )


def _reported(
    settings: ChoiceSettings,
    requests: Sequence[RankRequest | Exception],
    evidence: Sequence[Evidence] | None,
    cautions: Sequence[Sequence[str]] | None,
    results: Iterable[Ranking | Exception],
) -> list[Ranking | Exception]:
    """The rankings as the user gets them: with all documents counted, and with a warning, a log record and a call."""
    reported: list[Ranking | Exception] = []
    ranked = iter(results)
    for place, request in enumerate(requests):
        result = request if isinstance(request, Exception) else next(ranked)
        if isinstance(result, Ranking) and isinstance(request, RankRequest):
            found = evidence[place] if evidence else Evidence(tuple(request.documents))
            more = [*(cautions[place] if cautions else ()), *result.cautions]
            read = found.places(result.documents_read)
            with_text = len(found.places(range(len(found.texts)))) + found.left_out
            if found.left_out:
                more.append(unread(len(read), with_text))
            documents = {"documents_given": found.given, "documents_used": len(read), "documents_read": read}
            result = result.model_copy(update={**documents, "cautions": more})
            if 0 < len(read) < with_text or found.nothing_fits(settings.prm.count_tokens):
                warn_of_unread(len(read), with_text)
            if result.cautions:
                logger.warning("A ranking of %d candidates: %s", len(result.chains), " ".join(result.cautions))
            if settings.on_ranking is not None:
                settings.on_ranking(result)
        reported.append(result)
    return reported


def _choices(
    settings: SamplingSettings, jobs: Sequence[Job[Value] | Exception], rankings: Sequence[Ranking | Exception]
) -> list[Choice[Value] | Exception]:
    ranked = iter(rankings)
    return [
        job if isinstance(job, Exception) else _choice(settings, job, next(ranked) if job.rounds.values else None)
        for job in jobs
    ]


def _choice(
    settings: SamplingSettings, job: Job[Value], ranking: Ranking | Exception | None
) -> Choice[Value] | Exception:
    if isinstance(ranking, Exception):
        return ranking
    rounds, usage = job.rounds, job.usage(job.rounds.all_values)
    if ranking is not None:
        note = ranking_metadata(ranking, rounds, usage, settings.keep)
        return Choice(rounds.values[ranking.best.index], note, ranking)
    try:
        rounds.check()
    except Exception as error:  # noqa: BLE001 - it is the first sample's
        return error
    return Choice(rounds.no_candidates[0], RankingMetadata(usage=usage))
