"""Which of a policy's chains of thought to keep, and how many to draw until there are enough.

The rules of the paper (arXiv 2506.11474) and its authors' code: the policy is asked for steps that begin with
`Step n:` (`policy_messages` asks so), only chains of 3 to 9 steps are kept, and 1.25 times as many as wanted are drawn,
since some will not be. What is then missing is drawn in the same way again. The limit on the rounds of drawing is this
package's own.

Steps are counted as the reward model will read them, by `split_steps` with its `auto` rule. So a chain without any
`Step n:` has as many steps as its numbered items, headings or paragraphs, and one step if it has none of these; scratch
work in `<think>` blocks does not count beside an answer. Chains that say the same are all kept: each is one vote.
"""

import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.text.steps import split_steps

_MOST_OVERSAMPLE = 100  # a slip of the decimal point must not become a bill


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1")


@dataclass(frozen=True)
class SamplingRules:
    """Which chains are kept and how many are drawn; the defaults are the paper's, but for `rounds`.

    To keep every chain that is not blank: `SamplingRules(min_steps=1, max_steps=sys.maxsize)`.

    Args:
        min_steps: Fewest steps of a chain, at least 1.
        max_steps: Most steps of a chain, at least `min_steps`; any size.
        oversample: How many to draw for each one missing, from 1 to 100; the number to draw is rounded up.
        rounds: Most rounds of drawing, at least 1.

    Raises:
        InputError: A value is out of its range or not a number.
    """

    min_steps: int = 3
    max_steps: int = 9
    oversample: float = 1.25
    rounds: int = 4

    def __post_init__(self) -> None:
        _check_count("min_steps", self.min_steps)
        _check_count("max_steps", self.max_steps)
        _check_count("rounds", self.rounds)
        if self.max_steps < self.min_steps:
            raise InputError(f"max_steps must be at least min_steps ({self.min_steps})")
        number = isinstance(self.oversample, (int, float)) and not isinstance(self.oversample, bool)
        if not number or not 1 <= self.oversample <= _MOST_OVERSAMPLE:  # also true for NaN
            raise InputError(f"oversample must be a number from 1 to {_MOST_OVERSAMPLE}")

    def to_draw(self, missing: int) -> int:
        """How many chains to draw when some are missing.

        Args:
            missing: Number of chains still wanted.

        Returns:
            `oversample` times as many, rounded up; exact for the factor as it is written (1.1 · 50 is 55).

        Example:
            >>> SamplingRules().to_draw(5)
            7
        """
        return math.ceil(Fraction(str(self.oversample)) * missing)


PAPER_RULES = SamplingRules()
"""3 to 9 steps, 1.25 times as many drawn as wanted."""


@dataclass(frozen=True)
class Samples:
    """The chains that were kept, and what became of the others. The `repr` shows no text.

    Args:
        chains: The chains kept, in the order drawn, as the policy wrote them; at least one, at most `wanted`.
        wanted: How many were asked for.
        drawn: How many the policy gave in all.
        dropped: How many of these have too few steps (a blank chain has none) or too many.
        rounds: How often the policy was asked.
    """

    chains: tuple[str, ...] = field(repr=False)
    wanted: int
    drawn: int
    dropped: int
    rounds: int

    @property
    def complete(self) -> bool:
        """Whether there are as many chains as wanted."""
        return len(self.chains) == self.wanted

    @property
    def surplus(self) -> int:
        """How many chains follow the rules and were left out, since enough had been kept."""
        return self.drawn - self.dropped - len(self.chains)


def keeps(chain: str, rules: SamplingRules = PAPER_RULES) -> bool:
    r"""Whether a chain has neither too few steps nor too many.

    Args:
        chain: The whole chain of thought.
        rules: The bounds, both included.

    Raises:
        InputError: The chain is not text.

    Example:
        >>> keeps("Step 1: Fever.\nStep 2: Rash.\nStep 3: The answer is (B)")
        True
        >>> keeps("The answer is (B)")
        False
    """
    if not isinstance(chain, str):
        raise InputError(f"a chain must be text, not {type(chain).__name__}")
    return rules.min_steps <= len(split_steps(chain).steps) <= rules.max_steps


