"""The exceptions that medprm raises. Every message is one sentence that a user can act on.

No message carries text of a question, a document or a candidate: a candidate is named by its index.
"""

from collections.abc import Iterable
from typing import Any


class MedPRMError(Exception):
    """Base class of everything that medprm raises on purpose."""


class InputError(MedPRMError, ValueError):
    """The request or an option is wrong: no candidates, a wrong type, an unknown strategy, a question too long."""


class QuestionTooLongError(InputError):
    """The question with its documents leaves the model no room for a candidate."""


class ModelError(MedPRMError):
    """The model or its tokenizer cannot be used: missing files, a tag or label that is not a single token."""


class ScoringError(MedPRMError):
    """Scoring was tried and gave no usable rewards: NaN, out of memory, no candidate that can be scored."""


class NothingScoredError(ScoringError):
    """No candidate of a question can be scored: each is blank, or too long for the model."""


class DoubtfulAnswerError(MedPRMError):
    """The answer is not trusted, and what is in doubt is to end in an error.

    Args:
        message: What to know, in figures only.
        ranking: The ranking (`Ranking`), with its texts, which the message does not have.
    """

    def __init__(self, message: str, ranking: Any = None) -> None:
        super().__init__(message)
        self.ranking = ranking

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.ranking)


class OutputError(MedPRMError):
    """A result cannot be written: the disk is full, or the file has gone."""


class ServerError(ScoringError):
    """The server that computes the rewards is away, refuses the request, or answers nonsense."""


class PolicyError(MedPRMError):
    """The policy of a search cannot be used: it does not continue what was begun, gives no steps, or is away."""


def with_message(error: MedPRMError, message: str) -> MedPRMError:
    """The same error with another message: its kind and all that it carries stay, whatever its constructor takes.

    Args:
        error: The error.
        message: What it is to say.

    Example:
        >>> with_message(DoubtfulAnswerError("no", ranking=5), "request 3: no").ranking
        5
    """
    made = type(error).__new__(type(error), message)
    made.args = (message,)
    vars(made).update(vars(error))
    return made


def check_choice(what: str, value: object, names: Iterable[str]) -> None:
    """Refuse a setting that is none of the names it can have.

    Args:
        what: What the setting is, for the message.
        value: The setting.
        names: The names that it can have.

    Raises:
        InputError: It is none of them; the message lists them.

    Example:
        >>> check_choice("aggregate", "median", ["min", "last"])
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: unknown aggregate 'median': choose one of min, last
    """
    names = tuple(names)
    if value not in names:
        raise InputError(f"unknown {what} {value!r}: choose one of {', '.join(names)}")
