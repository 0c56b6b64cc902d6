"""What becomes of an answer that is not trusted, once for every integration."""

import inspect
from typing import Any, Protocol

from medprm_integrations.shared.ranking_metadata import DOUBT, RankingMetadata
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking
from medprm_scorer.trust.doubt import OnDoubt, check_on_doubt, decide, doubtful

DOUBT_ANSWER = "I cannot answer this reliably. Please ask a qualified person."
"""What `abstain` answers, unless the user says otherwise."""

WAITING = "answer_waiting"
"""The key of an answer's text in its metadata while a person is asked about it."""

_NO_INTERRUPT = (
    "on_doubt='interrupt' is for MedPRMMiddleware; in a LangGraph node after the one that samples, call "
    "ask_in_doubt(message), and in a LlamaIndex workflow return an InputRequiredEvent where "
    "ranking_of(response).trusted is False (docs/trust.md)"
)
_NO_ANSWER = "a ranking comes back here, and no answer: on_doubt must be answer or raise; see ranking.trusted"
_STRUCTURED = "; an answer in a schema cannot be replaced by a sentence"


class Doubting(Protocol):
    """What is needed of the settings."""

    @property
    def on_doubt(self) -> OnDoubt:
        """What happens in doubt."""

    @property
    def doubt_answer(self) -> str:
        """The sentence for who abstains."""


def known_doubt(on_doubt: Any) -> Any:
    """What was given as `on_doubt`.

    Raises:
        InputError: It says nothing about doubt, or is async, and nobody would await it.

    Example:
        >>> known_doubt("shrug")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: unknown on_doubt 'shrug': choose one of answer, abstain, raise, interrupt
    """
    check_on_doubt(on_doubt)
    called = getattr(on_doubt, "__call__", None)  # noqa: B004 - an object whose call is async is async, too
    if inspect.iscoroutinefunction(on_doubt) or inspect.iscoroutinefunction(called):
        raise InputError("on_doubt must be a plain function: it is not awaited")
    return on_doubt


def check_doubt_answer(text: Any) -> Any:
    """Refuse a sentence that says nothing.

    Raises:
        InputError: It is blank, or no text.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError("doubt_answer must be a text that is not blank")
    return text


def refuse_doubt(on_doubt: OnDoubt, known: tuple[str, ...]) -> None:
    """Refuse what a class cannot do in doubt, and say what to do instead.

    Args:
        on_doubt: What is wanted.
        known: What the class can do.

    Raises:
        InputError: It cannot.
    """
    action = "call" if callable(on_doubt) else on_doubt
    if action not in known:
        raise InputError(_NO_INTERRUPT if action == "interrupt" else _NO_ANSWER)


def settle(
    settings: Doubting, ranking: Ranking, note: RankingMetadata, *, text: str | None = None, structured: bool = False
) -> str | None:
    """Decide what an answer becomes, and note it in its metadata.

    Args:
        settings: What happens in doubt.
        ranking: The ranking.
        note: Gets under `DOUBT` what was done, if the ranking is not trusted.
        text: The answer, for the person who is asked about it; None takes the winning chain's.
        structured: Whether the answer is an object of a schema, and no text.

    Returns:
        The text to answer with instead; None leaves the answer as it is.

    Raises:
        DoubtfulAnswerError: It is to end so, or an answer in a schema would have to become a sentence.
        InputError: The user's function gave something that is neither a text nor None.
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
            raise InputError(f"on_doubt must give a text or None, not {type(said).__name__}")
    elif action != "answer":
        said = settings.doubt_answer
    if said is not None and structured:
        raise doubtful(ranking, _STRUCTURED)
    note[DOUBT] = action
    if action == "interrupt":
        note[WAITING] = ranking.best.text if text is None else text
    return said
