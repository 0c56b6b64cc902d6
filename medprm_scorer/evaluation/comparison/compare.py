"""`compare`: two runs on the same questions, such as two reward models, prompts or aggregates, question by question."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.errors import InputError, check_choice, with_message
from medprm_scorer.evaluation.bootstrap import bootstrap_means, sign_flip_p_values
from medprm_scorer.evaluation.comparison.results import ChoiceComparison, RunComparison, Side, SourceComparison
from medprm_scorer.evaluation.comparison.verdicts import Choice, Run, Verdict, read_run
from medprm_scorer.evaluation.provenance import trace
from medprm_scorer.evaluation.questions import Questions, Selection
from medprm_scorer.evaluation.results import Interval
from medprm_scorer.evaluation.reward_sources import StoredRewards, refuse_stored, reward_source
from medprm_scorer.evaluation.table import Resampling, group_of
from medprm_scorer.scorer import MedPRM
from medprm_scorer.trust.binomial import lower_tail

_LEAST_SHARE = 0.5  # of the smaller file's questions; if fewer are in both, the files are different data sets

Pairs = list[tuple[Verdict, Verdict]]


def compare(
    path: str | Path,
    other: str | Path,
    prm: MedPRM | Callable[[], MedPRM] | None = None,
    *,
    aggregates: Sequence[str] = ("min",),
    other_aggregates: Sequence[str] | None = None,
    rewards: bool = True,
    selection: Selection | None = None,
    groups: Sequence[tuple[str, str]] = (),
    rescore: bool = False,
    how: Resampling | None = None,
    model: str | None = None,
    revision: str | None = None,
    journal: str | Path | None = None,
    progress: bool | None = None,
) -> RunComparison:
    """Compare two runs on the same questions.

    Questions are the same if their texts are the same and, if every question of both files has an id, their ids too.
    Their candidates may differ, for example those of two policies.

    Args:
        path: Run A: JSON list or JSONL with known answers, in any form that `evaluate` reads.
        other: Run B, likewise. It may be the same file, with another aggregate, or if A is scored again.
        prm: Scores the questions of A, or what loads it; None takes the rewards in the file. The rewards of B are taken
            from its file, unless that is A's file and it is not scored again.
        aggregates: How step rewards become chain rewards in A.
        other_aggregates: Those of B, in the same order; None for the same as in A.
        rewards: Whether to use rewards. Without them, only selection methods that need no rewards are compared.
        selection: Which questions, candidates and documents take part. Data sources and candidates apply to both runs,
            limit and documents to A.
        groups: Names and patterns of data sources, as in `Plan`.
        rescore: Whether `prm` may score a file that already holds rewards, which are then ignored.
        how: Settings of the intervals and the permutation test; None takes the defaults.
        model: Name of the scorer, for the result.
        revision: Its requested revision, for the result.
        journal: File that stores computed rewards, so that a run can be resumed; None to store none.
        progress: Whether to show a progress bar on stderr. None: a bar on a terminal, otherwise an occasional line.

    Returns:
        The differences on all questions that are in both files, and by data source.

    Raises:
        InputError: A file or an option is wrong; a question is repeated in a file; fewer than half of the questions of
            the smaller file are in the other; correct answers differ; or nothing could differ.
        ScoringError: The model gave NaN.

    Example:
        >>> import json, tempfile
        >>> record = {"id": 1, "question": "Which?", "candidates": ["The answer is (A)", "The answer is (B)"],
        ...           "correct_answer": "B", "step_rewards": [[0.9, 0.3], [0.4, 0.4]]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "samples.jsonl")
        ...     _ = file.write_text(json.dumps(record))
        ...     found = compare(file, file, aggregates=["min"], other_aggregates=["max"])
        >>> [(row.choice, row.difference.value) for row in found.total.choices]
        [('weighted_vote', 1.0), ('best_of_n', 1.0)]
    """
    others = tuple(aggregates if other_aggregates is None else other_aggregates)
    selection, how = selection or Selection(), how or Resampling()
    _check_options(prm, aggregates, others, rewards, selection, rescore)
    one_pass = Path(path).resolve() == Path(other).resolve() and not rescore
    if one_pass and others == tuple(aggregates):
        raise InputError(f"{path} would be compared with itself: name another aggregate for one of the two")
    questions = Questions(path, selection, progress=progress)
    if prm is not None:
        refuse_stored(path, questions.check(), rescore)
    used = tuple(aggregates) if rewards else ()
    its_aggregates = others if rewards else ()
    if not one_pass:  # first, since it costs little: its rewards are in the file
        its_selection, its_source = replace(selection, limit=None, documents="given"), StoredRewards()
        try:
            there = read_run(
                Questions(other, its_selection, progress=progress), its_source if rewards else None, its_aggregates
            )
        except InputError as error:
            raise with_message(error, f"{other}: {error}") from error
        its_trace = trace(other, its_source, its_selection, aggregates=its_aggregates, used=rewards)
    with reward_source(prm, journal) as source:
        if one_pass:
            both = read_run(questions, source if rewards else None, used + its_aggregates)
            here, there = both.with_aggregates(0, len(used)), both.with_aggregates(len(used), len(its_aggregates))
        else:
            here = read_run(questions, source if rewards else None, used)
        traced = trace(path, source, selection, model=model, revision=revision, aggregates=used, used=rewards)
    if one_pass:
        its_trace = {**traced, "provenance": traced["provenance"].model_copy(update={"aggregates": list(others)})}
    pairs, by_id = match(here, there, path, other)
    same = all(one.candidates == two.candidates for one, two in pairs)
    choices = _choices(len(used), same)
    if not choices:
        raise InputError("the candidates of both files are the same, and without rewards nothing else can differ")
    names = (used, its_aggregates)
    by_source: dict[str, Pairs] = {}
    for pair in pairs:
        by_source.setdefault(group_of(pair[0].source, groups), []).append(pair)
    ids = [{one.id for one in run.verdicts if one.id is not None} for run in (here, there)]
    matched_ids = {one.id for one, _ in pairs}
    return RunComparison(
        total=_compared("all", pairs, choices, names, how),
        sources=[_compared(name, some, choices, names, how) for name, some in by_source.items()],
        here=_side(here, [one for one, _ in pairs], traced),
        there=_side(there, [two for _, two in pairs], its_trace),
        by_id=by_id,
        conflicts=len((ids[0] & ids[1]) - matched_ids) if by_id else 0,
        same_candidates=same,
        resamples=how.resamples,
        flips=how.flips,
        seed=how.seed,
    )


def match(here: Run, there: Run, path: str | Path = "A", other: str | Path = "B") -> tuple[Pairs, bool]:
    """The questions that are in both runs, in the order of the first.

    Args:
        here: Run A.
        there: Run B.
        path: The file of A, for messages.
        other: The file of B.

    Returns:
        The pairs, and whether they were matched by id and text, or by text alone.

    Raises:
        InputError: A question is repeated, too few are in both, or correct answers differ.
    """
    verdicts = (here.verdicts, there.verdicts)
    for name, run in ((path, here), (other, there)):
        if not run.verdicts:
            raise InputError(f"{name}: no question has a judged answer")
    by_id = all(one.id is not None for some in verdicts for one in some)
    keyed = [_keyed(name, some, by_id) for name, some in zip((path, other), verdicts, strict=True)]
    pairs = [(one, keyed[1][key]) for key, one in keyed[0].items() if key in keyed[1]]
    smaller = min(map(len, keyed))
    if len(pairs) < _LEAST_SHARE * smaller:
        texts = len({one.digest for one in here.verdicts} & {one.digest for one in there.verdicts})
        more = f"; {texts:,} have the same text, but other ids" if texts > len(pairs) else ""
        raise InputError(
            f"only {len(pairs):,} of the {len(keyed[0]):,} questions of {path} and the {len(keyed[1]):,} of {other} "
            f"are the same{more}: compare two runs on the same questions"
        )
    differ = sum(None not in (one.gold, two.gold) and one.gold != two.gold for one, two in pairs)
    if differ:
        raise InputError(f"{differ:,} questions have another correct answer in {other} than in {path}")
    return pairs, by_id


def mcnemar(only_here: int, only_there: int) -> float:
    """Two-sided p-value of McNemar's exact test: the binomial test on the questions that only one run gets right.

    Example:
        >>> mcnemar(0, 5), mcnemar(3, 3), mcnemar(0, 0)
        (0.0625, 1.0, 1.0)
    """
    return min(1.0, 2.0 * lower_tail(min(only_here, only_there), only_here + only_there, 0.5))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.02])
        [0.03, 0.04, 0.04]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _check_options(
    prm: object,
    aggregates: Sequence[str],
    others: Sequence[str],
    rewards: bool,
    selection: Selection,
    rescore: bool,
) -> None:
    if not aggregates or len(aggregates) != len(others):
        raise InputError("give at least one aggregate, and as many for the second run as for the first")
    for aggregate in (*aggregates, *others):
        check_choice("aggregate", aggregate, AGGREGATES)
    if len(set(zip(aggregates, others, strict=True))) < len(aggregates):
        raise InputError("give each aggregate only once")
    if prm is None and (rescore or selection.documents != "given"):
        raise InputError("to score again, or to use other documents, name a model")
    if prm is not None and not rewards:
        raise InputError("name a model or leave rewards out, not both")


def _keyed(name: str | Path, verdicts: Sequence[Verdict], by_id: bool) -> dict[Hashable, Verdict]:
    found: dict[Hashable, Verdict] = {}
    for one in verdicts:
        first = found.setdefault((one.id, one.digest) if by_id else one.digest, one)
        if first is not one:
            raise InputError(
                f"{name}: record {one.place} is the question of record {first.place} again; a comparison needs each "
                "question once"
            )
    return found


def _choices(aggregates: int, same_candidates: bool) -> list[Choice]:
    found: list[Choice] = []
    for number in range(aggregates):
        found += [("weighted_vote", number), ("best_of_n", number)]
    return found if same_candidates else [*found, ("majority_vote", None), ("oracle", None), ("single", None)]


def _side(run: Run, matched: Sequence[Verdict], traced: dict[str, Any]) -> Side:
    return Side(
        judged=len(run.verdicts),
        unmatched=len(run.verdicts) - len(matched),
        unjudged=run.unjudged,
        without_rewards=sum(one.unscored for one in matched),
        failed=run.failed,
        **traced,
    )


def _compared(
    name: str, pairs: Pairs, choices: Sequence[Choice], names: Sequence[Sequence[str]], how: Resampling
) -> SourceComparison:
    ordered = sorted(pairs, key=lambda pair: (pair[0].digest, pair[0].id or ""))  # independent of which run is A
    ours, theirs = (np.array([[pair[side].right[one] for one in choices] for pair in ordered]) for side in (0, 1))
    differences = ours - theirs
    values = np.concatenate([ours, theirs, differences], axis=1)
    low, high = bootstrap_means(values, how.resamples, how.seed)
    intervals = [
        Interval(value=value, low=ends[0], high=ends[1])
        for value, *ends in zip(values.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    ]
    flipped = sign_flip_p_values(differences, how.flips, how.seed).tolist()
    count = len(choices)
    rows: list[dict[str, Any]] = []
    for place, (choice, number) in enumerate(choices):
        column = differences[:, place]
        only = (int((column > 0).sum()), int((column < 0).sum())) if choice != "single" else (None, None)
        exact = None if only[0] is None or only[1] is None else mcnemar(only[0], only[1])
        rows.append(
            {
                "choice": choice,
                "aggregate": None if number is None else names[0][number],
                "other_aggregate": None if number is None else names[1][number],
                "accuracy": intervals[place],
                "other_accuracy": intervals[count + place],
                "difference": intervals[2 * count + place],
                "p_value": flipped[place],
                "only_here": only[0],
                "only_there": only[1],
                "mcnemar": exact,
            }
        )
    adjusted = holm([row["p_value"] if row["mcnemar"] is None else row["mcnemar"] for row in rows])
    made = [ChoiceComparison(**row, adjusted=one) for row, one in zip(rows, adjusted, strict=True)]
    return SourceComparison(source=name, questions=len(pairs), choices=made)
