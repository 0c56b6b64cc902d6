"""Stopping rules: when enough samples of a question have been drawn, as functions of plain numbers.

`Confident` stops when the leading answer will very likely stay ahead of the second. It is the Beta rule of
Adaptive-Consistency (arXiv 2305.11860) with the rewards of the chains instead of counts, as in ReASC (2601.02970): if
the two answers have the weights v and w so far, the probability p that further weight goes to the leader rather than to
the second has the posterior Beta(1 + v, 1 + w) under a uniform prior, and sampling stops when P(p > 1/2) reaches
`confidence`.

What this promises: if samples were independent, and rewards were as informative as the rule assumes, the leader at the
stop would be the leader of unlimited sampling in about that share of the questions. It does not promise that the leader
is right. Rewards that are wrong in the same direction stop it early on a wrong answer. And checking after every sample
makes stopping too early somewhat more likely than a single check.

If no answer can be read, only the best reward counts. If samples are exchangeable, the next one beats the best of n
with a probability of at most 1 / (n + 1), by at most 1 − best: sampling stops when the product is below `min_gain`.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields

from medprm_scorer.errors import InputError

Sample = tuple[Hashable | None, float | None]
"""The answer of a sample (None if none could be read) and its reward (None if it could not be scored)."""


@dataclass(frozen=True)
class Confident:
    """Stop when the leading answer will very likely stay ahead; see the docstring of this module.

    Args:
        confidence: Probability at which to stop, above 0.5 and below 1.
        min_samples: Fewest samples to draw.
        max_samples: Most samples to draw; None leaves it to the sampler's `n`.
        min_gain: If no answer can be read: the expected gain in reward below which sampling stops, in (0, 1).

    Raises:
        InputError: A number is out of its range.

    Example:
        >>> Confident(confidence=0.95).min_samples
        3
    """

    confidence: float = 0.85
    min_samples: int = 3
    max_samples: int | None = None
    min_gain: float = 0.01

    def __post_init__(self) -> None:
        if not _is_number(self.confidence) or not 0.5 < self.confidence < 1:
            raise InputError("the confidence must be a number above 0.5 and below 1")
        if not _is_number(self.min_gain) or not 0 < self.min_gain < 1:
            raise InputError("min_gain must be a number above 0 and below 1")
        if not _is_count(self.min_samples):
            raise InputError("min_samples must be a whole number of at least 1")
        if self.max_samples is not None and (not _is_count(self.max_samples) or self.max_samples < self.min_samples):
            raise InputError("max_samples must be a whole number of at least min_samples, or None")

    @property
    def name(self) -> str:
        """The rule's name in a table, with the settings that differ from the defaults, such as `confident=0.9`."""
        others = [(part.name, part.default) for part in fields(self) if part.name != "confidence"]
        other = [f" {key}={getattr(self, key)}" for key, usual in others if getattr(self, key) != usual]
        return f"confident={float(self.confidence)}{''.join(other)}"


@dataclass(frozen=True)
class Agree:
    """Stop when so many samples give the same answer, regardless of their rewards.

    Args:
        samples: How many, at least 2.

    Raises:
        InputError: The number is out of its range.

    Example:
        >>> Agree(3).name
        'agree=3'
    """

    samples: int = 3

    def __post_init__(self) -> None:
        if not _is_count(self.samples) or self.samples < 2:
            raise InputError("agree must be a whole number of at least 2")

    @property
    def name(self) -> str:
        """The rule's name in a table."""
        return f"agree={self.samples}"


Rule = Confident | Agree
"""When to stop."""


def parse_rule(text: str) -> Rule:
    """A rule from its name and number.

    Args:
        text: `confident` or `agree`, alone for the default, or with `=` and a number.

    Raises:
        InputError: It is neither, or the number is out of its range.

    Example:
        >>> parse_rule("confident=0.95").name, parse_rule("agree").name
        ('confident=0.95', 'agree=3')
    """
    kind, equals, number = (part.strip() for part in text.partition("="))
    try:
        if kind == "confident":
            value = float(number) if equals else Confident.confidence
            return Confident(value)
        if kind == "agree":
            count = int(number) if equals else Agree.samples
            return Agree(count)
    except ValueError as error:
        if isinstance(error, InputError):  # the number is out of its range
            raise
    raise InputError("a stopping rule is confident or agree, with or without a number: confident=0.9, agree=3")


