"""Samples chains of thought from a policy until enough of them follow the rules."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.sampling import stopping
from medprm_scorer.sampling.drawing import Drawing, Stopped
from medprm_scorer.sampling.rules import PAPER_RULES, SamplingRules
from medprm_scorer.sampling.stopping import Agree, Rule, given_rule
from medprm_scorer.text.answers import normalize_answer, read

Judge = Callable[[Sequence[str]], Sequence[stopping.Sample]]
"""Takes the new chains and returns, for all so far, each answer and reward: `LiveRanking.add`."""


@dataclass(frozen=True)
class Samples:
    """The chains that were kept, and counts of the others. The `repr` shows no text.

    Args:
        chains: The kept chains, in the order drawn, as the policy wrote them; at least one, at most `wanted`.
        wanted: How many were requested.
        drawn: How many the policy returned in total.
        dropped: How many of these have too few (a blank chain has none) or too many steps.
        rounds: How often the policy was called.
        stopped: Why no more were drawn: `confident`, `agree`, `all`, or `quorum` if there are fewer than wanted.
    """

    chains: tuple[str, ...] = field(repr=False)
    wanted: int
    drawn: int
    dropped: int
    rounds: int
    stopped: Stopped = field(default="all", repr=False)

    @property
    def complete(self) -> bool:
        """Whether there are as many chains as wanted."""
        return len(self.chains) == self.wanted

    @property
    def surplus(self) -> int:
        """How many chains follow the rules but were left out, since enough had been kept."""
        return self.drawn - self.dropped - len(self.chains)


def sample_chains(
    draw: Callable[[int], Sequence[str]],
    n: int,
    rules: SamplingRules = PAPER_RULES,
    *,
    stop: Rule | Literal["confident", "agree"] | None = None,
    judge: Judge | None = None,
) -> Samples:
    r"""Sample chains of thought for one question until enough follow the rules.

    Sampling ends when `n` chains are kept, when the stopping rule is satisfied, when `rules.rounds` times the number
    needed for `n` chains has been drawn, or when `draw` returns none. If fewer than `n` are kept, `complete` is False,
    and `stopped` says why.

    Args:
        draw: Gets that many chains from the policy. It may return fewer; chains beyond those still missing are not
            kept.
        n: How many chains are wanted, at least 1.
        rules: Which chains are kept and how many are drawn.
        stop: When fewer than `n` are enough: `confident`, `agree`, a `Confident` or an `Agree`; None draws all.
        judge: Returns the chains' answers and rewards, which `confident` needs: `add` of a `MedPRM.live`. None reads
            the answers, without the question.

    Returns:
        The chains and the counts.

    Raises:
        InputError: `n` is not a number of at least 1, `draw` did not return a list of texts, or the rule needs rewards
            and there is no `judge`.
        ScoringError: Not one chain was kept.
        Exception: Whatever `draw` or `judge` raises, unchanged; the chains of earlier rounds are lost.

    Example:
        >>> good, short = "Step 1: Fever.\nStep 2: Rash.\nStep 3: The answer is (B)", "The answer is (B)"
        >>> samples = sample_chains(lambda count: [short] + [good] * (count - 1), n=4)
        >>> samples, samples.complete
        (Samples(wanted=4, drawn=5, dropped=1, rounds=1), True)
        >>> sample_chains(lambda count: [good] * count, n=64, stop="agree")
        Samples(wanted=64, drawn=4, dropped=0, rounds=1)
    """
    rounds = _Rounds(n, rules, stop, judge)
    while count := rounds.to_draw():
        if new := rounds.add(draw(count)):
            rounds.judged(rounds.judge(new))
    return rounds.samples()


async def asample_chains(
    draw: Callable[[int], Awaitable[Sequence[str]]],
    n: int,
    rules: SamplingRules = PAPER_RULES,
    *,
    stop: Rule | Literal["confident", "agree"] | None = None,
    judge: Callable[[Sequence[str]], Any] | None = None,
) -> Samples:
    """`sample_chains` for a policy that is awaited.

    Rounds follow one another, since each depends on the previous one; within a round, `draw` may request all chains at
    once.

    Args:
        draw: Asks the policy for that many chains.
        n: How many chains are wanted, at least 1.
        rules: Which chains are kept and how many are drawn.
        stop: When fewer are enough.
        judge: Returns the chains' answers and rewards; may be async, such as `aadd` of a `MedPRM.live`.

    Returns:
        The chains and the counts.

    Raises:
        InputError: As in `sample_chains`, or `draw` is not async.
        ScoringError: Not one chain was kept.
        Exception: Whatever `draw` or `judge` raises, unchanged; the chains of earlier rounds are lost.
    """
    rounds = _Rounds(n, rules, stop, judge)
    while count := rounds.to_draw():
        pending = draw(count)
        if not inspect.isawaitable(pending):
            raise InputError(f"draw must be async, but returned {type(pending).__name__}: use sample_chains for it")
        if new := rounds.add(await pending):
            said = rounds.judge(new)
            rounds.judged(await said if inspect.isawaitable(said) else said)
    return rounds.samples()


class _Rounds:
    """The chains of one question, drawn in rounds as needed."""

    def __init__(self, n: int, rules: SamplingRules, stop: Any, judge: Callable[[Sequence[str]], Any] | None) -> None:
        rule = given_rule(stop)
        if judge is None and rule is not None and not isinstance(rule, Agree):
            raise InputError("stop='confident' needs rewards: give judge, such as prm.live(question, documents).add")
        self._drawing = Drawing[str](n, str, rules=rules, stop=rule)
        self._wanted, self._rounds, self._ended = n, 0, False
        self._answers: list[stopping.Sample] = []
        self.judge = judge or self._read
        """The chains' answers and rewards, given the new chains."""

    def to_draw(self) -> int:
        """How many chains to request next; 0 when sampling is over."""
        rules = self._drawing.rules
        if self._ended or (self._drawing.stop is None and rules is not None and self._rounds >= rules.rounds):
            return 0
        return self._drawing.needed()

    def add(self, chains: Sequence[str]) -> list[str]:
        """Add the policy's chains; returns those that need judging."""
        chains = _texts(chains, self._rounds + 1)
        self._rounds += 1
        self._ended = not chains
        for number in [self._drawing.start() for _ in chains]:
            self._drawing.finish(number, chains[number - self._drawing.started + len(chains)])
        return self._drawing.values[-self._drawing.unjudged :] if self._drawing.unjudged else []

    def judged(self, said: Sequence[stopping.Sample]) -> None:
        """Record the answers and rewards of all chains so far."""
        self._drawing.judge(said)

    def samples(self) -> Samples:
        """The result."""
        drawing = self._drawing
        if not drawing.finished:
            raise ScoringError("the policy gave no chains: check that draw returns what the policy writes")
        drawing.check()
        stopped = drawing.stopped or "quorum"
        return Samples(tuple(drawing.values), self._wanted, drawing.finished, len(drawing.unfit), self._rounds, stopped)

    def _read(self, chains: Sequence[str]) -> Sequence[stopping.Sample]:
        """The answers of all chains, read without the question; declining counts as a separate answer."""
        for reading in map(read, chains):
            answer = None if reading.answer is None else normalize_answer(reading.answer)
            self._answers.append((True if reading.declined else answer, None))
        return self._answers


def _texts(chains: Sequence[str], round_number: int) -> Sequence[str]:
    """The result of `draw`, refused if it is not a list of texts."""
    if not isinstance(chains, Sequence) or isinstance(chains, (str, bytes, bytearray, memoryview)):
        raise InputError(f"draw must return a list of texts, but returned {type(chains).__name__}")
    for place, chain in enumerate(chains):
        if not isinstance(chain, str):
            raise InputError(
                f"[{place}] of the chains of round {round_number} must be text, not {type(chain).__name__}"
            )
    return chains
