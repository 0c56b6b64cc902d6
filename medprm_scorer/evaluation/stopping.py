"""Stopping rules simulated on judged and scored candidates: their accuracy, and how many samples they draw.

The candidates of a question are taken as the samples that a sampler would have drawn, in random orders. In each order a
rule stops after some of them, and the weighted vote among these decides; all orders have the same weight. The rules are
those of `medprm_scorer.sampling.stopping`, and the vote is that of `medprm_scorer.selection`. Here both are computed
with plain sums for many orders at once. Cases that are too close to decide this way are passed to those modules one by
one, so that the counts agree exactly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medprm_scorer.evaluation.choices import Candidates, answer_keys, weighted_vote
from medprm_scorer.sampling.stopping import Agree, Confident, Rule, should_stop

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

_NEAR = 1e-9  # sums and probabilities this close are left to the plain functions; rounding errors are far smaller
_MOST_TERMS = 500  # of the continued fraction, as in `medprm_scorer.sampling.stopping`
_log_gamma = np.frompyfunc(math.lgamma, 1, 1)


@dataclass(frozen=True)
class Stops:
    """The outcome for one question: sums over its orders.

    Args:
        fixed: For n = 1, 2, … drawn samples, in how many orders the weighted vote among the first n is right.
        right: For each rule, in how many orders the weighted vote is right at the stop.
        drawn: For each rule, how many samples it drew in all orders together.
    """

    fixed: Ints
    right: Ints
    drawn: Ints


def draw_orders(total: int, most: int, count: int, seed: Sequence[int]) -> Ints:
    """Random orders in which candidates might have been sampled.

    Args:
        total: Number of candidates, at least 1.
        most: Most candidates that are drawn, at least 1.
        count: Number of orders.
        seed: Whole numbers, at least 0; the same ones give the same orders.

    Returns:
        Indices of candidates, shape (count, min(total, most)), each at most once in a row.
    """
    keys = np.random.default_rng(seed).random((count, total))
    return np.asarray(keys.argsort(axis=1, kind="stable")[:, :most], dtype=np.intp)


def simulate(questions: Sequence[Candidates], orders: Sequence[Ints], rules: Sequence[Rule]) -> list[Stops]:
    """Apply each rule in each order of each question.

    Args:
        questions: The questions, with the rewards of one aggregate. A candidate without a reward counts as a drawn
            sample but not as evidence.
        orders: For each question its orders, as from `draw_orders`: the same number of them for every question.
        rules: When to stop. A rule that never stops draws the whole order.

    Returns:
        The sums of each question.

    Example:
        >>> question = Candidates(("A", "B", "A"), (True, False, True), (0.9, 0.8, 0.7))
        >>> simulate([question], [np.array([[0, 1, 2], [1, 0, 2]])], [Agree(2)])
        [Stops(fixed=array([1, 2, 2]), right=array([2]), drawn=array([6]))]
    """
    block = _Block(questions, orders)
    found = _Prefixes(block)
    drawn = [found.first(rule) for rule in rules]
    each = len(orders[0])
    rows = np.arange(len(block.lengths))
    result = []
    for place in range(len(questions)):
        own = slice(place * each, (place + 1) * each)
        right = [int(found.right[rows[own], stop[own] - 1].sum()) for stop in drawn]
        fixed = found.right[own, : orders[place].shape[1]].sum(axis=0, dtype=np.intp)
        result.append(Stops(fixed, np.array(right, dtype=np.intp), np.array([int(stop[own].sum()) for stop in drawn])))
    return result


class _Block:
    """Questions as arrays: one row for each order of each question, one column for each drawn sample.

    Answers are numbered within a question. There are two more numbers: `silent` for samples that have a reward but no
    answer, and `nobody` for entries that do not take part in a vote, which are unscored samples and the padding of a
    short row.
    """

    def __init__(self, questions: Sequence[Candidates], orders: Sequence[Ints]) -> None:
        self.questions, self.orders = questions, orders
        self.each = len(orders[0])
        self.keys, self.right_keys = zip(*(answer_keys(q.answers, q.right) for q in questions), strict=True)
        numbers = [
            {key: n for n, key in enumerate(dict.fromkeys(k for k in keys if k is not None))} for keys in self.keys
        ]
        self.silent = max(map(len, numbers))
        self.nobody = self.silent + 1
        shape = (len(questions) * self.each, max(order.shape[1] for order in orders))
        self.lengths: Ints = np.repeat([order.shape[1] for order in orders], self.each)
        self.index = np.full(shape, -1, dtype=np.intp)
        self.answer = np.full(shape, self.nobody, dtype=np.intp)  # with or without a reward
        self.votes_for = self.answer.copy()
        self.reward = np.full(shape, -1.0)  # -1: no reward
        self.is_right = np.zeros(shape, dtype=np.bool_)  # if the reward alone chooses it
        self.answer_is_right = np.zeros((len(questions), self.nobody + 1), dtype=np.bool_)
        for place, (question, order) in enumerate(zip(questions, orders, strict=True)):
            own = (slice(place * self.each, (place + 1) * self.each), slice(order.shape[1]))
            keys, right_keys = self.keys[place], self.right_keys[place]
            for key, number in numbers[place].items():
                self.answer_is_right[place, number] = key in right_keys
            answer = np.array([self.nobody if key is None else numbers[place][key] for key in keys], dtype=np.intp)
            reward = np.array([-1.0 if one is None else one for one in question.rewards], dtype=np.float64)
            votes_for = np.where(reward < 0, self.nobody, np.where(answer == self.nobody, self.silent, answer))
            right = np.array(question.right, dtype=np.bool_) | self.answer_is_right[place, answer]
            self.index[own], self.answer[own], self.votes_for[own] = order, answer[order], votes_for[order]
            self.reward[own], self.is_right[own] = reward[order], right[order]
        self.question_of = np.repeat(np.arange(len(questions)), self.each)

    def vote(self, row: int, count: int) -> bool:
        """Whether the weighted vote among the first samples of a row is right, computed by `selection`."""
        place = self.question_of[row]
        question = self.questions[place]
        chosen = self.index[row, : min(count, self.lengths[row])].tolist()
        keys, right_keys = self.keys[place], self.right_keys[place]
        return weighted_vote(question.answers, question.right, question.rewards, chosen, keys, right_keys)

    def stops(self, row: int, count: int, rule: Rule) -> bool:
        """Whether a rule stops after the first samples of a row, computed by the rule itself."""
        place = self.question_of[row]
        keys, rewards = self.keys[place], self.questions[place].rewards
        chosen = self.index[row, : min(count, self.lengths[row])].tolist()
        return should_stop([(keys[i], rewards[i]) for i in chosen], rule)


class _Prefixes:
    """The state of every row after its first 1, 2, … samples: arrays of shape (rows, samples)."""

    def __init__(self, block: _Block) -> None:
        shape = block.index.shape
        self._block = block
        self.right = np.zeros(shape, dtype=np.bool_)
        """Whether the weighted vote is right."""
        self._agreeing = np.zeros(shape, dtype=np.intp)
        self._lead, self._second = np.full(shape, -1.0), np.full(shape, -1.0)
        self._voted, self._silent = np.zeros(shape), np.zeros(shape)
        self._best = np.full(shape, -1.0)
        self._scored = np.zeros(shape, dtype=np.intp)
        self._ahead = np.full(shape, np.nan)  # probabilities of staying ahead, computed when a rule needs them
        self._fill()

    def _fill(self) -> None:
        block = self._block
        rows = np.arange(len(block.index))
        weights, counts = (np.zeros((len(rows), block.nobody + 1)) for _ in range(2))
        lead, second, best = (np.full(len(rows), -1.0) for _ in range(3))  # -1: there is none
        leader = np.full(len(rows), block.nobody)
        agreeing = np.zeros(len(rows), dtype=np.intp)
        voted, voters, scored = (np.zeros(len(rows)) for _ in range(3))
        best_index = np.zeros(len(rows), dtype=np.intp)
        best_is_right = np.zeros(len(rows), dtype=np.bool_)
        for place in range(block.index.shape[1]):
            column, reward = block.votes_for[:, place], block.reward[:, place]
            known = np.maximum(reward, 0.0)
            votes = column < block.silent
            weights[rows, column] += known
            weight = weights[rows, column]
            # the two heaviest answers: only the one that has just gained weight can change its place
            is_leader = votes & (column == leader)
            rises = votes & ~is_leader & (weight > lead)
            second = np.where(rises, lead, np.where(votes & ~is_leader, np.maximum(second, weight), second))
            lead = np.where(is_leader | rises, weight, lead)
            leader = np.where(rises, column, leader)
            voted += np.where(votes, known, 0.0)
            voters += votes
            scored += reward >= 0.0
            index = block.index[:, place]
            better = (reward > best) | ((reward >= 0.0) & (reward == best) & (index < best_index))
            best = np.maximum(best, reward)
            best_index = np.where(better, index, best_index)
            best_is_right = np.where(better, block.is_right[:, place], best_is_right)
            counts[rows, block.answer[:, place]] += 1
            counts[:, block.nobody] = 0
            agreeing = np.maximum(agreeing, counts[rows, block.answer[:, place]]).astype(np.intp)
            silent = weights[:, block.silent]
            # a vote is taken if the voters hold half of all reward, or are half of all samples if all rewards are 0
            has_weight = (voted > 0.0) | (silent > 0.0)
            surplus = np.where(has_weight, voted - silent, 2.0 * voters - scored)
            is_vote = (voters > 0) & (surplus >= 0.0)
            right = np.where(is_vote, block.answer_is_right[block.question_of, leader], best_is_right)
            close = (voters > 0) & has_weight & (np.abs(surplus) <= _NEAR)
            close[self._mixed(np.flatnonzero((second >= 0.0) & (second >= lead - _NEAR)), weights, lead)] = True
            for row in np.flatnonzero(close & (place < block.lengths)).tolist():
                right[row] = block.vote(row, place + 1)
            self.right[:, place] = right
            self._agreeing[:, place], self._scored[:, place] = agreeing, scored
            self._lead[:, place], self._second[:, place], self._best[:, place] = lead, second, best
            self._voted[:, place], self._silent[:, place] = voted, silent

    def _mixed(self, near: Ints, weights: Floats, lead: Floats) -> Ints:
        """The rows in which several answers are near the lead, some of them right and some wrong."""
        block = self._block
        ahead = weights[near, : block.silent] >= lead[near, None] - _NEAR
        right = block.answer_is_right[block.question_of[near], : block.silent]
        return near[(ahead & right).any(axis=1) & (ahead & ~right).any(axis=1)]

    def first(self, rule: Rule) -> Ints:
        """After how many samples a rule stops in each row; the row's length if it never stops."""
        lengths = self._block.lengths
        if isinstance(rule, Agree):
            stops = self._agreeing >= rule.samples
            return np.asarray(np.where(stops.any(axis=1), stops.argmax(axis=1) + 1, lengths), dtype=np.intp)
        drawn: Ints = lengths.copy() if rule.max_samples is None else np.minimum(lengths, rule.max_samples)
        running = np.arange(len(lengths))
        for count in range(rule.min_samples, int(lengths.max()) + 1):
            running = running[drawn[running] > count]
            if not len(running):
                break
            stopped = running[self._confident(running, count, rule)]
            drawn[stopped] = count
        return drawn

    def _confident(self, rows: Ints, count: int, rule: Confident) -> Flags:
        """Whether the rule stops in some rows after so many samples."""
        place = count - 1
        voted, silent, scored = self._voted[rows, place], self._silent[rows, place], self._scored[rows, place]
        lead, second, best = self._lead[rows, place], self._second[rows, place], self._best[rows, place]
        unknown = np.isnan(self._ahead[rows, place])
        found = probabilities_of_staying_ahead(np.maximum(lead[unknown], 0.0), np.maximum(second[unknown], 0.0))
        self._ahead[rows[unknown], place] = found
        probability = self._ahead[rows, place]
        by_vote = (lead >= 0.0) & (voted >= silent)
        stops = np.where(by_vote, probability >= rule.confidence, (1.0 - best) / (scored + 1) < rule.min_gain)
        stops &= scored > 0
        close = by_vote & (np.abs(probability - rule.confidence) <= _NEAR)
        close |= (lead >= 0.0) & (np.abs(voted - silent) <= _NEAR) & ((voted > 0.0) | (silent > 0.0))
        for one in np.flatnonzero(close).tolist():
            stops[one] = self._block.stops(int(rows[one]), count, rule)
        return np.asarray(stops, dtype=np.bool_)


