"""Asks a person about an answer that is not trusted, in a LangGraph node that does not sample again on resume."""

import re
from typing import Any

from langchain_core.messages import AIMessage

from medprm_integrations.langchain.messages import said_instead
from medprm_integrations.shared.doubt import WAITING
from medprm_integrations.shared.ranking_metadata import DOUBT, KEY, read_ranking
from medprm_integrations.shared.settings import ChoiceSettings
from medprm_scorer.errors import InputError
from medprm_scorer.lazy_imports import missing

DOUBTS = (*ChoiceSettings.doubts, "interrupt")
"""The values of `on_doubt` for classes whose answers a LangGraph node can hold back."""

_UNREADABLE = "the reply must be the text to answer with, or True to approve the answer"
_UNCLEAR = (
    "the reply becomes the answer that the user reads, so it must be a whole sentence; resume with True to approve the "
    "answer that is waiting"
)
_BARE = re.compile(r"\W*(?:y|yes|yep|n|no|ok|okay|true|false|approved?|confirm(?:ed)?|reject(?:ed)?)\W*", re.IGNORECASE)
"""A word that is meant for the program, not for the user who asked."""

_CHECKPOINTER = "__pregel_checkpointer"
"""LangGraph's own name for the checkpointer in a node's configuration; None if the graph has none."""

_NO_CHECKPOINTER = (
    "a person can only be asked in a graph with a checkpointer, since it keeps the answer that is waiting: pass "
    "checkpointer=InMemorySaver(), or that of a database, to compile() or create_agent()"
)
_NO_TRUST = "nothing can be in doubt: give trust= to the class that chose this answer, such as Floors(min_votes=3)"


def ask_in_doubt(message: AIMessage) -> AIMessage:
    """Pause the graph and ask a person, if a message is an answer that is not trusted.

    LangGraph runs the whole node again when it is resumed. So call this in a node after the one that samples, when its
    message is already in the graph's state. `MedPRMMiddleware(on_doubt="interrupt")` does this by itself. The graph
    needs a checkpointer.

    Give `on_doubt="interrupt"` to the class that samples: until the person replies, its message then says
    `doubt_answer`, in the state and in streams. With `on_doubt="answer"` the doubtful answer itself is there.

    The interrupt's value is a dict: `answer`, the text of the winner, which the person must see to judge it; its
    `steps`, each with `text` and `reward`; and `ranking`, the part of the ranking that the message's metadata contain
    (`keep`; with `none` there are no steps). All are in the checkpoint. The documents are where your graph keeps them.

    Args:
        message: The answer of `MedPRMBestOfN`, `ChatMedPRM` or `MedPRMOutputParser`.

    Returns:
        The message unchanged, if it is trusted, was not judged or was already handled. Otherwise a message with the
        same id and the person's reply as its text: `Command(resume="…")`; `Command(resume=True)` approves the answer.
        After any other reply, or a bare "yes" or "no", the person is asked again, with a `problem` in the value.

    Raises:
        InputError: It is not a message, it was chosen without `trust`, so that nothing could ever be in doubt, or it
            is in doubt and the graph has no checkpointer.
    """
    if not isinstance(message, AIMessage):
        raise InputError(f"ask_in_doubt takes the model's message, not {type(message).__name__}: state['messages'][-1]")
    note = message.response_metadata.get(KEY)
    if not isinstance(note, dict):
        return message
    if "chains" in note and note.get("trusted") is None:
        raise InputError(_NO_TRUST)
    if note.get(DOUBT) not in ("answer", "interrupt"):
        return message
    try:
        from langgraph.types import interrupt
    except ImportError as error:
        raise missing("ask_in_doubt", "langgraph", "langchain", error) from error
    check_resumable()
    shown = {name: value for name, value in note.items() if name not in (DOUBT, WAITING)}
    answer = note.get(WAITING, str(message.text))
    value = {"answer": answer, "steps": _steps(shown, answer), "ranking": shown}
    reply: Any = interrupt(value)
    while (problem := _problem(reply)) is not None:
        reply = interrupt({**value, "problem": problem})  # an error would be raised again on each resume
    text = answer if reply is True else reply
    settled = {**shown, DOUBT: "approved" if reply is True else "person"}
    return said_instead(message, text, type(note)(settled), message.usage_metadata)


def check_resumable() -> None:
    """Refuse to ask in a LangGraph run that could not be resumed. Outside of a run, nothing is known and refused.

    Raises:
        InputError: The graph has no checkpointer.
    """
    from langgraph.config import get_config

    try:
        settings = get_config().get("configurable", {})
    except RuntimeError:  # not in a run
        return
    if settings.get(_CHECKPOINTER, True) is None:
        raise InputError(_NO_CHECKPOINTER)


def _steps(note: dict[str, Any], answer: str) -> list[dict[str, Any]]:
    """The steps of the waiting answer; none if the metadata have no ranking."""
    if "chains" not in note:
        return []
    return [step.model_dump() for step in read_ranking(note, "message", text=answer).best.steps]


def _problem(reply: Any) -> str | None:
    """Why a reply cannot be used."""
    if reply is True:
        return None
    if not isinstance(reply, str) or not reply.strip():
        return _UNREADABLE
    return _UNCLEAR if _BARE.fullmatch(reply) else None
