"""From each question's expected accuracies to the figures of a data source: means, intervals, tests."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.bootstrap import bootstrap_group_means, bootstrap_means, sign_flip_p_values
from medprm_scorer.evaluation.paper import AuthorsTally
from medprm_scorer.evaluation.results import CHOICES, REWARD_CHOICES, Cell, Interval, Official, SourceResult

Column = tuple[str, str | None]
"""A choice and its aggregate."""


def columns(aggregates: Sequence[str]) -> list[Column]:
    """The columns of the table: every choice, those by rewards once for each aggregate."""
    return [
        (choice, aggregate) for choice in CHOICES for aggregate in (aggregates if choice in REWARD_CHOICES else (None,))
    ]


@dataclass
class Tally:
    """The data kept for the questions of one data source: only numbers, a few hundred bytes per question.

    Args:
        source: The data source.
    """

    source: str
    open_ended: int = 0
    candidates: int = 0
    unanswered: int = 0
    unscored: int = 0
    unjudged: int = 0
    without_rewards: int = 0
    authors: AuthorsTally = field(default_factory=AuthorsTally)
    """Counts by the authors' own selection."""
    places: list[int] = field(default_factory=list)
    """Place of each judged question in the file."""
    totals: list[int] = field(default_factory=list)
    """Number of candidates of each question."""
    rows: list[dict[int, np.ndarray]] = field(default_factory=list)
    """For each question, the expected accuracies by number of candidates n: one value per column."""

    def values(self, sizes: Sequence[int]) -> np.ndarray:
        """The accuracies, shape (questions, sizes, columns); a question with fewer than n candidates uses all."""
        return np.stack(
            [np.stack([rows[min(n, total)] for n in sizes]) for rows, total in zip(self.rows, self.totals, strict=True)]
        )


@dataclass(frozen=True)
class Resampling:
    """How intervals and tests are computed.

    Args:
        resamples: Bootstrap resamples, at least 1.
        flips: Sign flips of the paired test, at least 1.
        seed: Seed of both.
    """

    resamples: int = 2000
    flips: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("resamples", "flips"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1")


def group_of(source: str, groups: Sequence[tuple[str, str]]) -> str:
    """The group of a data source; the source itself if it is in none.

    Args:
        source: The data source.
        groups: Names and patterns, as for file names; the first matching one counts.

    Example:
        >>> group_of("mmlu_anatomy", [("MMLU", "mmlu_*")]), group_of("med_qa", [("MMLU", "mmlu_*")])
        ('MMLU', 'med_qa')
    """
    return next((name for name, pattern in groups if fnmatch.fnmatchcase(source, pattern)), source)


def source_result(
    name: str, tallies: Sequence[Tally], sizes: Sequence[int], aggregates: Sequence[str], how: Resampling
) -> SourceResult:
    """The figures of one or more sources together, every question with the same weight."""
    judged = [tally.values(sizes) for tally in tallies if tally.rows]
    cells: list[Cell] = []
    if judged:
        order = np.argsort([place for tally in tallies for place in tally.places])  # the order of the file
        values = np.concatenate(judged)[order]
        low, high = bootstrap_means(values.reshape(len(values), -1), how.resamples, how.seed)
        gains = _gains(values, aggregates)
        gain_low, gain_high = bootstrap_means(gains.reshape(len(gains), -1), how.resamples, how.seed)
        p_values = sign_flip_p_values(gains.reshape(len(gains), -1), how.flips, how.seed)
        means = (values.mean(0), gains.mean(0))
        cells = _cells(sizes, aggregates, means, (low, high, gain_low, gain_high, p_values))
    return _with_counts(name, tallies, sizes, cells, bool(aggregates))


def average_result(
    tallies: Sequence[Tally], sizes: Sequence[int], aggregates: Sequence[str], how: Resampling
) -> SourceResult | None:
    """The macro average: the mean of the sources' figures; None with fewer than two judged sources."""
    judged = [tally.values(sizes) for tally in tallies if tally.rows]
    if len(judged) < 2:
        return None
    gains = [_gains(values, aggregates) for values in judged]
    low, high = bootstrap_group_means([v.reshape(len(v), -1) for v in judged], how.resamples, how.seed)
    gain_low, gain_high = bootstrap_group_means([g.reshape(len(g), -1) for g in gains], how.resamples, how.seed)
    # each question is weighted by the inverse size of its source: the mean of these is the mean of the sources' means
    total = sum(map(len, judged))
    weighted = np.concatenate([gain * (total / (len(gains) * len(gain))) for gain in gains])
    p_values = sign_flip_p_values(weighted.reshape(total, -1), how.flips, how.seed)
    means = (np.mean([v.mean(0) for v in judged], 0), np.mean([g.mean(0) for g in gains], 0))
    cells = _cells(sizes, aggregates, means, (low, high, gain_low, gain_high, p_values))
    return _with_counts("macro average", tallies, sizes, cells, bool(aggregates))


def _gains(values: np.ndarray, aggregates: Sequence[str]) -> np.ndarray:
    """Each column minus majority vote's at the same n."""
    majority = columns(aggregates).index(("majority_vote", None))
    gains: np.ndarray = values - values[:, :, majority : majority + 1]
    return gains


def _cells(
    sizes: Sequence[int],
    aggregates: Sequence[str],
    means: tuple[np.ndarray, np.ndarray],
    flat: tuple[np.ndarray, ...],
) -> list[Cell]:
    """Cells from arrays of shape (sizes, columns), those in `flat` flattened."""
    names = columns(aggregates)
    mean, gain = means
    low, high, gain_low, gain_high, p_values = (part.reshape(mean.shape) for part in flat)
    cells = []
    for i, n in enumerate(sizes):
        for j, (choice, aggregate) in enumerate(names):
            is_baseline = choice == "majority_vote"
            cells.append(
                Cell(
                    n=n,
                    choice=choice,
                    aggregate=aggregate,
                    accuracy=Interval(value=mean[i, j], low=low[i, j], high=high[i, j]),
                    gain=None if is_baseline else Interval(value=gain[i, j], low=gain_low[i, j], high=gain_high[i, j]),
                    p_value=None if is_baseline else p_values[i, j],
                )
            )
    return cells


def _with_counts(
    name: str, tallies: Sequence[Tally], sizes: Sequence[int], cells: list[Cell], with_rewards: bool
) -> SourceResult:
    totals = [total for tally in tallies for total in tally.totals]
    fewer: Mapping[int, int] = {n: sum(total < n for total in totals) for n in sizes}
    return SourceResult(
        source=name,
        questions=len(totals),
        open_ended=sum(tally.open_ended for tally in tallies),
        candidates=sum(tally.candidates for tally in tallies),
        unanswered=sum(tally.unanswered for tally in tallies),
        unscored=sum(tally.unscored for tally in tallies),
        without_rewards=sum(tally.without_rewards for tally in tallies),
        fewer={n: count for n, count in fewer.items() if count},
        cells=cells,
        official=Official(
            right=sum(tally.authors.best for tally in tallies) if with_rewards else None,
            majority_right=sum(tally.authors.majority for tally in tallies),
            questions=sum(tally.authors.questions for tally in tallies),
        ),
        unjudged=sum(tally.unjudged for tally in tallies),
    )
