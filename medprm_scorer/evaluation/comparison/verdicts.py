"""How right each selection method is on each question of one run, as numbers: the input of a comparison."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from medprm_scorer.aggregate import aggregate_rewards
from medprm_scorer.evaluation.choices import Candidates, winners
from medprm_scorer.evaluation.labelled_records import LabelledQuestion, StepRewards
from medprm_scorer.evaluation.questions import Questions
from medprm_scorer.evaluation.reward_sources import RewardSource
from medprm_scorer.text.answers import normalize_answer

Choice = tuple[str, int | None]
"""A selection method, and the index of its aggregate among those requested; None if it uses no rewards."""


@dataclass(frozen=True)
class Verdict:
    """The data of one question.

    Args:
        place: Its place in the file.
        id: Its own id as text, or None.
        digest: Digest of its text.
        source: Its data source.
        gold: Digest of its correct answer, or None.
        candidates: Digest of the texts of its candidates.
        right: How right each selection method is, from 0 to 1.
        unscored: Whether rewards are used but no candidate has any.
    """

    place: int
    id: str | None = field(repr=False)
    digest: bytes
    source: str = field(repr=False)
    gold: bytes | None
    candidates: bytes
    right: dict[Choice, float]
    unscored: bool


@dataclass
class Run:
    """The questions of one file that have judged answers.

    Attributes:
        verdicts: The verdict of each of them, in the order of the file.
        unjudged: Questions without judged answers.
        failed: Lines with an error instead of a request.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    unjudged: int = 0
    failed: int = 0

    def with_aggregates(self, first: int, count: int) -> "Run":
        """The same run with only some of its aggregates, numbered from 0."""
        kept = [
            replace(
                verdict,
                right={
                    (choice, None if number is None else number - first): right
                    for (choice, number), right in verdict.right.items()
                    if number is None or first <= number < first + count
                },
            )
            for verdict in self.verdicts
        ]
        return Run(kept, self.unjudged, self.failed)


def read_run(questions: Questions, source: RewardSource | None, aggregates: Sequence[str]) -> Run:
    """Judge every question of a file, with all of its candidates.

    Args:
        questions: The questions.
        source: Where their rewards come from; None leaves rewards out.
        aggregates: How step rewards become chain rewards; empty without rewards.

    Raises:
        InputError: A record cannot be used, or has no rewards.
        ScoringError: The model gave NaN.
    """
    run = Run()
    for question in questions:
        labelled = question.labelled
        if labelled is None:
            run.failed += 1
        elif labelled.right is None:
            run.unjudged += 1
        else:
            rewards = None if source is None else source.of(question.place, labelled, aggregates)
            run.verdicts.append(_verdict(question.place, labelled, labelled.right, rewards, aggregates))
    return run


def _verdict(
    place: int,
    question: LabelledQuestion,
    right: tuple[bool, ...],
    rewards: StepRewards | None,
    aggregates: Sequence[str],
) -> Verdict:
    found = winners(Candidates(question.answers, right, (None,) * len(right)))
    by_choice: dict[Choice, float] = {
        ("majority_vote", None): float(found.majority_right),
        ("oracle", None): float(any(right)),
        ("single", None): sum(right) / len(right),
    }
    for number, aggregate in enumerate(aggregates if rewards is not None else ()):
        chains = tuple(None if steps is None else aggregate_rewards(steps, aggregate) for steps in rewards or ())
        found = winners(Candidates(question.answers, right, chains))
        by_choice["weighted_vote", number] = float(found.weighted_right)
        by_choice["best_of_n", number] = float(found.best_right)
    texts = [text if isinstance(text, str) else "\n".join(text) for text in question.request.candidates]
    return Verdict(
        place=place,
        id=None if question.id is None else str(question.id),
        digest=question.digest,
        source=question.source,
        gold=None if question.gold is None else _digest([normalize_answer(question.gold)]),
        candidates=_digest(texts),
        right=by_choice,
        unscored=rewards is not None and all(steps is None for steps in rewards),
    )


def _digest(texts: Sequence[str]) -> bytes:
    """The digest of a list of texts: different lists have different digests, even if the joined texts are equal."""
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.digest()[:16]
