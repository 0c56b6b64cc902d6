"""What the policy model is asked: the conversations that it can answer, and the call of its one tool.

With documents before the question (retrieval, then a language model); with a tool that searches the documents (an
agent), first for the call, then for the answer; and with a chain that was checked already standing before the
documents, which it repeats.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from examples.formulary.chains import make_chain
from examples.formulary.habits import habit
from examples.formulary.world import Question, make_question, more_documents
from medprm_scorer.text.policy import policy_messages
from medprm_scorer.text.prompts import document_block

TOOL = "search_formulary"
TOOL_SCHEMA = {
    "type": "function",
    "function": {
        "name": TOOL,
        "description": "Find the guidelines and labels for a patient.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "condition and comorbidity"}},
            "required": ["query"],
        },
    },
}

_SHARES = {"retrieved": 0.5, "call": 0.08, "found": 0.34, "checked": 0.08}
_MORE = 4  # most documents that a search finds beside those of the question
_PLAIN = 0.2  # share of conversations without the system prompt

Message = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """One conversation up to the policy's turn, and several answers to it.

    Args:
        messages: The messages so far.
        answers: What the policy may say.
        tools: Whether it has its tool.
    """

    messages: list[Message]
    answers: list[str]
    tools: bool = False


def search_query(question: Question) -> str:
    """What the policy searches for: the words of the question that stand after "with" and "has"."""
    return f"patient with {question.condition} has {question.comorbidity}"


def call_text(question: Question) -> str:
    """The call of the tool as the policy writes it."""
    return f"<tool_call>\n{json.dumps({'name': TOOL, 'arguments': {'query': search_query(question)}})}\n</tool_call>"


def call_message(question: Question) -> Message:
    """The same call as a chat message."""
    function = {"name": TOOL, "arguments": json.dumps({"query": search_query(question)})}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]}


def found_text(documents: Sequence[str]) -> str:
    """What the tool answers: the documents, numbered."""
    return document_block(documents).strip()


def draw_turn(rng: random.Random, count: int, kind: str | None = None) -> Turn:
    """One conversation about a new question, of this kind if given, with so many answers, by the policy's habits."""
    question = make_question(rng, kind=kind)
    (asks,) = rng.choices(list(_SHARES), list(_SHARES.values()))
    documents = [*question.documents, *more_documents(question, rng, rng.randint(0, _MORE))]
    rng.shuffle(documents)
    system, user = policy_messages(question.text, documents)
    before = [] if rng.random() < _PLAIN else [system]
    chains = [make_chain(question, rng, habit(question)).text for _ in range(count)]
    if asks == "retrieved":
        return Turn([*before, user], chains)
    if asks == "checked":
        content = f"{chains[0]}\n\n{user['content']}"
        return Turn([*before, {"role": "user", "content": content}], [chains[0]] * count)
    asked = [*before, {"role": "user", "content": question.text}]
    if asks == "call":
        return Turn(asked, [call_text(question)] * count, tools=True)
    found = {"role": "tool", "tool_call_id": "1", "content": found_text(documents)}
    return Turn([*asked, call_message(question), found], chains, tools=True)
