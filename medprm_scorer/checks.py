"""What is refused: bad requests, and what an engine or a caller's function may not return. Messages hold no text."""

import math
from collections.abc import Callable, Sequence

from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.selection import STRATEGIES
from medprm_scorer.text.sanitize import valid_unicode


def check_choice(strategy: str, aggregate: str) -> None:
    """Refuse an unknown strategy or aggregate.

    Raises:
        InputError: With the names there are.
    """
    for option, value, names in (("strategy", strategy, STRATEGIES), ("aggregate", aggregate, AGGREGATES)):
        if value not in names:
            raise InputError(f"unknown {option} {value!r}: choose one of {', '.join(names)}")


def check_request(question: object, candidates: object, documents: object) -> None:
    """Refuse what is not a question with candidates and documents.

    Raises:
        InputError: Naming the first thing that is wrong, and its place.
    """
    if not isinstance(question, str) or not question.strip():
        raise InputError("the question must be a text that is not blank")
    if isinstance(candidates, str) or not isinstance(candidates, Sequence):
        raise InputError("candidates must be a list of texts, or of lists of steps")
    if not candidates:
        raise InputError("there are no candidates: give at least one")
    for index, candidate in enumerate(candidates):
        steps = [candidate] if isinstance(candidate, str) else candidate
        if not isinstance(steps, Sequence) or not all(isinstance(step, str) for step in steps):
            raise InputError(f"candidate {index} must be a text or a list of steps")
    if isinstance(documents, str) or not isinstance(documents, Sequence):
        raise InputError("documents must be a list of texts")
    for index, document in enumerate(documents):
        if not isinstance(document, str):
            raise InputError(f"document {index} must be a text")


def check_rewards(rewards: Sequence[Sequence[float]], steps: Sequence[int]) -> None:
    """Refuse rewards that are too few, too many, not numbers or not probabilities.

    Args:
        rewards: What an engine returned for one prompt, by chain and step.
        steps: Number of steps of each chain.

    Raises:
        ScoringError: Saying what is wrong with them.
    """
    if len(rewards) != len(steps):
        raise ScoringError(f"the engine returned {len(rewards)} chains for {len(steps)}")
    for given, count in zip(rewards, steps, strict=True):
        if len(given) != count:
            raise ScoringError(f"the engine returned {len(given)} rewards for a chain of {count} steps")
        if not all(0.0 <= reward <= 1.0 for reward in given):
            bad = "NaN" if any(math.isnan(reward) for reward in given) else "numbers outside [0, 1]"
            raise ScoringError(
                f"the model gave {bad} instead of rewards: its weights are damaged, or its dtype overflows"
            )


def read_answer(answer: Callable[[str], str | None], text: str, index: int) -> str | None:
    """The answer that a caller's function reads from a chain.

    Args:
        answer: The function.
        text: The chain; a blank one gives no answer, and the function is not asked.
        index: Place of the chain, for messages.

    Returns:
        The answer, or None if there is none or it is blank.

    Raises:
        InputError: The function raised, or returned something else than a text or None.
    """
    if not text.strip():
        return None
    try:
        found = answer(text)
    except Exception as error:  # noqa: BLE001 - a caller's function may raise anything, with the text in it
        raise InputError(f"the answer function failed on candidate {index}: {type(error).__name__}") from None
    if found is not None and not isinstance(found, str):
        raise InputError(
            f"the answer function must return a text or None, not {type(found).__name__} as for candidate {index}"
        )
    return valid_unicode(found) if found and found.strip() else None
