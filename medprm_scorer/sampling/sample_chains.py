"""Drawing chains of thought from a policy until there are enough that follow the rules."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.sampling.sample_rounds import PAPER_RULES, SampleRounds, SamplingRules


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
    rounds = SampleRounds[str](n, str, rules=rules)
    while count := rounds.to_draw():
        rounds.add(_texts(draw(count), rounds))
    return _samples(rounds)


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
    rounds = SampleRounds[str](n, str, rules=rules)
    while count := rounds.to_draw():
        pending = draw(count)
        if not inspect.isawaitable(pending):
            raise InputError(f"draw must be async, and gave {type(pending).__name__}: use sample_chains for it")
        rounds.add(_texts(await pending, rounds))
    return _samples(rounds)


def _texts(chains: Sequence[str], rounds: SampleRounds[str]) -> Sequence[str]:
    """What `draw` gave, refused if it is no list of texts."""
    if not isinstance(chains, Sequence) or isinstance(chains, (str, bytes, bytearray, memoryview)):
        raise InputError(f"draw must return a list of texts, and gave {type(chains).__name__}")
    for place, chain in enumerate(chains):
        if not isinstance(chain, str):
            raise InputError(
                f"[{place}] of what draw gave in round {rounds.rounds + 1} must be text, not {type(chain).__name__}"
            )
    return chains


def _samples(rounds: SampleRounds[str]) -> Samples:
    if not rounds.drawn:
        raise ScoringError("the policy gave no chains: check that draw returns what the policy writes")
    rounds.check()
    return Samples(tuple(rounds.values), rounds.wanted, rounds.drawn, len(rounds.unfit), rounds.rounds)