def sample_chains(draw: Callable[[int], Sequence[str]], n: int, rules: SamplingRules = PAPER_RULES) -> Samples:
    r"""Draw chains of thought for one question until enough follow the rules.

    Drawing ends when `n` chains are kept, after `rules.rounds` rounds, or when `draw` gives none. If fewer than `n` are
    kept by then, the result holds those and its `complete` is False.

    Args:
        draw: Asks the policy for that many chains. It may give fewer; of those it gives beyond what is still missing,
            none is kept.
        n: How many chains are wanted, at least 1.
        rules: Which chains are kept and how many are drawn.

    Returns:
        The chains and the counts.

    Raises:
        InputError: `n` is not a number of at least 1, or `draw` gave anything but a list of texts.
        ScoringError: Not one chain was kept.
        Exception: Whatever `draw` raises, unchanged; the chains of earlier rounds are lost.

    Example:
        >>> good, short = "Step 1: Fever.\nStep 2: Rash.\nStep 3: The answer is (B)", "The answer is (B)"
        >>> samples = sample_chains(lambda count: [short] + [good] * (count - 1), n=4)
        >>> samples, samples.complete
        (Samples(wanted=4, drawn=5, dropped=1, rounds=1), True)
    """
    drawing = _Drawing(n, rules)
    while count := drawing.to_draw():
        drawing.add(draw(count))
    return drawing.samples()


async def asample_chains(
    draw: Callable[[int], Awaitable[Sequence[str]]], n: int, rules: SamplingRules = PAPER_RULES
) -> Samples:
    """As `sample_chains`, for a policy that is awaited.

    Rounds follow one another, since each depends on what the last one gave; within a round `draw` may ask for its
    chains all at once.

    Args:
        draw: Asks the policy for that many chains.
        n: How many chains are wanted, at least 1.
        rules: Which chains are kept and how many are drawn.

    Returns:
        The chains and the counts.

    Raises:
        InputError: As in `sample_chains`, or `draw` is not to be awaited.
        ScoringError: Not one chain was kept.
        Exception: Whatever `draw` raises, unchanged; the chains of earlier rounds are lost.
    """
    drawing = _Drawing(n, rules)
    while count := drawing.to_draw():
        pending = draw(count)
        if not inspect.isawaitable(pending):
            raise InputError(f"draw must be async, and gave {type(pending).__name__}: use sample_chains for it")
        drawing.add(await pending)
    return drawing.samples()


class _Drawing:
    """What was drawn so far for one question: the rules, without the asking."""

    def __init__(self, n: int, rules: SamplingRules) -> None:
        _check_count("n", n)
        self.wanted, self.rules = n, rules
        self.kept: list[str] = []
        self.drawn = self.dropped = self.rounds = 0
        self.ended = False

    def to_draw(self) -> int:
        """How many chains to ask for next; 0 when drawing is over."""
        if self.ended or self.rounds == self.rules.rounds:
            return 0
        return self.rules.to_draw(self.wanted - len(self.kept))

    def add(self, chains: Sequence[str]) -> None:
        """Take in what one round gave."""
        self.rounds += 1
        if not isinstance(chains, Sequence) or isinstance(chains, (str, bytes, bytearray, memoryview)):
            raise InputError(f"draw must return a list of texts, and gave {type(chains).__name__}")
        for place, chain in enumerate(chains):
            if not isinstance(chain, str):
                raise InputError(
                    f"[{place}] of what draw gave in round {self.rounds} must be text, not {type(chain).__name__}"
                )
        good = [chain for chain in chains if keeps(chain, self.rules)]
        self.drawn += len(chains)
        self.dropped += len(chains) - len(good)
        self.kept += good[: self.wanted - len(self.kept)]
        self.ended = not chains

    def samples(self) -> Samples:
        """The result."""
        if not self.drawn:
            raise ScoringError("the policy gave no chains: check that draw returns what the policy writes")
        if not self.kept:
            raise ScoringError(
                f"none of the {self.drawn} chains drawn (rounds: {self.rounds}) has {self.rules.min_steps} to "
                f"{self.rules.max_steps} steps: ask the policy for Step n: (policy_messages does so), or loosen "
                "min_steps and max_steps"
            )
        return Samples(tuple(self.kept), self.wanted, self.drawn, self.dropped, self.rounds)
