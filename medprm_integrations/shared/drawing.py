"""Sampling one question for a choice among the samples: what to draw next, and what became of what was drawn.

`Drawing` holds the rules and does no asking, so that LangChain and LlamaIndex, with or without asyncio, share them. The
choice itself is `MedPRM.rank`'s.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from medprm_integrations.shared.user_warnings import first_time
from medprm_scorer.errors import ScoringError
from medprm_scorer.text.answers import normalize_answer

Value = TypeVar("Value")


class IdenticalSamplesWarning(UserWarning):
    """All samples of a question are the same text, so that there is nothing to choose."""


class SamplesFailedWarning(UserWarning):
    """Some samples of a question failed, so that the choice is among fewer than were asked for."""


class Drawing(Generic[Value]):
    r"""The samples of one question, drawn in rounds.

    A sample that failed does not end the others. With `agree`, no more is drawn than could still change what the
    answers say: first `agree` samples, then as many as the leading answer lacks, until `agree` of them give the same
    answer (early-stopping self-consistency, arXiv 2401.10480, with single votes in place of its windows).

    Args:
        n: How many samples are drawn, at most.
        read: The text of a sample as a candidate; None if it is no candidate (a call of a tool, say).
        agree: Stop once so many samples give the same answer; None draws all `n`.
        answer: `MedPRM.read_answer`; only asked with `agree`.
        probe: Draw one sample first, alone, and no more if it is no candidate.

    Example:
        >>> drawing = Drawing(3, read=str.strip)
        >>> drawing.to_draw()
        3
        >>> drawing.add(["The answer is (A)", TimeoutError(), "The answer is (B)"])
        >>> drawing.to_draw(), drawing.texts, len(drawing.errors)
        (0, ['The answer is (A)', 'The answer is (B)'], 1)
    """

    def __init__(
        self,
        n: int,
        read: Callable[[Value], str | None],
        *,
        agree: int | None = None,
        answer: Callable[[str], str | None] | None = None,
        probe: bool = False,
    ) -> None:
        self._n, self._read, self._agree, self._answer, self._probe = n, read, agree, answer, probe
        self.values: list[Value] = []
        """The samples that are candidates, in the order drawn."""
        self.texts: list[str] = []
        """Their texts."""
        self.dropped: list[Value] = []
        """The samples that are no candidates."""
        self.errors: list[Exception] = []
        """Why the others failed."""
        self._votes: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"Drawing({len(self.values)} candidates, {len(self.dropped)} dropped, {len(self.errors)} failed)"

    @property
    def drawn(self) -> int:
        """How many samples were asked for so far."""
        return len(self.values) + len(self.dropped) + len(self.errors)

    def to_draw(self) -> int:
        """How many samples to ask for next, all at once; 0 when drawing is over."""
        left = self._n - self.drawn
        if self._probe and self.drawn <= 1:
            if not self.drawn:
                return 1
            if self.dropped:
                return 0
        if self._agree is None:
            return left
        lead = max(self._votes.values(), default=0)
        return min(left, max(0, self._agree - lead))

    def add(self, outcomes: Sequence[Value | Exception]) -> None:
        """Take in what one round gave: samples, and the exceptions of those that failed."""
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                self.errors.append(outcome)
                continue
            text = self._read(outcome)
            if text is None:
                self.dropped.append(outcome)
                continue
            self.values.append(outcome)
            self.texts.append(text)
            answer = self._answer(text) if self._agree is not None and self._answer else None
            if answer is not None:
                self._votes[normalize_answer(answer)] += 1

    def check(self) -> None:
        """Refuse a drawing without a single sample.

        Raises:
            Exception: The first failure, unchanged but for a note with the count: retries and fallbacks go by its type.
        """
        if self.values or self.dropped:
            return
        if not self.errors:
            raise ScoringError("no sample was drawn")
        first = self.errors[0]
        count = len(self.errors)
        _add_note(first, f"all {count} samples failed; this is the first failure" if count > 1 else "the sample failed")
        raise first

    def warn(self, source: object) -> None:
        """Warn of what makes the choice a lesser one than was asked for.

        Args:
            source: The language model that was asked.
        """
        self.warn_if_failed()
        self.warn_if_identical(source)

    def warn_if_failed(self) -> None:
        """Warn when some samples failed, by the kinds of their errors, whose texts may hold the prompt."""
        if self.errors and self.values:
            kinds = ", ".join(dict.fromkeys(type(error).__name__ for error in self.errors))
            warnings.warn(
                f"{len(self.errors)} of {self.drawn} samples failed ({kinds}): choosing among {len(self.values)}",
                SamplesFailedWarning,
                stacklevel=3,
            )

    def warn_if_identical(self, source: object) -> None:
        """Warn, once for each source, when there are several candidates and all are the same text.

        Args:
            source: The language model that was asked.
        """
        if (
            len(self.texts) > 1
            and len(set(self.texts)) == 1
            and self.texts[0].strip()
            and first_time(source, "identical")
        ):
            warnings.warn(
                f"all {len(self.texts)} samples are identical, so there is nothing to choose: raise the language "
                "model's temperature above 0 and switch its cache off",
                IdenticalSamplesWarning,
                stacklevel=2,
            )


def _add_note(error: Exception, note: str) -> None:
    """What `add_note` does, for Python 3.10 too; an error raised again does not collect notes."""
    notes = [line for line in getattr(error, "__notes__", []) if line != note]
    error.__notes__ = [*notes, note]  # type: ignore[attr-defined]
