"""What happens to an answer that is not trusted, for all integrations."""

import inspect
from typing import Any, Protocol

from medprm_integrations.shared.ranking_metadata import DOUBT, RankingMetadata
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking
from medprm_scorer.trust.doubt import OnDoubt, check_on_doubt, decide, doubtful

DOUBT_ANSWER = "I cannot answer this reliably. Please ask a qualified person."
"""The default answer of `abstain`."""

WAITING = "answer_waiting"
"""The key of an answer's text in its metadata while a person is asked about it."""

_NO_INTERRUPT = (
    "on_doubt='interrupt' is for LangGraph; in a LlamaIndex workflow, return an InputRequiredEvent where "
    "ranking_of(response).trusted is False (docs/trust.md)"
)
_NO_ANSWER = "this returns a ranking, not an answer: on_doubt must be answer or raise; see ranking.trusted"
_STRUCTURED = "; an answer in a schema cannot be replaced by a sentence"


class Doubting(Protocol):
    """The settings that are needed here."""

    @property
    def on_doubt(self) -> OnDoubt:
        """What happens if an answer is not trusted."""

    @property
    def doubt_answer(self) -> str:
        """The sentence of `abstain`."""


def known_doubt(on_doubt: Any) -> Any:
    """The value of `on_doubt`, checked.

    Raises:
        InputError: It is invalid, or is async and would not be awaited.

    Example:
        >>> known_doubt("shrug")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: unknown on_doubt 'shrug': choose one of answer, abstain, raise, interrupt
    """
    check_on_doubt(on_doubt)
    called = getattr(on_doubt, "__call__", None)  # noqa: B004 - an object whose call is async counts as async
    if inspect.iscoroutinefunction(on_doubt) or inspect.iscoroutinefunction(called):
        raise InputError("on_doubt must be a plain function: it is not awaited")
    return on_doubt


def check_doubt_answer(text: Any) -> Any:
    """Refuse a blank sentence.

    Raises:
        InputError: It is blank, or not a text.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError("doubt_answer must be a text that is not blank")
    return text


def refuse_doubt(on_doubt: OnDoubt, known: tuple[str, ...]) -> None:
    """Refuse an `on_doubt` that a class does not support, and say what to do instead.

    Args:
        on_doubt: The value.
        known: The values that the class supports.

    Raises:
        InputError: The class does not support it.
    """
    action = "call" if callable(on_doubt) else on_doubt
    if action not in known:
        raise InputError(_NO_INTERRUPT if action == "interrupt" and "abstain" in known else _NO_ANSWER)


def settle(
    settings: Doubting, ranking: Ranking, note: RankingMetadata, *, text: str | None = None, structured: bool = False
) -> str | None:
    """Decide what happens to an answer, and record it in its metadata.

    Args:
        settings: The settings for doubtful answers.
        ranking: The ranking.
        note: Receives the action under `DOUBT`, if the ranking is not trusted.
        text: The answer, for the person who is asked about it; None takes the winning chain's text.
        structured: Whether the answer is an object of a schema, not a text.

    Returns:
        The text to answer with instead; None keeps the answer.

    Raises:
        DoubtfulAnswerError: The settings ask for an error, or an answer in a schema would have to become a sentence.
        InputError: The user's function returned something that is neither a text nor None.
    """
    action = decide(ranking, settings.on_doubt)
    if action == "raise":
        raise doubtful(ranking)
    if ranking.trusted is not False:
        return None
    said = None
    if action == "call":
        said = settings.on_doubt(ranking)  # type: ignore[operator]
        if said is None:
            action = "answer"
        elif not isinstance(said, str):
            raise InputError(f"on_doubt must return a text or None, not {type(said).__name__}")
    elif action != "answer":
        said = settings.doubt_answer
    if said is not None and structured:
        raise doubtful(ranking, _STRUCTURED)
    note[DOUBT] = action
    if action == "interrupt":
        note[WAITING] = ranking.best.text if text is None else text
    return said
