"""Which samples of a question are kept, and how many to draw next: the rules of sampling, without the asking.

The paper (arXiv 2506.11474) and its authors' code keep only chains of 3 to 9 steps and draw 1.25 times as many as
wanted, since some will not be kept (`SamplingRules`). What is then missing is drawn in the same way again. The limit on
the rounds of drawing is this package's own. Steps are counted as the reward model will read them, by `split_steps` with
its `auto` rule. Chains that say the same are all kept: each is one vote.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.text.answers.reading import normalize_answer
from medprm_scorer.text.steps.split import split_steps

Value = TypeVar("Value")

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


def keeps(chain: str | Sequence[str], rules: SamplingRules = PAPER_RULES) -> bool:
    r"""Whether a chain has neither too few steps nor too many.

    Args:
        chain: The whole chain of thought, or a tuple of its steps.
        rules: The bounds, both included.

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
    """What a policy wrote, as a candidate.

    Args:
        chain: The whole chain of thought, or its steps.
        answer: The answer, where a field of its own held it; None to read it in the chain.
        truncated: Whether the policy was cut off before it had finished.
    """

    chain: str | tuple[str, ...]
    answer: str | None = None
    truncated: bool = False

    @property
    def text(self) -> str:
        """The whole chain as one text."""
        return self.chain if isinstance(self.chain, str) else "\n".join(self.chain)


class SampleRounds(Generic[Value]):
    r"""The samples of one question, drawn in rounds.

    A sample that failed does not end the others. With `agree`, no more is drawn than could still change what the
    answers say: first `agree` samples, then as many as the leading answer lacks, until `agree` of them give the same
    answer (early-stopping self-consistency, arXiv 2401.10480, with single votes in place of its windows).

    Args:
        n: How many samples are wanted, at least 1.
        read: A drawn value as a candidate: a text, a `Sample`, None if it is no candidate (a call of a tool, say), or
            the exception by which the value counts as failed.
        rules: Keep only chains with so many steps, and draw until there are `n` of them; None keeps all and draws `n`.
        agree: Stop once so many samples give the same answer; None draws all.
        answer: Reads a chain's answer; only asked with `agree`.
        probe: Draw one sample first, alone, and no more if it is no candidate.

    Raises:
        InputError: `n` is not a whole number of at least 1.

    Example:
        >>> rounds = SampleRounds(3, read=str.strip)
        >>> rounds.to_draw()
        3
        >>> rounds.add(["The answer is (A)", TimeoutError(), "The answer is (B)"])
        >>> rounds.to_draw(), rounds
        (0, SampleRounds(2 kept, 0 dropped, 1 failed))
    """

    def __init__(
        self,
        n: int,
        read: Callable[[Value], Sample | str | Exception | None],
        *,
        rules: SamplingRules | None = None,
        agree: int | None = None,
        answer: Callable[[str], str | None] | None = None,
        probe: bool = False,
    ) -> None:
        _check_count("n", n)
        self.wanted, self.rules = n, rules
        self._read, self._agree, self._answer, self.probe = read, agree, answer, probe
        self.rounds = 0
        """How often samples were asked for."""
        self.values: list[Value] = []
        """The values that are kept, in the order drawn."""
        self.samples: list[Sample] = []
        """Those as candidates."""
        self.no_candidates: list[Value] = []
        """The values that are no candidates."""
        self.unfit: list[Value] = []
        """The values that have too few steps or too many."""
        self.surplus: list[Value] = []
        """The values that came when enough had been kept."""
        self.errors: list[Exception] = []
        """Why the others failed."""
        self._votes: Counter[str] = Counter()
        self._ended = False

    def __repr__(self) -> str:
        kept, failed = len(self.values), len(self.errors)
        return f"SampleRounds({kept} kept, {self.drawn - kept - failed} dropped, {failed} failed)"

    @property
    def all_values(self) -> list[Value]:
        """Every value that did not fail, whether it is kept or not."""
        return [*self.values, *self.no_candidates, *self.unfit, *self.surplus]

    @property
    def drawn(self) -> int:
        """How many samples were drawn so far."""
        return len(self.all_values) + len(self.errors)

    def to_draw(self) -> int:
        """How many samples to ask for next, all at once; 0 when drawing is over."""
        if self._ended:
            return 0
        if self.probe and not self.rounds:
            return 1
        missing = self.wanted - (self.drawn if self.rules is None else len(self.values))
        if self._agree is not None:
            missing = min(missing, max(0, self._agree - max(self._votes.values(), default=0)))
        return missing if self.rules is None else self.rules.to_draw(missing)

    def add(self, outcomes: Sequence[Value | Exception]) -> None:
        """Take in what one round gave: values, and the exceptions of those that failed."""
        self.rounds += 1
        for outcome in outcomes:
            self._take(outcome)
        probed = self.probe and self.rounds == 1
        self._ended = not outcomes or self._spent() or (probed and bool(self.no_candidates))

    def _spent(self) -> bool:
        """Whether the rules allow no further round; with `agree`, whose rounds are small, no further sample."""
        if self.rules is None:
            return False
        if self._agree is None:
            return self.rounds - self.probe >= self.rules.rounds
        return self.drawn >= self.rules.rounds * self.rules.to_draw(self.wanted)

    def check(self) -> None:
        """Refuse a drawing that gave neither a candidate nor anything else to hand on.

        Raises:
            Exception: The first failure, unchanged but for a note with the count: retries and fallbacks go by its type.
            ScoringError: Nothing was drawn, or no chain has the steps that the rules ask for.
        """
        if self.values or self.no_candidates:
            return
        if self.unfit and self.rules is not None:
            raise ScoringError(
                f"none of the {self.drawn} chains drawn (rounds: {self.rounds}) has {self.rules.min_steps} to "
                f"{self.rules.max_steps} steps: ask the policy for Step n: (policy_messages does so), or loosen "
                "min_steps and max_steps"
            )
        if not self.errors:
            raise ScoringError("no sample was drawn")
        first, count = self.errors[0], len(self.errors)
        _add_note(first, f"all {count} samples failed; this is the first failure" if count > 1 else "the sample failed")
        raise first

    def _take(self, outcome: Value | Exception) -> None:
        found = outcome if isinstance(outcome, Exception) else self._read(outcome)
        if isinstance(found, Exception):
            self.errors.append(found)
            return
        value: Value = outcome  # type: ignore[assignment]  # an exception was found to be one above
        sample = Sample(found) if isinstance(found, str) else found
        if sample is None:
            self.no_candidates.append(value)
        elif self.rules is not None and not keeps(sample.chain, self.rules):
            self.unfit.append(value)
        elif len(self.values) == self.wanted:
            self.surplus.append(value)
        else:
            self.values.append(value)
            self.samples.append(sample)
            self._count_vote(sample)

    def _count_vote(self, sample: Sample) -> None:
        if self._agree is None:
            return
        answer = sample.answer or (self._answer(sample.text) if self._answer else None)
        if answer is not None:
            self._votes[normalize_answer(answer)] += 1


def _add_note(error: Exception, note: str) -> None:
    """What `add_note` does, for Python 3.10 too; an error raised again does not collect notes."""
    notes = [line for line in getattr(error, "__notes__", []) if line != note]
    error.__notes__ = [*notes, note]  # type: ignore[attr-defined]
