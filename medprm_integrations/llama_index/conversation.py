"""The question of a conversation, and the results of an agent's tools in it.

A `FunctionAgent`'s tool results are separate messages. A `ReActAgent`'s are not: its model writes `Action:` and `Action
Input:` as text, and the result comes back as a message, usually a user's, that begins with `Observation:`.

An agent passes on a tool's exception as plain text, which cannot be distinguished from a result. Let your own tools
begin such a text with `Error: `.
"""

import re
from collections.abc import Callable, Container, Sequence

from llama_index.core.agent.react.output_parser import ReActOutputParser
from llama_index.core.agent.react.types import ResponseReasoningStep
from llama_index.core.base.llms.types import ChatMessage, MessageRole

from medprm_integrations.shared.questions import Asked, put_together, without_feedback
from medprm_integrations.shared.tool_evidence import brings_evidence, found_nothing
from medprm_scorer.text.steps import split_steps

_TOOLS = (MessageRole.TOOL, MessageRole.FUNCTION)
_MODELS = (MessageRole.ASSISTANT, MessageRole.CHATBOT, MessageRole.MODEL)
_ACTION = re.compile(r"^\s*Action: ([^\n() ]+)", re.MULTILINE)
_ACTION_INPUT = "Action Input:"
_OBSERVATION = "Observation:"
_ERROR = re.compile(r"\s*(?:Error: |Encountered error: |Traceback \(most recent|(?:Tool|Agent) \S{1,200} not found\.)")


def asked_in(messages: Sequence[ChatMessage], query: str | None = None) -> Asked:
    """The question of a conversation: what the user said; if nothing, the last message that no model or tool wrote.

    Args:
        messages: The conversation, oldest first.
        query: The question in the user's last message, if a template added more to it.

    Raises:
        InputError: There is no such message.
    """
    observed = {id(message) for message, _, _ in tool_results(messages, lambda _: {})}
    asked = [one for one in messages if one.role not in (*_TOOLS, *_MODELS) and id(one) not in observed]
    users = [without_feedback(text_of(message)) for message in asked if message.role == MessageRole.USER]
    if query is not None:
        users = [*users[:-1], without_feedback(query)]
    return put_together(users, map(text_of, asked))


def tool_documents(
    messages: Sequence[ChatMessage],
    calls: Callable[[ChatMessage], dict[str, str]],
    tools: Container[str] | None = None,
    start: int = 0,
    writing: Container[str] = (),
) -> list[str]:
    """The results of an agent's tools, the newest first, without those that say that nothing was found.

    Args:
        messages: The conversation, oldest first.
        calls: Names of the tools that a message calls, by the id of the call.
        tools: Names of the tools that count; None for all but those that act, plan or hand over (`brings_evidence`),
            results that LlamaIndex itself marks as errors, and tools in which a language model writes.
        start: The user's message from which results count, as in `Asked.start`.
        writing: Names of the tools in which a language model writes.
    """
    turn, found = -1, []
    results = {id(message): (name, text) for message, name, text in tool_results(messages, calls)}
    for message in messages:
        name, text = results.get(id(message), (None, None))
        if text is None:
            turn += message.role == MessageRole.USER
        elif turn >= start or turn < 0:
            counts = name in tools if tools is not None else _counts(name, text, writing)
            found += [text] if counts and not found_nothing(text) else []
    return found[::-1]


def _counts(name: str | None, text: str, writing: Container[str]) -> bool:
    return brings_evidence(name) and name not in writing and _ERROR.match(text) is None


def text_of(message: ChatMessage) -> str:
    """The text of a message; "" if it has none."""
    return message.content or ""


def is_react(messages: Sequence[ChatMessage]) -> bool:
    """Whether the model was told to call tools like a `ReActAgent`, or has done so; the user's text does not count."""
    told = (*_MODELS, MessageRole.SYSTEM)
    return any(message.role in told and _ACTION_INPUT in text_of(message) for message in messages)


def react_answer(text: str) -> str | None:
    r"""The judged part of a turn in a `ReActAgent`'s form: its answer; None if it calls a tool, or has another form.

    If the steps are in the thought, it is the thought with the answer.

    Example:
        >>> react_answer("Thought: I know.\nAnswer: Step 1: Fever. The answer is (A)")
        'Step 1: Fever. The answer is (A)'
        >>> react_answer("Thought: It is a virus.\nAnswer: (B)")
        'It is a virus.\nAnswer: (B)'
        >>> react_answer("Thought: Let me look.\nAction: look\nAction Input: {}")
    """
    if not text.strip():
        return text
    try:
        step = ReActOutputParser().parse(text)
    except ValueError:
        return None
    if not isinstance(step, ResponseReasoningStep):
        return None
    if step.thought.startswith("(Implicit)") or split_steps(step.response).rule in ("marker", "labels"):
        return step.response
    return f"{step.thought}\nAnswer: {step.response}"


def tool_results(
    messages: Sequence[ChatMessage], calls: Callable[[ChatMessage], dict[str, str]]
) -> list[tuple[ChatMessage, str | None, str]]:
    """The messages with a tool's result, oldest first, each with the tool's name and the result.

    Args:
        messages: The conversation, oldest first.
        calls: Names of the tools that a message calls, by the id of the call.
    """
    found: list[tuple[ChatMessage, str | None, str]] = []
    names: dict[str, str] = {}
    acted: str | None = None
    for message in messages:
        text = text_of(message)
        if message.role in _TOOLS:
            extra = message.additional_kwargs
            found.append((message, names.get(str(extra.get("tool_call_id"))) or extra.get("name"), text))
        elif acted and text.startswith(_OBSERVATION):
            found.append((message, acted, text.removeprefix(_OBSERVATION).strip()))
        acted = None
        if message.role in _MODELS:
            names |= calls(message)
            action = _ACTION.search(text)
            acted = action[1] if action and _ACTION_INPUT in text else None
    return found
