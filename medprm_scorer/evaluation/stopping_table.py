"""The figures of simulated stopping rules: accuracy, mean number of samples, and the comparison with fixed n."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from medprm_scorer.evaluation.bootstrap import bootstrap_means, sign_flip_p_values
from medprm_scorer.evaluation.choices import Candidates
from medprm_scorer.evaluation.results import Comparison, Interval, Stopping, StoppingRow
from medprm_scorer.evaluation.stopping import Stops, draw_orders, simulate
from medprm_scorer.evaluation.table import Resampling
from medprm_scorer.sampling.stopping import Rule

Floats = npt.NDArray[np.float64]

_BLOCK = 2**19  # rows times samples (or answers) that are simulated at once


class StoppingTally:
    """Simulates rules on the questions, some at a time, and keeps only counts.

    Args:
        rules: When to stop.
        orders: Random orders of each question's candidates.
        most: Most samples of a question; None for all.
        seed: Seed of the orders.
    """

    def __init__(self, rules: Sequence[Rule], orders: int, most: int | None, seed: int) -> None:
        self.rules, self.orders = rules, orders
        self._most, self._seed = most, seed
        self._waiting: list[tuple[Candidates, npt.NDArray[np.intp]]] = []
        self._widest = 0
        self._stops: list[Stops] = []

    def add(self, place: int, question: Candidates) -> None:
        """Add one question, with its place in the file."""
        total = len(question.right)
        orders = draw_orders(total, self._most or total, self.orders, [self._seed, place, 0, 1])
        self._waiting.append((question, orders))
        self._widest = max(self._widest, total)
        if len(self._waiting) * self.orders * self._widest >= _BLOCK:
            self._simulate()

    def result(self, sizes: Sequence[int], how: Resampling, aggregate: str) -> Stopping | None:
        """The figures over all questions; None if there are none."""
        self._simulate()
        if not self._stops:
            return None
        return stopping_result(self._stops, [rule.name for rule in self.rules], self.orders, sizes, how, aggregate)

    def _simulate(self) -> None:
        if self._waiting:
            questions, orders = zip(*self._waiting, strict=True)
            self._stops += simulate(questions, orders, self.rules)
            self._waiting, self._widest = [], 0


def stopping_result(
    stops: Sequence[Stops], names: Sequence[str], orders: int, sizes: Sequence[int], how: Resampling, aggregate: str
) -> Stopping:
    """The figures of all rules.

    Args:
        stops: The outcome for each question.
        names: The name of each rule.
        orders: The number of orders.
        sizes: Fixed numbers of samples n to compare the rules with.
        how: Settings of intervals and tests.
        aggregate: How step rewards became chain rewards.
    """
    limits = np.array([len(one.fixed) for one in stops])
    maximum = int(limits.max())

    def fixed(n: int) -> Floats:
        """The accuracy of each question with n samples, or with all that it has."""
        return np.array([one.fixed[min(n, len(one.fixed)) - 1] for one in stops]) / orders

    ns = sorted({min(n, maximum) for n in sizes} | {maximum})
    accuracy = [fixed(n) for n in ns] + [np.array([one.right[r] for one in stops]) / orders for r in range(len(names))]
    drawn = [np.minimum(n, limits).astype(np.float64) for n in ns]
    drawn += [np.array([one.drawn[r] for one in stops]) / orders for r in range(len(names))]
    costs = [float(np.minimum(n, limits).mean()) for n in range(1, maximum + 1)]
    equal = [_between(fixed, costs, float(values.mean())) for values in drawn[len(ns) :]]
    from_all = [values - fixed(maximum) for values in accuracy]
    from_equal = [values - same for values, same in zip(accuracy[len(ns) :], equal, strict=True)]
    intervals = _intervals([*drawn, *accuracy, *from_all, *from_equal], how)
    p_values = sign_flip_p_values(np.stack([*from_all, *from_equal], axis=1), how.flips, how.seed).tolist()
    count = len(accuracy)
    rows = []
    for place, name in enumerate([*(f"n={n}" for n in ns), *names]):
        is_all, rule = place == len(ns) - 1, place - len(ns)
        equals = None
        if rule >= 0:
            equals = Comparison(gain=intervals[3 * count + rule], p_value=p_values[count + rule])
        rows.append(
            StoppingRow(
                rule=name,
                samples=intervals[place],
                accuracy=intervals[count + place],
                to_all=None if is_all else Comparison(gain=intervals[2 * count + place], p_value=p_values[place]),
                to_equal=equals,
            )
        )
    return Stopping(
        aggregate=aggregate,
        maximum=maximum,
        orders=orders,
        questions=len(stops),
        fixed=rows[: len(ns)],
        rules=rows[len(ns) :],
    )


def _between(fixed: Callable[[int], Floats], costs: Sequence[float], mean: float) -> Floats:
    """The accuracy of each question with a fixed number of samples that has the same mean.

    Between two whole numbers, the smaller one is drawn for a random part of the questions, and the larger one for the
    others.
    """
    smaller = int(np.searchsorted(costs, mean, side="right"))  # costs ascend: costs[n - 1] is the mean for n
    if smaller >= len(costs):
        return fixed(len(costs))
    part = (mean - costs[smaller - 1]) / (costs[smaller] - costs[smaller - 1])
    return (1.0 - part) * fixed(smaller) + part * fixed(smaller + 1)


def _intervals(columns: Sequence[Floats], how: Resampling) -> list[Interval]:
    values = np.stack(columns, axis=1)
    low, high = bootstrap_means(values, how.resamples, how.seed)
    return [Interval(value=v, low=lo, high=hi) for v, lo, hi in zip(values.mean(axis=0), low, high, strict=True)]