def given_rule(stop: object) -> Rule | None:
    """The rule from a user's argument.

    Args:
        stop: A rule, its name with or without a number, or None.

    Raises:
        InputError: It is something else.

    Example:
        >>> given_rule("agree"), given_rule(None)
        (Agree(samples=3), None)
    """
    if stop is None or isinstance(stop, Confident | Agree):
        return stop
    if isinstance(stop, str):
        return parse_rule(stop)
    raise InputError("stop must be 'confident', 'agree', a Confident, an Agree or None")


def should_stop(samples: Sequence[Sample], rule: Rule) -> bool:
    """Whether enough samples have been drawn.

    Args:
        samples: For each sample so far, its answer and its reward in [0, 1]. Answers are compared by equality:
            normalize them first. Declining to answer counts as a separate answer.
        rule: The rule.

    Raises:
        InputError: A reward is no probability.

    Example:
        >>> should_stop([("A", 0.9), ("A", 0.8), ("B", 0.1)], Confident(confidence=0.8))
        True
        >>> should_stop([("A", 0.9), ("B", 0.8), ("B", 0.1)], Confident(confidence=0.8))
        False
        >>> should_stop([("A", 0.9), ("B", 0.8), ("B", 0.1)], Agree(2))
        True
    """
    if isinstance(rule, Agree):
        return _agreeing(samples) >= rule.samples
    if rule.max_samples is not None and len(samples) >= rule.max_samples:
        return True
    if len(samples) < rule.min_samples:
        return False
    standing = Standing.of(samples)
    return standing.scored > 0 and _is_enough(standing, 0, rule)


def samples_to_ask(samples: Sequence[Sample], rule: Rule) -> int:
    """How many more samples to request at once: as many as are enough if they are like those so far.

    For `Agree`, this is as many as the leading answer lacks. For `Confident`, it is the fewest with which the rule
    would stop if the weights of the two leading answers grew in proportion; before the first sample, it assumes that
    all answers are the same and all rewards are 1. So an easy question is decided by the first samples requested, and a
    hard one soon uses all calls that may run at once.

    Args:
        samples: As in `should_stop`.
        rule: The rule.

    Returns:
        A number from 1 to `MOST_AT_ONCE`; 0 if the rule stops.

    Example:
        >>> samples_to_ask([], Confident(0.9)), samples_to_ask([("A", 0.9), ("B", 0.2)], Confident(0.9))
        (3, 7)
    """
    if should_stop(samples, rule):
        return 0
    if isinstance(rule, Agree):
        return rule.samples - _agreeing(samples)
    standing, fewest, most = Standing.of(samples), max(1, rule.min_samples - len(samples)), MOST_AT_ONCE
    if rule.max_samples is not None:
        most = min(most, rule.max_samples - len(samples))
    if not standing.scored:
        standing = Standing(None, 1.0, 0.0, 1.0, 1, voted=True)  # as if one sample had arrived, with a reward of 1
        fewest, most = fewest - 1, most - 1
        return 1 + _fewest(standing, fewest, most, rule)
    return _fewest(standing, fewest, most, rule)


def _fewest(standing: "Standing", fewest: int, most: int, rule: Confident) -> int:
    """The fewest further samples, between two bounds, with which the rule would stop; by bisection."""
    while fewest < most:  # more samples are never less likely to be enough
        middle = (fewest + most) // 2
        fewest, most = (fewest, middle) if _is_enough(standing, middle, rule) else (middle + 1, most)
    return fewest


MOST_AT_ONCE = 64
"""Most samples that are requested together; more would rarely run at once."""


