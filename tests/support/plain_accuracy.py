"""The plain twin of `expected_accuracy`: one subset after the other, by `select` itself; short, and slow."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy.typing as npt

from medprm_scorer.evaluation.choices import Candidates, answer_keys, winners
from medprm_scorer.evaluation.subset_accuracy import Accuracies


def expected_accuracy_plain(
    answers: Sequence[str | None],
    right: Sequence[bool],
    rewards_by_aggregate: Mapping[str, Sequence[float | None]],
    subsets: npt.NDArray,
) -> Accuracies:
    """The same figures, equal to the last bit."""
    keys, right_keys = answer_keys(answers, right)
    rows: list[list[int]] = subsets.tolist()
    hits: Counter[tuple[str, str | None]] = Counter()
    for row in rows:
        votes = Counter(key for i in row if (key := keys[i]) is not None)
        hits["majority_vote", None] += bool(votes) and votes.most_common(1)[0][0] in right_keys
        hits["oracle", None] += any(right[i] for i in row)
        for name, rewards in rewards_by_aggregate.items():
            # an answer is right if any candidate of the question that gives it is: so `right` by answer, for the vote
            some = tuple(answers[i] for i in row)
            chosen = winners(Candidates(some, tuple(right[i] for i in row), tuple(rewards[i] for i in row)))
            judged = tuple(bool(right[i]) or keys[i] in right_keys for i in row)
            voted = winners(Candidates(some, judged, tuple(rewards[i] for i in row)))
            hits["best_of_n", name] += chosen.best_right
            hits["weighted_vote", name] += voted.weighted_right
    names = [("majority_vote", None)]
    names += [(choice, name) for choice in ("best_of_n", "weighted_vote") for name in rewards_by_aggregate]
    shares = {name: hits[name] / len(rows) for name in [*names, ("oracle", None)]}
    return {("single", None): sum(map(bool, right)) / len(right), **shares}
