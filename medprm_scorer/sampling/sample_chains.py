"""Drawing chains of thought from a policy until there are enough that follow the rules."""

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
"""Takes the chains that are new and gives, for all so far, what each answers and its reward: `LiveRanking.add`."""


@dataclass(frozen=True)
class Samples:
    """The chains that were kept, and what became of the others. The `repr` shows no text.

    Args:
        chains: The chains kept, in the order drawn, as the policy wrote them; at least one, at most `wanted`.
        wanted: How many were asked for.
        drawn: How many the policy gave in all.
        dropped: How many of these have too few steps (a blank chain has none) or too many.
        rounds: How often the policy was asked.
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
        """How many chains follow the rules and were left out, since enough had been kept."""
        return self.drawn - self.dropped - len(self.chains)


def sample_chains(
    draw: Callable[[int], Sequence[str]],
    n: int,
    rules: SamplingRules = PAPER_RULES,
    *,
    stop: Rule | Literal["confident", "agree"] | None = None,
    judge: Judge | None = None,
) -> Samples:
    r"""Draw chains of thought for one question until enough follow the rules.

    Drawing ends when `n` chains are kept, when the rule for stopping is satisfied, after `rules.rounds` times as many
    as `n` chains take, or when `draw` gives none. Where fewer than `n` are kept, `complete` is False, and `stopped`
    says why.

    Args:
        draw: Asks the policy for that many chains. It may give fewer; of those it gives beyond what is still missing,
            none is kept.
        n: How many chains are wanted, at least 1.
        rules: Which chains are kept and how many are drawn.
        stop: When fewer than `n` are enough: `confident`, `agree`, a `Confident` or an `Agree`; None draws all.
        judge: What the chains say, of which `confident` needs the rewards: `add` of a `MedPRM.live`. None reads their
            answers, without the question.

    Returns:
        The chains and the counts.

    Raises:
        InputError: `n` is not a number of at least 1, `draw` gave anything but a list of texts, or the rule needs
            rewards and there is no `judge`.
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
    """As `sample_chains`, for a policy that is awaited.

    Rounds follow one another, since each depends on what the last one gave; within a round `draw` may ask for its
    chains all at once.

    Args:
        draw: Asks the policy for that many chains.
        n: How many chains are wanted, at least 1.
        rules: Which chains are kept and how many are drawn.
        stop: When fewer are enough.
        judge: What the chains say; may be async, such as `aadd` of a `MedPRM.live`.

    Returns:
        The chains and the counts.

    Raises:
        InputError: As in `sample_chains`, or `draw` is not to be awaited.
        ScoringError: Not one chain was kept.
        Exception: Whatever `draw` or `judge` raises, unchanged; the chains of earlier rounds are lost.
    """
    rounds = _Rounds(n, rules, stop, judge)
    while count := rounds.to_draw():
        pending = draw(count)
        if not inspect.isawaitable(pending):
            raise InputError(f"draw must be async, and gave {type(pending).__name__}: use sample_chains for it")
        if new := rounds.add(await pending):
            said = rounds.judge(new)
            rounds.judged(await said if inspect.isawaitable(said) else said)
    return rounds.samples()


class _Rounds:
    """The chains of one question, drawn as many at a time as are needed."""

    def __init__(self, n: int, rules: SamplingRules, stop: Any, judge: Callable[[Sequence[str]], Any] | None) -> None:
        rule = given_rule(stop)
        if judge is None and rule is not None and not isinstance(rule, Agree):
            raise InputError("stop='confident' needs rewards: give judge, such as prm.live(question, documents).add")
        self._drawing = Drawing[str](n, str, rules=rules, stop=rule)
        self._wanted, self._rounds, self._ended = n, 0, False
        self._answers: list[stopping.Sample] = []
        self.judge = judge or self._read
        """What the chains say, given those that are new."""

    def to_draw(self) -> int:
        """How many chains to ask for next; 0 when drawing is over."""
        rules = self._drawing.rules
        if self._ended or (self._drawing.stop is None and rules is not None and self._rounds >= rules.rounds):
            return 0
        return self._drawing.needed()

    def add(self, chains: Sequence[str]) -> list[str]:
        """Take in what the policy gave; those that are to be judged."""
        chains = _texts(chains, self._rounds + 1)
        self._rounds += 1
        self._ended = not chains
        for number in [self._drawing.start() for _ in chains]:
            self._drawing.finish(number, chains[number - self._drawing.started + len(chains)])
        return self._drawing.values[-self._drawing.unjudged :] if self._drawing.unjudged else []

    def judged(self, said: Sequence[stopping.Sample]) -> None:
        """Take in what all chains so far say."""
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
        """The answers of all chains, read without the question; declining is an answer of its own."""
        for reading in map(read, chains):
            answer = None if reading.answer is None else normalize_answer(reading.answer)
            self._answers.append((True if reading.declined else answer, None))
        return self._answers


def _texts(chains: Sequence[str], round_number: int) -> Sequence[str]:
    """What `draw` gave, refused if it is no list of texts."""
    if not isinstance(chains, Sequence) or isinstance(chains, (str, bytes, bytearray, memoryview)):
        raise InputError(f"draw must return a list of texts, and gave {type(chains).__name__}")
    for place, chain in enumerate(chains):
        if not isinstance(chain, str):
            raise InputError(
                f"[{place}] of what draw gave in round {round_number} must be text, not {type(chain).__name__}"
            )
    return chains
