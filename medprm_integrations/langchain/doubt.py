"""Asks a person about an answer that is not trusted, in a LangGraph node that does not sample again on resume."""

from typing import Any

from langchain_core.messages import AIMessage

from medprm_integrations.langchain.messages import said_instead
from medprm_integrations.shared.doubt import WAITING
from medprm_integrations.shared.ranking_metadata import DOUBT, KEY
from medprm_scorer.lazy_imports import missing

_UNREADABLE = "the reply must be the text to answer with, or True to approve the answer"


def ask_in_doubt(message: AIMessage) -> AIMessage:
    """Pause the graph and ask a person, if a message is an answer that is not trusted.

    LangGraph runs the whole node again when it is resumed. So call this in a node after the one that samples, when its
    message is already in the graph's state. `MedPRMMiddleware(on_doubt="interrupt")` does this by itself. The graph
    needs a checkpointer.

    The interrupt's value is a dict: `answer`, the text of the winner, which the person must see to judge it, and
    `ranking`, the part of the ranking that the message's metadata contain (`keep`). Both are in the checkpoint.

    Args:
        message: The answer of `MedPRMBestOfN`, `ChatMedPRM` or `MedPRMOutputParser` with `on_doubt="answer"`.

    Returns:
        The message unchanged, if it is trusted, was not judged or was already handled. Otherwise a message with the
        same id and the person's reply as its text: `Command(resume="…")`; `Command(resume=True)` approves the answer.
        After any other reply the person is asked again, with a `problem` in the value.
    """
    note = message.response_metadata.get(KEY)
    if not isinstance(note, dict) or note.get(DOUBT) not in ("answer", "interrupt"):
        return message
    try:
        from langgraph.types import interrupt
    except ImportError as error:
        raise missing("ask_in_doubt", "langgraph", "langchain", error) from error
    shown = {name: value for name, value in note.items() if name not in (DOUBT, WAITING)}
    answer = note.get(WAITING, str(message.text))
    value = {"answer": answer, "ranking": shown}
    reply: Any = interrupt(value)
    while reply is not True and not (isinstance(reply, str) and reply.strip()):
        reply = interrupt({**value, "problem": _UNREADABLE})  # an error would be raised again on each resume
    text = answer if reply is True else reply
    settled = {**shown, DOUBT: "approved" if reply is True else "person"}
    return said_instead(message, text, type(note)(settled), message.usage_metadata)