@dataclass(frozen=True)
class Standing:
    """The state of a question after some samples. The `repr` shows no text.

    Args:
        leader: The answer with the largest weight; None if no vote would be taken.
        lead: Its weight, the sum of its rewards.
        second: The weight of the second answer.
        best: The highest reward.
        scored: How many samples have a reward.
        voted: Whether a vote would be taken.
    """

    leader: Hashable | None = field(repr=False)
    lead: float
    second: float
    best: float
    scored: int
    voted: bool

    @property
    def probability(self) -> float | None:
        """The probability that the leader stays ahead of the second; None if there is no leader."""
        return probability_of_staying_ahead(self.lead, self.second) if self.voted else None

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Standing":
        """The state after these samples.

        Raises:
            InputError: A reward is no probability.

        Example:
            >>> Standing.of([("A", 0.9), ("A", 0.8), ("B", 0.1)]).leader
            'A'
        """
        scored = [(answer, _reward(reward)) for answer, reward in samples if reward is not None]
        weights: dict[Hashable, list[float]] = {}
        for answer, reward in scored:
            if answer is not None:
                weights.setdefault(answer, []).append(reward)
        ahead = sorted(((math.fsum(rewards), answer) for answer, rewards in weights.items()), key=lambda one: -one[0])
        silent = math.fsum(reward for answer, reward in scored if answer is None)
        best = max((reward for _, reward in scored), default=0.0)
        if not ahead or math.fsum(weight for weight, _ in ahead) < silent:  # without a vote, the best reward decides
            return cls(None, 0.0, 0.0, best, len(scored), voted=False)
        second = ahead[1][0] if len(ahead) > 1 else 0.0
        return cls(ahead[0][1], ahead[0][0], second, best, len(scored), voted=True)


def _agreeing(samples: Sequence[Sample]) -> int:
    return max(Counter(answer for answer, _ in samples if answer is not None).values(), default=0)


def _is_enough(standing: Standing, more: int, rule: Confident) -> bool:
    """Whether the rule stops after so many more samples in the proportions of those so far."""
    if not standing.voted:
        return (1.0 - standing.best) / (standing.scored + more + 1) < rule.min_gain
    grown = 1.0 + more / standing.scored if standing.scored else 1.0
    return _leads(grown * standing.lead, grown * standing.second, rule)


def _leads(lead: float, second: float, rule: Confident) -> bool:
    return probability_of_staying_ahead(lead, second) >= rule.confidence


def probability_of_staying_ahead(leader: float, second: float) -> float:
    """P(p > 1/2) for p with the distribution Beta(1 + leader, 1 + second).

    Args:
        leader: Weight of the leading answer, at least 0.
        second: Weight of the second answer, at least 0.

    Returns:
        A probability; 0.5 for equal weights.

    Example:
        >>> probability_of_staying_ahead(0, 0)
        0.5
        >>> round(probability_of_staying_ahead(3, 0), 4)  # 1 − 1/2^4
        0.9375
    """
    if leader < second:
        return 1.0 - probability_of_staying_ahead(second, leader)
    # I_x(a, b) by its continued fraction (Abramowitz and Stegun 26.5.8), for x = 1/2 and a = 1 + second <= b, where it
    # converges fast: the mass below 1/2 of Beta(b, a) is that above 1/2 of Beta(a, b)
    a, b = 1.0 + second, 1.0 + leader
    return _incomplete_beta_at_half(a, b) if leader > second else 0.5


def _incomplete_beta_at_half(a: float, b: float) -> float:
    """I_{1/2}(a, b) for a <= b: the mass of Beta(a, b) below 1/2."""
    x = 0.5
    if x >= (a + 1.0) / (a + b + 2.0):  # the other side converges faster
        return 1.0 - _fraction(b, a, x)
    return _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """I_x(a, b) by Lentz's method, for x below (a + 1) / (a + b + 2)."""
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, _MOST_TERMS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            c = 1.0 + numerator / c
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1.0) < 1e-12:
            break
    return min(1.0, max(0.0, math.exp(log_front) * value))


_MOST_TERMS = 500


def _reward(reward: float) -> float:
    if not 0.0 <= reward <= 1.0:  # also for NaN
        raise InputError(f"a reward is {reward}, not a probability")
    return float(reward)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
