"""What to do with an answer that is not trusted: one pure decision, for every caller alike."""

from collections.abc import Callable
from typing import Any, Literal

from medprm_scorer.errors import DoubtfulAnswerError, InputError, check_choice
from medprm_scorer.results.models import Ranking

OnDoubt = Literal["answer", "abstain", "raise", "interrupt"] | Callable[[Ranking], Any]
"""What happens in doubt; a function is called with the ranking."""

Action = Literal["answer", "abstain", "raise", "interrupt", "call"]
"""What is done with one ranking."""

_NAMES = ("answer", "abstain", "raise", "interrupt")


def decide(ranking: Ranking, on_doubt: OnDoubt = "answer") -> Action:
    """What to do with a ranking.

    Args:
        ranking: It is in doubt if its `trusted` is False; with None, nothing was asked to judge it.
        on_doubt: `answer` gives the answer all the same, with its caution; `abstain` says that there is none; `raise`
            ends in an error; `interrupt` asks a person; a function is called.

    Returns:
        `answer` for a ranking that is not in doubt, else what `on_doubt` says: `call` for a function.

    Raises:
        InputError: `on_doubt` is neither one of these nor a function.
    """
    if not callable(on_doubt):
        check_on_doubt(on_doubt)
    if ranking.trusted is not False:
        return "answer"
    return "call" if callable(on_doubt) else on_doubt


def check_on_doubt(on_doubt: object) -> None:
    """Refuse what says nothing about doubt.

    Raises:
        InputError: It is neither a function nor one of the names.
    """
    if callable(on_doubt):
        return
    if not isinstance(on_doubt, str):
        raise InputError(f"on_doubt must be a function or one of {', '.join(_NAMES)}, not {type(on_doubt).__name__}")
    check_choice("on_doubt", on_doubt, _NAMES)


def doubtful(ranking: Ranking, why: str = "") -> DoubtfulAnswerError:
    """The error for a ranking that is not trusted, in figures.

    Args:
        ranking: The ranking; it is the error's `ranking`.
        why: More to say, such as why it could not be put otherwise.
    """
    sure = "" if ranking.confidence is None else f"confidence {ranking.confidence:.2f}, "
    reward = ranking.best.reward(ranking.aggregate)
    figures = f"{sure}reward {reward:.3f}, {len(ranking.chains)} candidates"
    return DoubtfulAnswerError(f"the answer is not trusted ({figures}): ask a person{why}", ranking)
