"""The exceptions that medprm raises. Every message is one sentence that a user can act on.

No message contains text of a question, a document or a candidate: a candidate is named by its index.
"""

from collections.abc import Iterable
from typing import Any


class MedPRMError(Exception):
    """Base class of all exceptions that medprm raises deliberately."""


class InputError(MedPRMError, ValueError):
    """The request or an option is wrong: no candidates, a wrong type, an unknown strategy, a question too long."""


class QuestionTooLongError(InputError):
    """The question with its documents leaves no room for a candidate in the model's context."""


class ModelError(MedPRMError):
    """The model or its tokenizer cannot be used: files are missing, or a tag or label is not a single token."""


class ScoringError(MedPRMError):
    """Scoring gave no usable rewards: NaN, out of memory, or no candidate that can be scored."""


class NothingScoredError(ScoringError):
    """No candidate of a question can be scored: each is blank, or too long for the model.

    In an agent or a chain, so it is where every sample of the language model is blank.
    """


class DoubtfulAnswerError(MedPRMError):
    """The answer is not trusted, and the settings ask for an error in that case.

    Args:
        message: The reason, with numbers but without texts.
        ranking: The ranking (`Ranking`), including its texts, which the message does not contain.
    """

    def __init__(self, message: str, ranking: Any = None) -> None:
        super().__init__(message)
        self.ranking = ranking

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.ranking)


class OutputError(MedPRMError):
    """A result cannot be written: the disk is full, or the file no longer exists."""


class ServerError(ScoringError):
    """The server that computes the rewards is unreachable, refuses the request, or sends an invalid answer."""


class PolicyError(MedPRMError):
    """The policy of a search cannot be used: it does not continue a prefix, gives no steps, or is unreachable."""


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
    """Refuse a setting that is not one of the valid names.

    Args:
        what: The name of the setting, for the message.
        value: Its value.
        names: The valid names.

    Raises:
        InputError: It is not one of them; the message lists them.

    Example:
        >>> check_choice("aggregate", "median", ["min", "last"])
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: unknown aggregate 'median': choose one of min, last
    """
    names = tuple(names)
    if value not in names:
        raise InputError(f"unknown {what} {value!r}: choose one of {', '.join(names)}")
