"""Asking a person about an answer that is not trusted, in a LangGraph node that costs no second sampling on resume."""

from typing import Any

from langchain_core.messages import AIMessage

from medprm_integrations.langchain.messages import said_instead
from medprm_integrations.shared.doubt import WAITING
from medprm_integrations.shared.ranking_metadata import DOUBT, KEY
from medprm_scorer.lazy_imports import missing

_UNREADABLE = "the reply must be the text to answer with, or True to let the answer pass"


def ask_in_doubt(message: AIMessage) -> AIMessage:
    """Pause the graph and ask a person, if a message is an answer that is not trusted.

    LangGraph runs the whole node again when it is resumed. So this belongs into a node after the one that samples,
    whose message is in the graph's state by then. `MedPRMMiddleware(on_doubt="interrupt")` does so by itself. The graph
    needs a checkpointer.

    The interrupt's value is a dict: `answer`, the text of the winner, which the person must see to judge it, and
    `ranking`, what the message's metadata hold of the ranking (`keep`). Both are in the checkpoint.

    Args:
        message: What `MedPRMBestOfN`, `ChatMedPRM` or `MedPRMOutputParser` answered with `on_doubt="answer"`.

    Returns:
        The message as it is, if it is trusted, was not judged or was settled otherwise. Else one with the same id and
        the person's reply as its text: `Command(resume="…")`; with `Command(resume=True)` the answer is let pass. A
        reply that is neither is asked for again, with a `problem` in the value.
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
        reply = interrupt({**value, "problem": _UNREADABLE})  # an error would come back on each resume
    text = answer if reply is True else reply
    settled = {**shown, DOUBT: "approved" if reply is True else "person"}
    return said_instead(message, text, type(note)(settled), message.usage_metadata)
