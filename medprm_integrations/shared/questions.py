"""The question for which answers are judged: in a conversation, all of the user's turns, not only the last.

"Are you sure?" is not a complete question. So the user's turns are joined, starting at the last one that has its own
options, up to a limit.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from medprm_scorer.errors import InputError
from medprm_scorer.text.answers.options import find_options

MOST_TURNS = 8
MOST_CHARACTERS = 4_000
"""Limits of the joined text: the first turn, and as many of the newest as fit. The last turn is always complete."""

_BAD_ANSWER = "Here is a previous bad answer.\n"
_RULE = "\n----------------\n" + _BAD_ANSWER
_NOW = "Now answer the question.\n"
"""The text that LlamaIndex's `FeedbackQueryTransformation` puts around a question that is asked again."""


@dataclass(frozen=True, repr=False)
class Asked:
    """A question, with its cautions.

    Args:
        text: The question.
        cautions: Cautions for the ranking.
        start: Index of the first turn that is part of the question, among all turns of the user. Earlier results belong
            to another question.
    """

    text: str
    cautions: tuple[str, ...] = ()
    start: int = 0


def put_together(turns: Iterable[str], others: Iterable[str] = (), summaries: Iterable[str] = ()) -> Asked:
    r"""The question of a conversation.

    Args:
        turns: What the user said, oldest first.
        others: Messages of neither the user nor a model, such as system messages: the last is used if the user said
            nothing.
        summaries: Summaries of earlier user messages: the last is used if there is nothing else.

    Raises:
        InputError: All are blank.

    Example:
        >>> put_together(["Which dose?\n(A) 5 mg\n(B) 9 mg", "Are you sure?"]).text
        'Which dose?\n(A) 5 mg\n(B) 9 mg\n\nAre you sure?'
        >>> put_together(["Which dose?", " "]).cautions
        ()
    """
    said = [(place, turn) for place, turn in enumerate(turns) if turn.strip()]
    if not said:
        return _instead(others, summaries)
    first = max((place for place, (_, turn) in enumerate(said) if _has_options(turn)), default=0)
    kept = _within_bounds(said[first:])
    text = "\n\n".join(turn for _, turn in kept)
    together = f"The question was put together from {len(kept)} messages of the user in the conversation."
    return Asked(text, (together,) if len(kept) > 1 else (), kept[0][0])


def without_feedback(query: str) -> str:
    r"""A query without the bad answer and the feedback that LlamaIndex's retry engines put into it.

    Example:
        >>> without_feedback("Here is a previous bad answer.\nStep 1: 9 mg.\nNow answer the question.\nWhich dose?")
        'Which dose?'
        >>> without_feedback("Which dose?\n----------------\nHere is a previous bad answer.\n9 mg")
        'Which dose?'
    """
    if query.startswith(_BAD_ANSWER):
        query = query.rpartition(_NOW)[2]
    return query.partition(_RULE)[0]


def _has_options(turn: str) -> bool:
    return "\n" in turn.strip() and find_options(turn) is not None


def _within_bounds(turns: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The first turn and the newest; without the first if they do not fit."""
    first, *others = turns
    if not others:
        return turns
    left, newest = MOST_CHARACTERS - len(first[1]), [others[-1]]
    left -= len(others[-1][1])
    if left < 0:
        return newest
    for turn in reversed(others[:-1]):
        left -= len(turn[1])
        if left < 0 or len(newest) == MOST_TURNS - 1:
            break
        newest.append(turn)
    return [first, *reversed(newest)]


def _instead(others: Iterable[str], summaries: Iterable[str]) -> Asked:
    for text in reversed(list(others)):
        if text.strip():
            return Asked(text)
    for text in reversed(list(summaries)):
        if text.strip():
            return Asked(text, ("The question is no longer in the conversation: a summary of it was judged instead.",))
    raise InputError("there is no question: no message of a user has any text")
