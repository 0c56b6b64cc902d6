"""Judges the samples of one question as they arrive: answers and rewards for the stopping rule."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

from medprm_integrations.shared.jobs import Job, Value
from medprm_integrations.shared.settings import SamplingSettings
from medprm_scorer.errors import MedPRMError
from medprm_scorer.results.models import Ranking
from medprm_scorer.sampling import stopping
from medprm_scorer.sampling.rules import Sample
from medprm_scorer.sampling.stopping import Agree, Confident, Standing
from medprm_scorer.session import LiveRanking
from medprm_scorer.text.answers import DECLINED
from medprm_scorer.trust.floors import Floors


@dataclass(frozen=True)
class SampleSeen:
    """A sample that has arrived, and the state of its question. The `repr` shows no text.

    Args:
        number: The sample's number in the order of requests, from 0.
        drawn: How many samples of the question have arrived so far, including failed ones.
        wanted: The most that are wanted.
        reward: Its chain reward; None if it could not be scored.
        probability: The probability that the leading answer stays ahead of the second; None if no vote would be taken.
        answer: Its answer; None if none could be read. It may be a patient's data, like the next two.
        leader: The answer that would win now.
        sample: The sample itself.
    """

    number: int
    drawn: int
    wanted: int
    reward: float | None
    probability: float | None
    answer: str | None = field(repr=False)
    leader: str | None = field(repr=False)
    sample: Sample = field(repr=False)


class Judging(Generic[Value]):
    """Collects the samples of one question, and judges them if the stopping rule or the user needs it.

    Args:
        settings: How candidates are chosen, and when there are enough.
        job: The question.
    """

    def __init__(self, settings: SamplingSettings, job: Job[Value]) -> None:
        self._settings, self.job = settings, job
        self._scores = isinstance(settings.rule, Confident) or settings.on_sample is not None
        self._judges = self._scores or settings.rule is not None
        self._live: LiveRanking | None = None
        self._due: list[tuple[int, Sample]] = []
        self._batch: list[tuple[int, Sample]] = []
        self._seen: dict[int, Sample] = {}
        self._busy = False
        self._goes_on = False

    def add(self, number: int, outcome: Any) -> None:
        """Record the outcome of a sample."""
        drawing = self.job.drawing
        counted = drawing.limits.tokens is not None and not isinstance(outcome, Exception)
        sample = drawing.finish(number, outcome, self.job.tokens(outcome) if counted else 0)
        if sample is not None and self._judges:
            self._due.append((number, sample))

    def is_due(self) -> bool:
        """Whether something must be judged, or ranked at the end."""
        return not self._busy and (bool(self._due) or self._ranks())

    def is_done(self) -> bool:
        """Whether nothing more must be drawn or judged."""
        return self.job.drawing.stopped is not None and not self._busy and not self.is_due()

    def _ranks(self) -> bool:
        """Whether the samples were scored as they arrived and must now be ranked."""
        drawing = self.job.drawing
        over = self._scores and drawing.stopped is not None and self.job.ranked is None
        return over and bool(drawing.values) and self.job.problem() is None

    def begin(self) -> Callable[[], Any]:
        """The call that judges or ranks; pass its result to `take_in`. The documents must be present."""
        self._busy, self._batch, self._due = True, self._due, []
        return partial(self._judge, self._batch) if self._batch else self._rank

    def take_in(self, outcome: Any) -> None:
        """Handle its result.

        Raises:
            Exception: An error of the user's own function, or a bug of the package.
        """
        self._busy = False
        if isinstance(outcome, Exception) and not isinstance(outcome, MedPRMError):
            raise outcome
        if isinstance(outcome, MedPRMError | Ranking):
            self.job.ranked = outcome
        if isinstance(outcome, MedPRMError):
            self._due.clear()
            self.job.drawing.end("quorum")
        elif not isinstance(outcome, Ranking):
            if self._goes_on:
                self.job.drawing.stop = None
            self.job.drawing.judge(outcome)
            self._tell(outcome)

    def close(self) -> None:
        """Free the memory for scoring."""
        if self._live is not None and self._scores:
            self._live.close()
        self._live = None

    def _judge(self, batch: list[tuple[int, Sample]]) -> list[stopping.Sample]:
        """The answers and rewards of all samples so far."""
        if self._live is None:
            settings, documents = self._settings, self.job.found(self._settings).texts
            self._live = settings.prm.live(
                self.job.question, documents, **settings.choice, options=settings.options, scores=self._scores
            )
        self._seen.update(batch)
        said = self._live.add(
            [sample.chain for _, sample in batch],
            numbers=[number for number, _ in batch],
            answers=[sample.answer for _, sample in batch],
            truncated=[place for place, (_, sample) in enumerate(batch) if sample.truncated],
        )
        if isinstance(self._settings.rule, Agree):  # it counts, regardless of strategy and rewards
            votes = self._live.votes()
            said = [(votes.get(number), None) for number in sorted(self._seen)]
        self._goes_on = self._goes_on or self._doubts(said)
        return said

    def _doubts(self, said: list[stopping.Sample]) -> bool:
        """Whether there are enough samples but the floors are not reached: all are drawn before an answer is doubted.

        This does not apply to a calibration: its promise is for sampling that ends when the rule says.
        """
        rule = self._settings.rule
        if self._live is None or not isinstance(rule, Confident) or not isinstance(self._settings.judge, Floors):
            return False
        return stopping.should_stop(said, rule) and self._live.ranking().trusted is False

    def _rank(self) -> Ranking:
        assert self._live is not None
        try:
            return self._live.ranking()
        finally:
            self._live.close()

    def _tell(self, said: list[stopping.Sample]) -> None:
        """Call the user's function for each judged sample."""
        if self._settings.on_sample is None or self._live is None:
            return
        live, drawing, aggregate = self._live, self.job.drawing, self._settings.aggregate
        chains = {number: live.chain(number) for number in sorted(self._seen)}
        rewards = {number: None if chain.error else chain.reward(aggregate) for number, chain in chains.items()}
        standing = Standing.of(said)
        votes = live.votes()
        if standing.voted:
            first = next((number for number in chains if votes.get(number) == standing.leader), None)
        else:
            first = max(chains, key=lambda number: rewards[number] or 0.0)
        answers = {number: DECLINED if chain.declined else chain.answer for number, chain in chains.items()}
        for number, sample in self._batch:
            self._settings.on_sample(
                SampleSeen(
                    number,
                    drawing.finished,
                    drawing.wanted,
                    rewards[number],
                    standing.probability,
                    answers[number],
                    None if first is None else answers[first],
                    sample,
                )
            )
