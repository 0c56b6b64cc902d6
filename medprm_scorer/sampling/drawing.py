"""The state of sampling for one question: how many samples are still needed, and the outcome of each. It calls no one.

The code that calls a policy takes numbers from it (`start`) while some are `needed`, and reports the outcome of each
(`finish`), in any order: samples are kept in the order of the numbers. With a stopping rule, the samples' answers and
rewards are also reported (`judge`), and sampling ends as soon as the rule is satisfied, even if some are still running.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar, get_args

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.sampling import stopping
from medprm_scorer.sampling.rules import Sample, SamplingRules, check_count, keeps
from medprm_scorer.sampling.stopping import Agree, Confident, Rule, samples_to_ask, should_stop

Value = TypeVar("Value")

Stopped = Literal["confident", "agree", "all", "budget", "deadline", "quorum"]
"""Why no more samples were drawn.

- `confident`, `agree`  the stopping rule was satisfied.
- `all`       all wanted samples arrived.
- `budget`    the next sample would have exceeded the budget of tokens.
- `deadline`  the time for the whole call ran out.
- `quorum`    some failed or did not follow the rules, and were not replaced, but at least `quorum` arrived.
"""

STOPPED: tuple[str, ...] = get_args(Stopped)

DEFAULT_REPLACEMENTS = 2
"""The default number of failed samples that are replaced by others."""

_SURELY_FAILING = 3  # after this many failures, with no sample yet, the others are expected to fail too
_REFUSED = (401, 403)  # HTTP: the caller is unknown or not allowed


@dataclass(frozen=True)
class Limits:
    """Limits on the sampling for one question.

    Args:
        replacements: How many failed samples are replaced by others, once some other sample has arrived.
        quorum: The fewest samples that must arrive as candidates.
        tokens: Most tokens of all samples together, as reported; None for no limit.

    Raises:
        InputError: A number is out of its range.
    """

    replacements: int = DEFAULT_REPLACEMENTS
    quorum: int = 1
    tokens: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.replacements, bool) or not isinstance(self.replacements, int) or self.replacements < 0:
            raise InputError("replacements must be a whole number of at least 0")
        check_count("quorum", self.quorum)
        if self.tokens is not None:
            check_count("max_tokens_total", self.tokens)


NO_LIMITS = Limits()


class Drawing(Generic[Value]):
    r"""The samples of one question.

    A failed sample does not end the others. But if none has arrived yet, no more are requested once all of the first
    ones have failed (at least three), or once the caller was refused as unknown or not allowed: the others would fail
    too.

    Args:
        n: The most samples wanted, at least 1.
        read: Turns a drawn value into a candidate: a text, a `Sample`, None if it is not a candidate (a tool call, for
            example), or an exception if the value counts as failed.
        rules: Keep only chains with that many steps, and draw until there are `n` of them; None keeps all and draws
            `n`.
        stop: When fewer are enough; None draws all. With a rule, the samples' answers and rewards must be reported with
            `judge`.
        probe: Draw one sample first, alone, and no more if it is not a candidate.
        limits: Limits on the sampling.

    Raises:
        InputError: `n` is not a whole number of at least 1.

    Example:
        >>> drawing = Drawing(3, read=str.strip)
        >>> numbers = [drawing.start() for _ in range(drawing.needed())]
        >>> for number, outcome in zip(numbers, ["The answer is (A)", TimeoutError(), "The answer is (B)"]):
        ...     kept = drawing.finish(number, outcome)
        >>> drawing.needed(), drawing  # one more, for the one that failed
        (1, Drawing(2 kept, 0 dropped, 1 failed, 0 running))
    """

    def __init__(
        self,
        n: int,
        read: Callable[[Value], Sample | str | Exception | None],
        *,
        rules: SamplingRules | None = None,
        stop: Rule | None = None,
        probe: bool = False,
        limits: Limits = NO_LIMITS,
    ) -> None:
        check_count("n", n)
        most = stop.max_samples if isinstance(stop, Confident) else None
        self.wanted = n if most is None else min(n, most)
        self.rules, self.probe, self.limits = rules, probe, limits
        self.stop = replace(stop, max_samples=None) if isinstance(stop, Confident) else stop
        self._read = read
        self.started = 0
        """How many samples were requested."""
        self.running: set[int] = set()
        """The numbers of those that have not arrived."""
        self.late: set[int] = set()
        """The numbers of those that take so long that a replacement may be started."""
        self.cancelled = 0
        """How many were still running when enough had arrived."""
        self.tokens_spent = 0
        """Tokens of the samples that arrived, as reported."""
        self.stopped: Stopped | None = None
        """Why sampling ended; None before that."""
        self.no_candidates: list[Value] = []
        """The values that are not candidates."""
        self.unfit: list[Value] = []
        """The values with too few or too many steps."""
        self.surplus: list[Value] = []
        """The values that arrived after enough had been kept."""
        self._kept: dict[int, tuple[Value, Sample]] = {}
        self._errors: dict[int, Exception] = {}
        self._evidence: Sequence[stopping.Sample] = ()
        self._more: int | None = None
        self._first_wave = 0

    def __repr__(self) -> str:
        kept, failed = len(self._kept), len(self._errors)
        dropped = self.finished - kept - failed
        return f"Drawing({kept} kept, {dropped} dropped, {failed} failed, {len(self.running)} running)"

    @property
    def values(self) -> list[Value]:
        """The kept values, in the order of their numbers."""
        return [self._kept[number][0] for number in sorted(self._kept)]

    @property
    def samples(self) -> list[Sample]:
        """Those as candidates."""
        return [self._kept[number][1] for number in sorted(self._kept)]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the kept values."""
        return sorted(self._kept)

    @property
    def errors(self) -> list[Exception]:
        """Why the others failed, in the order of their numbers."""
        return [self._errors[number] for number in sorted(self._errors)]

    @property
    def all_values(self) -> list[Value]:
        """Every value that did not fail, kept or not."""
        return [*self.values, *self.no_candidates, *self.unfit, *self.surplus]

    @property
    def finished(self) -> int:
        """How many samples have arrived or failed."""
        return self._came_back + len(self._errors)

    @property
    def _came_back(self) -> int:
        return len(self._kept) + len(self.no_candidates) + len(self.unfit) + len(self.surplus)

    @property
    def unjudged(self) -> int:
        """How many kept samples have not been reported with `judge`; 0 without a stopping rule."""
        return 0 if self.stop is None else len(self._kept) - len(self._evidence)

    def needed(self) -> int:
        """How many more samples to request now, besides those that are running."""
        if self.stopped is not None or self._gives_up():
            return 0
        if self.probe and not self.finished:
            return 0 if self.started else 1
        return max(0, min(self._wished(), self._affordable()))

    def _wished(self) -> int:
        """How many more to request now, regardless of cost; negative if more are running than needed."""
        if self.rules is None:
            replaced = min(len(self._errors), self.limits.replacements) if self._came_back else 0
            more = self.wanted + replaced - self.started
        else:
            most = self.rules.rounds * self.rules.to_draw(self.wanted) + self.probe
            missing = self.rules.to_draw(self.wanted - len(self._kept))
            more = min(most - self.started, missing - len(self.running))
        if self.stop is not None:
            if self._more is None:
                self._more = samples_to_ask(self._evidence, self.stop)
            enough = max(self._more, self.limits.quorum - len(self._evidence)) - self.unjudged
            if self.rules is not None:
                enough = self.rules.to_draw(max(0, enough))
            more = min(more, enough - len(self.running - self.late))
        return more

    def _affordable(self) -> int:
        """How many more, besides those that are running, the token budget allows at the mean cost so far."""
        if self.limits.tokens is None or not self.tokens_spent:  # the cost of a sample is not yet known
            return sys.maxsize
        left = self.limits.tokens - self.tokens_spent
        return left * self._came_back // self.tokens_spent - len(self.running)

    def _gives_up(self) -> bool:
        """Whether the failures so far, with no sample yet, mean that the others would fail too."""
        if self._came_back or not self._errors:
            return False
        refused = any(_status(error) in _REFUSED for error in self._errors.values())
        return refused or len(self._errors) >= max(_SURELY_FAILING, self._first_wave)

    def start(self) -> int:
        """The number of a new sample, which the caller requests now."""
        self.started += 1
        self.running.add(self.started - 1)
        return self.started - 1

    def finish(self, number: int, outcome: Value | Exception, tokens: int = 0) -> Sample | None:
        """Record the outcome of a sample.

        Args:
            number: Its number.
            outcome: The value, or the exception if it failed.
            tokens: Its cost, as reported.

        Returns:
            The sample if it is kept, otherwise None.
        """
        self.running.discard(number)
        self._first_wave = self._first_wave or self.started
        found = outcome if isinstance(outcome, Exception) else self._read(outcome)
        self.tokens_spent += tokens
        sample = None if isinstance(found, Exception) else self._take(number, outcome, found)  # type: ignore[arg-type]
        if isinstance(found, Exception):
            self._errors[number] = found
        if self.stopped is None:
            self.stopped = self._reason()
        if self.stopped is not None:
            self.end(self.stopped)
        return sample

    def _take(self, number: int, value: Value, found: Sample | str | None) -> Sample | None:
        sample = Sample(found) if isinstance(found, str) else found
        if sample is None:
            self.no_candidates.append(value)
        elif self.rules is not None and not keeps(sample.chain, self.rules):
            self.unfit.append(value)
        elif len(self._kept) == self.wanted or self.stopped is not None:
            self.surplus.append(value)
        else:
            self._kept[number] = value, sample
            return sample
        return None

    def judge(self, evidence: Sequence[stopping.Sample]) -> None:
        """Record the answers and rewards of the kept samples, and apply the stopping rule.

        Args:
            evidence: An answer and a reward for each kept sample, or for all but the latest.
        """
        self._evidence, self._more = evidence, None
        if self.stopped is not None or self.stop is None:
            return
        if len(evidence) >= self.limits.quorum and should_stop(evidence, self.stop):
            self.end("agree" if isinstance(self.stop, Agree) else "confident")
        elif (reason := self._reason()) is not None:
            self.end(reason)

    def _reason(self) -> Stopped | None:
        """Why sampling is over; None if it is not."""
        if self.probe and self.finished == 1 and self.no_candidates:
            return "all"
        if self.unjudged:
            return None
        if len(self._kept) >= self.wanted:
            return "all"
        if self.limits.tokens is not None and self.tokens_spent >= self.limits.tokens:
            return "budget"
        if self.running or self.needed():
            return None
        if not self._gives_up() and self._wished() > 0:
            return "budget"
        return "all" if len(self._kept) + len(self.no_candidates) >= self.wanted else "quorum"

    def end(self, reason: Stopped) -> None:
        """Draw no more; samples that are still running are abandoned."""
        self.stopped = reason
        self.cancelled += len(self.running)
        self.running.clear()

    def check(self) -> None:
        """Refuse a result with too few candidates, or with neither a candidate nor any other value.

        Raises:
            Exception: The first failure, unchanged except for a note with the count, so that retries and fallbacks see
                its type.
            TimeoutError: The deadline passed before any sample arrived.
            ScoringError: Fewer than `quorum` arrived, nothing was drawn, or no chain has the number of steps that the
                rules require.
        """
        if self._kept and len(self._kept) < self.limits.quorum:
            raise ScoringError(
                f"only {len(self._kept)} of the {self.started} samples that were asked for came back as candidates, "
                f"and the quorum is {self.limits.quorum}"
            )
        if self._kept or self.no_candidates:
            return
        if self.unfit and self.rules is not None:
            raise ScoringError(
                f"none of the {self.finished} chains drawn has {self.rules.min_steps} to {self.rules.max_steps} steps: "
                "ask the policy for Step n: (policy_messages does so), or loosen min_steps and max_steps"
            )
        if not self._errors:
            if self.stopped == "deadline":
                raise TimeoutError(f"the deadline came before any sample: {self.started} were asked for")
            raise ScoringError("no sample was drawn")
        first, count = self.errors[0], len(self._errors)
        _add_note(first, f"all {count} samples failed; this is the first failure" if count > 1 else "the sample failed")
        raise first


def _status(error: Exception) -> int | None:
    """The HTTP status behind an error, in the various places where clients store it."""
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _add_note(error: Exception, note: str) -> None:
    """`add_note`, also for Python 3.10; an error that is raised again does not collect more notes."""
    notes = [line for line in getattr(error, "__notes__", []) if line != note]
    error.__notes__ = [*notes, note]  # type: ignore[attr-defined]
