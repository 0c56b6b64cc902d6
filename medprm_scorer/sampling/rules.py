"""What a sample is, and which samples are kept, by the paper's rules.

The paper (arXiv 2506.11474) and its authors' code keep only chains of 3 to 9 steps and draw 1.25 times as many as
wanted, since some will not be kept (`SamplingRules`). Missing ones are drawn in the same way again. The limit on the
total number drawn is this package's own. Steps are counted as the reward model will read them, by `split_steps` with
its `auto` rule. Identical chains are all kept: each is one vote.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from medprm_scorer.errors import InputError
from medprm_scorer.text.steps.split import split_steps

_MOST_OVERSAMPLE = 100  # a misplaced decimal point must not become expensive


def check_count(name: str, value: object) -> None:
    """Refuse a value that is not a whole number of at least 1.

    Raises:
        InputError: It is not; the message names the setting.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1")


@dataclass(frozen=True)
class SamplingRules:
    """Which chains are kept and how many are drawn; the defaults are the paper's, except for `rounds`.

    To keep every chain that is not blank: `SamplingRules(min_steps=1, max_steps=sys.maxsize)`.

    Args:
        min_steps: Fewest steps of a chain, at least 1.
        max_steps: Most steps of a chain, at least `min_steps`; any size.
        oversample: How many to draw for each one missing, from 1 to 100; the number to draw is rounded up.
        rounds: Limit on the total number drawn, as a multiple of the number drawn if all are kept; at least 1.

    Raises:
        InputError: A value is out of its range or not a number.
    """

    min_steps: int = 3
    max_steps: int = 9
    oversample: float = 1.25
    rounds: int = 4

    def __post_init__(self) -> None:
        check_count("min_steps", self.min_steps)
        check_count("max_steps", self.max_steps)
        check_count("rounds", self.rounds)
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
            `oversample` times as many, rounded up; exact for the factor as written (1.1 · 50 is 55).

        Example:
            >>> SamplingRules().to_draw(5)
            7
        """
        return math.ceil(Fraction(str(self.oversample)) * missing)


PAPER_RULES = SamplingRules()
"""3 to 9 steps, 1.25 times as many drawn as wanted."""


def keeps(chain: str | Sequence[str], rules: SamplingRules = PAPER_RULES) -> bool:
    r"""Whether a chain has neither too few nor too many steps.

    Args:
        chain: The whole chain of thought, or a tuple of its steps.
        rules: The bounds, inclusive.

    Raises:
        InputError: The chain is not text.

    Example:
        >>> keeps("Step 1: Fever.\nStep 2: Rash.\nStep 3: The answer is (B)")
        True
        >>> keeps("The answer is (B)")
        False
    """
    if not isinstance(chain, str | tuple):
        raise InputError(f"a chain must be text, not {type(chain).__name__}")
    return rules.min_steps <= len(split_steps(chain).steps) <= rules.max_steps


@dataclass(frozen=True, repr=False)
class Sample:
    """A text that a policy wrote, as a candidate.

    Args:
        chain: The whole chain of thought, or its steps.
        answer: The answer, if a separate field held it; None to read it from the chain.
        truncated: Whether the policy was cut off before it had finished.
    """

    chain: str | tuple[str, ...]
    answer: str | None = None
    truncated: bool = False

    @property
    def text(self) -> str:
        """The whole chain as one text."""
        return self.chain if isinstance(self.chain, str) else "\n".join(self.chain)
