"""Best of n for all integrations: draw, check, warn, collect evidence, rank, record.

An adapter provides its framework's part (a `Job`: how a sample is requested and read, where documents come from) and
puts the winner (a `Choice`) into its framework's form. With `choose_all`, several questions share one limit on the
calls of the language model, and one call of the reward model unless samples are scored as they arrive.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from medprm_integrations.shared.concurrency import never
from medprm_integrations.shared.doubt import settle
from medprm_integrations.shared.draw_samples import adraw_samples, draw_samples
from medprm_integrations.shared.evidence import agathered, gathered
from medprm_integrations.shared.explaining import aexplain_winner, explain_winner
from medprm_integrations.shared.jobs import Job, Value, request_of
from medprm_integrations.shared.ranking import reported
from medprm_integrations.shared.ranking_metadata import RankingMetadata, ranking_metadata
from medprm_integrations.shared.settings import SamplingSettings
from medprm_integrations.shared.user_warnings import warn_of_failures, warn_of_identical
from medprm_scorer.results.models import Ranking, RankRequest

Result = TypeVar("Result")


@dataclass(frozen=True, repr=False)
class Choice(Generic[Value]):
    """The result of a job.

    Args:
        value: The winning sample, or, without a ranking, the first that is not a candidate, such as a tool call.
        note: The ranking and how its candidates were drawn; without a ranking, only the `usage`.
        ranking: The ranking; None if there was no candidate.
        said: The text to answer with instead of the value's, which is not trusted; None for the value itself.
    """

    value: Value
    note: RankingMetadata
    ranking: Ranking | None = None
    said: str | None = None


def choose(settings: SamplingSettings, job: Job[Value], stops: Callable[[Exception], bool] = never) -> Choice[Value]:
    """Draw the samples of one question and choose among them.

    Args:
        settings: How many samples, and how the winner is chosen.
        job: The question.
        stops: Recognizes errors of a sample that end everything.

    Raises:
        Exception: Every sample failed: the first one's error.
        TimeoutError: The deadline passed before any sample arrived.
        ScoringError: No sample could be scored, or fewer than the quorum arrived.
        DoubtfulAnswerError: The answer is not trusted, and the settings ask for an error.
    """
    return only(choose_all(settings, [job], stops))


async def achoose(
    settings: SamplingSettings, job: Job[Value], stops: Callable[[Exception], bool] = never
) -> Choice[Value]:
    """`choose`, with samples as tasks and without blocking the event loop."""
    return only(await achoose_all(settings, [job], stops))


def choose_all(
    settings: SamplingSettings,
    jobs: Sequence[Job[Value] | Exception],
    stops: Callable[[Exception], bool] = never,
    limit: int | None = None,
) -> list[Choice[Value] | Exception]:
    """Draw the samples of many questions and choose among those of each; a failure of one does not affect the others.

    Args:
        settings: How many samples, and how the winners are chosen.
        jobs: The questions; an exception, for an invalid input, is returned in its place.
        stops: Recognizes errors of a sample that end everything.
        limit: Most simultaneous calls of the language model, if the settings have none.
    """
    draw_samples(settings, _asked(jobs), stops, limit)
    ready = _with_candidates(jobs)
    for job in ready:
        if job.given is None:
            job.given = gathered(job.evidence, job.read)
    waiting = _unranked(settings, ready)
    ranked = settings.prm.rank_batch(waiting, **settings.choice) if waiting else []
    answers = _answered(settings, jobs, _ranked(settings, ready, ranked))
    for job, choice, ranking in _chosen(jobs, answers):
        explain_winner(settings, ranking, choice.note, job.found(settings))
    return answers


async def achoose_all(
    settings: SamplingSettings,
    jobs: Sequence[Job[Value] | Exception],
    stops: Callable[[Exception], bool] = never,
    limit: int | None = None,
) -> list[Choice[Value] | Exception]:
    """`choose_all`, with samples as tasks and without blocking the event loop."""
    await adraw_samples(settings, _asked(jobs), stops, limit)
    ready = _with_candidates(jobs)
    for job in ready:
        if job.given is None:
            job.given = await agathered(job.evidence, job.read)
    waiting = _unranked(settings, ready)
    ranked = await settings.prm.arank_batch(waiting, **settings.choice) if waiting else []
    answers = _answered(settings, jobs, _ranked(settings, ready, ranked))
    for job, choice, ranking in _chosen(jobs, answers):
        await aexplain_winner(settings, ranking, choice.note, job.found(settings))
    return answers


def only(results: Sequence[Result | Exception]) -> Result:
    """The single result; an error is raised."""
    (result,) = results
    if isinstance(result, Exception):
        raise result
    return result


def _asked(jobs: Sequence[Job[Value] | Exception]) -> list[Job[Value]]:
    return [job for job in jobs if isinstance(job, Job)]


def _with_candidates(jobs: Sequence[Job[Value] | Exception]) -> list[Job[Value]]:
    """The jobs that have something to choose, with warnings about anything that weakens the choice."""
    ready = [job for job in _asked(jobs) if job.drawing.values and job.problem() is None]
    for job in ready:
        warn_of_failures(job.drawing)
        warn_of_identical([sample.text for sample in job.drawing.samples], job.source)
    return ready


def _request(settings: SamplingSettings, job: Job[Value]) -> RankRequest:
    return request_of(settings, job.question, job.drawing.samples, job.found(settings).texts)


def _unranked(settings: SamplingSettings, ready: Sequence[Job[Value]]) -> list[RankRequest]:
    """The requests of the jobs whose samples were not scored as they arrived."""
    return [_request(settings, job) for job in ready if job.ranked is None]


def _ranked(
    settings: SamplingSettings, ready: Sequence[Job[Value]], rankings: Sequence[Ranking | Exception]
) -> list[Ranking | Exception]:
    """The rankings of all jobs that have candidates, in their final form."""
    others = iter(rankings)
    return reported(
        settings,
        [_request(settings, job) for job in ready],
        [next(others) if job.ranked is None else job.ranked for job in ready],
        [job.found(settings) for job in ready],
        [job.cautions for job in ready],
        [job.drawing for job in ready],
    )


def _answered(
    settings: SamplingSettings, jobs: Sequence[Job[Value] | Exception], rankings: Sequence[Ranking | Exception]
) -> list[Choice[Value] | Exception]:
    """The result of each job, from its ranking."""
    ranked = iter(rankings)
    answers: list[Choice[Value] | Exception] = []
    for job in jobs:
        problem = job if isinstance(job, Exception) else job.problem()
        if isinstance(job, Exception) or problem is not None:
            answers.append(problem or job)  # type: ignore[arg-type]
        else:
            answers.append(_choice(settings, job, next(ranked) if job.drawing.values else None))
    return answers


def _chosen(
    jobs: Sequence[Job[Value] | Exception], answers: Sequence[Choice[Value] | Exception]
) -> Iterator[tuple[Job[Value], Choice[Value], Ranking]]:
    """The jobs for which something was chosen, with the choice and its ranking."""
    for job, choice in zip(jobs, answers, strict=True):
        if isinstance(job, Job) and isinstance(choice, Choice) and choice.ranking is not None:
            yield job, choice, choice.ranking


def _choice(
    settings: SamplingSettings, job: Job[Value], ranking: Ranking | Exception | None
) -> Choice[Value] | Exception:
    """Turns a ranking into an answer."""
    if isinstance(ranking, Exception):
        return ranking
    drawing, usage = job.drawing, job.usage(job.drawing.all_values)
    if ranking is None:
        return Choice(drawing.no_candidates[0], RankingMetadata(usage=usage))
    note = ranking_metadata(ranking, drawing, usage, settings.keep, seconds=job.seconds)
    try:
        said = settle(settings, ranking, note, structured=job.structured)
    except Exception as error:  # noqa: BLE001 - a DoubtfulAnswerError, or an error of the user's function
        return error
    return Choice(drawing.values[ranking.best.index], note, ranking, said)
