"""The samples of one question while they are drawn: how many are still needed, and what became of each. Asks nobody.

Whoever asks a policy takes numbers from it (`start`) as long as some are `needed`, and hands in what came of each
(`finish`), in any order: what is kept is in the order of the numbers. With a rule for stopping, what the samples say is
handed in as well (`judge`), and drawing ends as soon as the rule is satisfied, whatever is still running.
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

- `confident`, `agree`  the rule for stopping was satisfied.
- `all`       as many came back as were wanted.
- `budget`    the next sample would have exceeded the budget of tokens.
- `deadline`  the time for the whole call was over.
- `quorum`    some failed, or do not follow the rules, and were not replaced; but at least `quorum` came back.
"""

STOPPED: tuple[str, ...] = get_args(Stopped)

DEFAULT_REPLACEMENTS = 2
"""Failed samples that are replaced by others, unless the user says otherwise."""

_SURELY_FAILING = 3  # so many failures before anything has come back say that the others will fail, too
_REFUSED = (401, 403)  # HTTP: who asks is not known, or not allowed to


@dataclass(frozen=True)
class Limits:
    """What bounds the drawing of one question.

    Args:
        replacements: How many failed samples are replaced by others, once some other sample has come back.
        quorum: Fewest samples that must come back as candidates.
        tokens: Most tokens of all samples together, by what is reported; None for no bound.

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

    A sample that failed does not end the others. But where nothing has come back yet, no more are asked for once all
    of the first ones have failed (at least three), or one was refused for who asks: the others would fail, too.

    Args:
        n: How many samples are wanted at most, at least 1.
        read: A drawn value as a candidate: a text, a `Sample`, None if it is no candidate (a call of a tool, say), or
            the exception by which the value counts as failed.
        rules: Keep only chains with so many steps, and draw until there are `n` of them; None keeps all and draws `n`.
        stop: When fewer are enough; None draws all. What the samples say must then be handed in by `judge`.
        probe: Draw one sample first, alone, and no more if it is no candidate.
        limits: What bounds the drawing.

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
        """How many samples were asked for."""
        self.running: set[int] = set()
        """The numbers of those that have not come back."""
        self.late: set[int] = set()
        """The numbers of those that take so long that another may come before."""
        self.cancelled = 0
        """How many were still running when there were enough."""
        self.tokens_spent = 0
        """Tokens of the samples that came back, by what is reported."""
        self.stopped: Stopped | None = None
        """Why drawing ended; None before it has."""
        self.no_candidates: list[Value] = []
        """The values that are no candidates."""
        self.unfit: list[Value] = []
        """The values that have too few steps or too many."""
        self.surplus: list[Value] = []
        """The values that came when enough had been kept."""
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
        """The values that are kept, in the order of their numbers."""
        return [self._kept[number][0] for number in sorted(self._kept)]

    @property
    def samples(self) -> list[Sample]:
        """Those as candidates."""
        return [self._kept[number][1] for number in sorted(self._kept)]

    @property
    def numbers(self) -> list[int]:
        """The numbers of those."""
        return sorted(self._kept)

    @property
    def errors(self) -> list[Exception]:
        """Why the others failed, in the order of their numbers."""
        return [self._errors[number] for number in sorted(self._errors)]

    @property
    def all_values(self) -> list[Value]:
        """Every value that did not fail, whether it is kept or not."""
        return [*self.values, *self.no_candidates, *self.unfit, *self.surplus]

    @property
    def finished(self) -> int:
        """How many samples have come back or failed."""
        return self._came_back + len(self._errors)

    @property
    def _came_back(self) -> int:
        return len(self._kept) + len(self.no_candidates) + len(self.unfit) + len(self.surplus)

    @property
    def unjudged(self) -> int:
        """How many samples have been kept, and what they say has not been handed in; 0 without a rule for stopping."""
        return 0 if self.stop is None else len(self._kept) - len(self._evidence)

    def needed(self) -> int:
        """How many more samples to ask for now, beside those that are running."""
        if self.stopped is not None or self._gives_up():
            return 0
        if self.probe and not self.finished:
            return 0 if self.started else 1
        return max(0, min(self._wished(), self._affordable()))

    def _wished(self) -> int:
        """How many more to ask for now, whatever they cost; below 0 if more are running than it takes."""
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
        """For how many more, beside those that are running, the budget of tokens suffices, at the mean cost so far."""
        if self.limits.tokens is None or not self.tokens_spent:  # nobody knows yet what one costs
            return sys.maxsize
        left = self.limits.tokens - self.tokens_spent
        return left * self._came_back // self.tokens_spent - len(self.running)

    def _gives_up(self) -> bool:
        """Whether what failed so far, before anything has come back, says that the others would fail, too."""
        if self._came_back or not self._errors:
            return False
        refused = any(_status(error) in _REFUSED for error in self._errors.values())
        return refused or len(self._errors) >= max(_SURELY_FAILING, self._first_wave)

    def start(self) -> int:
        """The number of a sample that is asked for now."""
        self.started += 1
        self.running.add(self.started - 1)
        return self.started - 1

    def finish(self, number: int, outcome: Value | Exception, tokens: int = 0) -> Sample | None:
        """Take in what came of a sample.

        Args:
            number: Its number.
            outcome: What came, or why it failed.
            tokens: What it has cost, by what is reported.

        Returns:
            The sample, if it is kept.
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
        """Take in what the samples that are kept say, and ask the rule for stopping.

        Args:
            evidence: An answer and a reward for each sample that is kept, or for each but the latest.
        """
        self._evidence, self._more = evidence, None
        if self.stopped is not None or self.stop is None:
            return
        if len(evidence) >= self.limits.quorum and should_stop(evidence, self.stop):
            self.end("agree" if isinstance(self.stop, Agree) else "confident")
        elif (reason := self._reason()) is not None:
            self.end(reason)

    def _reason(self) -> Stopped | None:
        """Why drawing is over; None if it is not."""
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
        """Draw no more; what is still running is given up."""
        self.stopped = reason
        self.cancelled += len(self.running)
        self.running.clear()

    def check(self) -> None:
        """Refuse a drawing that gave too few candidates, or neither a candidate nor anything else to hand on.

        Raises:
            Exception: The first failure, unchanged but for a note with the count: retries and fallbacks go by its type.
            TimeoutError: The deadline came before any sample.
            ScoringError: Fewer than `quorum` came back, nothing was drawn, or no chain has the steps that the rules ask
                for.
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
    """The status of the HTTP answer that an error stands for, in the ways that clients keep it."""
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _add_note(error: Exception, note: str) -> None:
    """What `add_note` does, for Python 3.10 too; an error raised again does not collect notes."""
    notes = [line for line in getattr(error, "__notes__", []) if line != note]
    error.__notes__ = [*notes, note]  # type: ignore[attr-defined]