def probabilities_of_staying_ahead(leader: Floats, second: Floats) -> Floats:
    """`medprm_scorer.sampling.stopping.probability_of_staying_ahead` for many pairs at once.

    Args:
        leader: Weights of the leading answers, at least 0.
        second: Weights of the second answers, from 0 to `leader`.

    Returns:
        Probabilities, equal to those of the plain function up to rounding.

    Example:
        >>> probabilities_of_staying_ahead(np.array([0.0, 3.0]), np.array([0.0, 0.0])).round(4).tolist()
        [0.5, 0.9375]
    """
    a, b = 1.0 + leader, 1.0 + second  # I_{1/2}(a, b) is the mass of Beta(a, b) below 1/2
    log_gammas = [np.asarray(_log_gamma(values), dtype=np.float64) for values in (a + b, a, b)]
    log_front = log_gammas[0] - log_gammas[1] - log_gammas[2] - (a + b) * math.log(2.0) - np.log(a)
    c, d = np.ones_like(a), 1.0 / _not_zero(1.0 - (a + b) * 0.5 / (a + 1.0))
    value = d
    for m in range(1, _MOST_TERMS):
        for numerator in (
            m * (b - m) * 0.5 / ((a + (2 * m - 1)) * (a + 2 * m)),
            -(a + m) * (a + b + m) * 0.5 / ((a + 2 * m) * (a + (2 * m + 1))),
        ):
            d = 1.0 / _not_zero(1.0 + numerator * d)
            c = _not_zero(1.0 + numerator / c)
            value = value * (c * d)
        if (np.abs(c * d - 1.0) < 1e-12).all():
            break
    below = np.clip(np.exp(log_front) * value, 0.0, 1.0)
    return np.asarray(np.where(leader > second, 1.0 - below, 0.5), dtype=np.float64)


def _not_zero(values: Floats) -> Floats:
    return np.where(np.abs(values) > 1e-300, values, 1e-300)
