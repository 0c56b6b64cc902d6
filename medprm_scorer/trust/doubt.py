"""What to do with an answer that is not trusted: one pure decision that all callers share."""

from collections.abc import Callable
from typing import Any, Literal

from medprm_scorer.errors import DoubtfulAnswerError, InputError, check_choice
from medprm_scorer.results.models import Ranking

OnDoubt = Literal["answer", "abstain", "raise", "interrupt"] | Callable[[Ranking], Any]
"""What happens if an answer is not trusted; a function is called with the ranking."""

Action = Literal["answer", "abstain", "raise", "interrupt", "call"]
"""The action for one ranking."""

_NAMES = ("answer", "abstain", "raise", "interrupt")


def decide(ranking: Ranking, on_doubt: OnDoubt = "answer") -> Action:
    """What to do with a ranking.

    Args:
        ranking: The ranking. It is in doubt if its `trusted` is False; None means that no `trust` was given.
        on_doubt: `answer` gives the answer anyway, with its caution; `abstain` says that there is none; `raise` raises
            an error; `interrupt` asks a person; a function is called.

    Returns:
        `answer` for a ranking that is not in doubt, otherwise what `on_doubt` says: `call` for a function.

    Raises:
        InputError: `on_doubt` is neither one of these nor a function.
    """
    if not callable(on_doubt):
        check_on_doubt(on_doubt)
    if ranking.trusted is not False:
        return "answer"
    return "call" if callable(on_doubt) else on_doubt


def check_on_doubt(on_doubt: object) -> None:
    """Refuse an invalid `on_doubt`.

    Raises:
        InputError: It is neither a function nor one of the names.
    """
    if callable(on_doubt):
        return
    if not isinstance(on_doubt, str):
        raise InputError(f"on_doubt must be a function or one of {', '.join(_NAMES)}, not {type(on_doubt).__name__}")
    check_choice("on_doubt", on_doubt, _NAMES)


def doubtful(ranking: Ranking, why: str = "") -> DoubtfulAnswerError:
    """The error for a ranking that is not trusted, with its numbers.

    Args:
        ranking: The ranking; it is the error's `ranking`.
        why: A further reason, for the end of the message.
    """
    sure = "" if ranking.confidence is None else f"confidence {ranking.confidence:.2f}, "
    reward = ranking.best.reward(ranking.aggregate)
    figures = f"{sure}reward {reward:.3f}, {len(ranking.chains)} candidates"
    return DoubtfulAnswerError(f"the answer is not trusted ({figures}): ask a person{why}", ranking)
