"""`calibrate`: from a file of questions with known answers to a `Trust`, through the rankings that their rewards give.

Questions are read as `evaluate` reads them: rewards come from the file, or a model computes them and a journal stores
them. One ranking is made for each question, with the same selection as `MedPRM.rank`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medprm_scorer.aggregate import Aggregate, aggregate_rewards
from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.choices import answer_keys
from medprm_scorer.evaluation.labelled_records import LabelledQuestion, StepRewards
from medprm_scorer.evaluation.questions import Questions, Repeats, Selection
from medprm_scorer.evaluation.reward_sources import RewardSource, refuse_stored, reward_source
from medprm_scorer.preparation import choose
from medprm_scorer.results.models import Ranking, ScoredChain, ScoredStep
from medprm_scorer.sampling.stopping import Rule, should_stop
from medprm_scorer.scorer import MedPRM
from medprm_scorer.selection import Strategy, check_settings
from medprm_scorer.text.answers import DECLINED, normalize_answer
from medprm_scorer.text.answers.callers_functions import AnswerFunction
from medprm_scorer.trust.calibration import Calibration, calibrate_rankings, check_enough


def calibrate(
    path: str | Path,
    prm: MedPRM | Callable[[], MedPRM] | None = None,
    *,
    risk: float,
    delta: float,
    strategy: Strategy = "weighted_vote",
    aggregate: Aggregate = "min",
    stop: Rule | None = None,
    selection: Selection | None = None,
    rescore: bool = False,
    journal: str | Path | None = None,
    answer: AnswerFunction | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Calibration:
    """Find out how likely answers are to be right, and above which probability they may be trusted.

    Args:
        path: JSON list or JSONL with known answers, in any form that `evaluate` reads.
        prm: Scores the questions of a file without rewards, or a function that loads the scorer; None takes the rewards
            in the file.
        risk: Largest error rate among trusted answers, above 0 and below 1.
        delta: Largest probability that this promise fails, above 0 and below 1. `Trust` states the assumptions.
        strategy: As in `MedPRM.rank`.
        aggregate: As in `MedPRM.rank`.
        stop: The rule by which sampling will stop: of each question's candidates, those before the stop are taken, in
            order. None takes them all.
        selection: Which questions, candidates and documents take part.
        rescore: Whether `prm` may score a file that already holds rewards, which are then ignored.
        journal: File that keeps computed rewards, as in `evaluate`.
        answer: Reads the answer from a chain's text where the file records none.
        seed: Seed for the split into two parts.
        progress: Whether to show a progress bar on stderr. None: a bar on a terminal, otherwise an occasional line.

    Returns:
        The calibration; `.trust.save("trust.json")` saves what rankings need.

    Raises:
        InputError: The file or an option is wrong, there are too few questions for the promise, rewards are missing, or
            the file already holds rewards that a model is to compute.
        ScoringError: The model gave NaN.

    Example:
        >>> import json, random, tempfile
        >>> draw = random.Random(0)
        >>> def record(number):
        ...     good = draw.random() < 0.8  # a question with a reliable reward
        ...     return {"question": f"Which, {number}?", "candidates": ["The answer is (A)", "The answer is (B)"],
        ...             "step_rewards": [[0.9], [0.1]] if good else [[0.4], [0.5]], "correct_answer": "A"}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "samples.jsonl")
        ...     _ = file.write_text("\\n".join(json.dumps(record(number)) for number in range(300)))
        ...     found = calibrate(file, risk=0.05, delta=0.1)
        >>> 0.7 < found.coverage < 0.9, found.trust.errors
        (True, 0)
    """
    check_settings(strategy, aggregate)
    selection = selection or Selection()
    if prm is None and (rescore or selection.documents != "given"):
        raise InputError("to score again, or to use other documents, name a model")
    questions = Questions(path, selection, answer, progress)
    if prm is not None:
        held = questions.check()
        check_enough(held.stored + held.missing, risk, delta)  # before hours of scoring
        refuse_stored(path, held, rescore)
    source = reward_source(prm, journal)
    with source:
        judged = JudgedRankings(questions, source, strategy, aggregate, stop)
        records = list(judged)
    found = calibrate_rankings(
        records,
        risk=risk,
        delta=delta,
        strategy=strategy,
        settings={key: str(value) for key, value in source.settings.items()},
        stop=stop.name if stop is not None else None,
        seed=seed,
    )
    return found.model_copy(update={"repeated": judged.repeated})


class JudgedRankings:
    """One ranking for each question with known answers, and whether its answer is right.

    Repeated questions are left out, since they are not independent of each other.

    Args:
        questions: The questions.
        source: Where their rewards come from.
        strategy: As in `MedPRM.rank`.
        aggregate: As in `MedPRM.rank`.
        stop: As in `calibrate`.
    """

    def __init__(
        self,
        questions: Questions,
        source: RewardSource,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        stop: Rule | None = None,
    ) -> None:
        self._questions, self._source = questions, source
        self._choice = (strategy, aggregate, stop)
        self._repeats = Repeats()

    @property
    def repeated(self) -> int:
        """How many questions were left out so far, as repeated."""
        return self._repeats.count

    def __iter__(self) -> Iterator[tuple[Ranking, bool]]:
        """The rankings, in the order of the questions.

        Raises:
            InputError: A record cannot be used, or it has no rewards and no model computes them.
        """
        strategy, aggregate, stop = self._choice
        for question in self._questions:
            labelled = question.labelled
            if labelled is None or labelled.right is None:
                continue
            if self._repeats.add(question.place, labelled):
                continue
            used = _documents_used(question.record, labelled)
            yield judged_ranking(
                labelled,
                self._source.of(question.place, labelled, [aggregate]),
                strategy,
                aggregate,
                stop=stop,
                documents=used,
            )


def judged_ranking(
    question: LabelledQuestion,
    rewards: StepRewards,
    strategy: Strategy,
    aggregate: Aggregate,
    *,
    stop: Rule | None = None,
    documents: int = 0,
) -> tuple[Ranking, bool]:
    """A question's ranking without texts, and whether its answer is right.

    If no candidate could be scored, the ranking is that of one chain with the reward 0 and no answer.

    Args:
        question: The question.
        rewards: The step rewards of each candidate.
        strategy: As in `MedPRM.rank`.
        aggregate: As in `MedPRM.rank`.
        stop: Takes candidates in order until it stops.
        documents: How many documents were read.
    """
    count = len(question.answers)
    if stop is not None:
        count = _stopped(question, rewards, aggregate, stop)
    right = question.right or (False,) * count
    chains = [
        ScoredChain(
            index=index,
            text="",
            steps=[ScoredStep(text="", reward=reward) for reward in rewards[index] or ()],
            answer=None if question.answers[index] == DECLINED else question.answers[index],
            declined=question.answers[index] == DECLINED,
            truncated=index in question.request.truncated,
            error=None if rewards[index] else "it could not be scored",
        )
        for index in range(count)
    ]
    if not any(rewards[:count]):  # the question was asked all the same
        chains[0] = ScoredChain(index=0, text="", steps=[ScoredStep(text="", reward=0.0)])
    ranking = Ranking(
        **choose(chains, strategy, aggregate),
        question="",
        documents_used=documents,
        documents_given=documents,
        prompt_tokens=0,
        unique_tokens=0,
        seconds=0.0,
    )
    keys, right_keys = answer_keys(question.answers[:count], right[:count])
    best = ranking.best.index
    return ranking, bool(ranking.answer is not None and (right[best] or keys[best] in right_keys))


def _stopped(question: LabelledQuestion, rewards: StepRewards, aggregate: Aggregate, stop: Rule) -> int:
    """How many candidates are drawn until the rule stops."""
    drawn: list[tuple[str | None, float | None]] = []
    for answer, steps in zip(question.answers, rewards, strict=True):
        key = normalize_answer(answer) if answer is not None and answer.strip() else None
        drawn.append((key, None if steps is None else aggregate_rewards(steps, aggregate)))
        if should_stop(drawn, stop):
            break
    return len(drawn)


def _documents_used(record: Mapping[str, Any], question: LabelledQuestion) -> int:
    """How many documents were read: what `medprm score` recorded, otherwise as many as there are."""
    ranking = record.get("ranking")
    used = ranking.get("documents_used") if isinstance(ranking, Mapping) else len(question.request.documents)
    return used if isinstance(used, int) and used >= 0 else 0
