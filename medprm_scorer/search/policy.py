"""The interface of a policy: it writes the next step of growing chains."""

import hashlib
import inspect
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from medprm_scorer.errors import PolicyError
from medprm_scorer.text.sanitize import valid_unicode


@dataclass(frozen=True)
class GrowingChain:
    """A chain that a policy is to continue. The `repr` shows no text.

    Args:
        text: The exact text so far, which the policy must continue.
        steps: The same text as the steps that the reward model reads.
        seed: A policy that samples with this seed gives the same continuation again for the same chain.
    """

    text: str = field(repr=False)
    steps: tuple[str, ...] = field(repr=False)
    seed: int


@dataclass(frozen=True)
class Continuation:
    """One continuation of a chain. The `repr` shows no text.

    Args:
        text: The exact text that follows the chain's text, usually one step and its line break.
        finished: Whether this ends the chain.
        cut_off: Whether a limit ended it before the step was complete.
        tokens: How many tokens were generated for it; None to count its text with the reward model's tokenizer.
    """

    text: str = field(repr=False)
    finished: bool = False
    cut_off: bool = False
    tokens: int | None = None


@runtime_checkable
class Policy(Protocol):
    """Writes chains of thought, step by step."""

    def extend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> Sequence[Sequence[Continuation]]:
        """Continue each chain by one step, in `n` ways.

        Args:
            question: The question, including its answer options.
            documents: Its documents.
            chains: The chains; one with an empty text is to be begun.
            n: How many continuations of each, at least 1. They may be identical.

        Returns:
            For each chain, in order, its continuations: `n`, or fewer if there are no more.
        """
        ...


@runtime_checkable
class AsyncPolicy(Protocol):
    """A policy that is awaited. In a search that is awaited, a `Policy` runs in a thread."""

    async def aextend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> Sequence[Sequence[Continuation]]:
        """As `Policy.extend`."""
        ...


def seed_of(seed: int, place: int) -> int:
    """The seed of a chain's continuation: it depends on how the chain was made, not on when it is sampled.

    Args:
        seed: The chain's own seed.
        place: Index of the continuation among those of the chain, from 0.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(0, 2), seed_of(0, 0) < 2**63
        (True, False, True)
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{place}".encode()).digest()[:8], "big") >> 1


def check_policy(policy: object, *, awaited: bool) -> None:
    """Refuse an object that is not a policy.

    Raises:
        PolicyError: It has neither `extend` nor, where the search is awaited, `aextend`.
    """
    if isinstance(policy, Policy) or (awaited and isinstance(policy, AsyncPolicy)):
        return
    if isinstance(policy, AsyncPolicy):
        raise PolicyError("the policy is async: use a search whose name begins with a, such as abeam_search")
    raise PolicyError(f"a policy needs a method extend, and {type(policy).__name__} has none")


def checked(given: object, chains: int, n: int) -> list[list[Continuation]]:
    """The continuations that a policy returned, checked.

    Args:
        given: What `extend` returned.
        chains: How many chains it was asked to continue.
        n: How many continuations of each.

    Raises:
        PolicyError: It is not one list of at most `n` continuations for each chain.
    """
    if isinstance(given, Awaitable):
        if inspect.iscoroutine(given):
            given.close()
        raise PolicyError("the policy's extend is async: name it aextend, and use a search whose name begins with a")
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != chains:
        raise PolicyError(f"the policy must return one list of continuations for each of the {chains} chains")
    found = []
    for place, some in enumerate(given):
        if isinstance(some, str) or not isinstance(some, Sequence) or len(some) > n:
            raise PolicyError(f"the policy must return a list of at most {n} continuations for chain {place}")
        found.append([_checked(one) for one in some])
    return found


def _checked(one: object) -> Continuation:
    if not isinstance(one, Continuation) or not isinstance(one.text, str):
        raise PolicyError(f"the policy must return continuations, each with its text, not {type(one).__name__}")
    if one.tokens is not None and (not isinstance(one.tokens, int) or one.tokens < 0):
        raise PolicyError("the tokens of a continuation must be a whole number from 0, or None")
    return Continuation(valid_unicode(one.text), bool(one.finished), bool(one.cut_off), one.tokens)
