"""What is asked of providers that continue an answer that was begun: does it, and where does its next step end?

Chat interfaces take the begun answer as a last message of the assistant, and many chat templates trim it: the line end
between two steps is then the first thing that is written next. So a step is ended by the label of the one after it
(`next_labels`), which cannot stand at the beginning.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from medprm_scorer.errors import PolicyError

TRIAL_QUESTION = (
    "A patient aged 40 years has a fever, a cough and pain in the chest. Which test comes first?\n\n"
    "(A) chest radiograph\n(B) skin biopsy\n(C) hearing test\n(D) eye test"
)
"""What a provider is asked in the trial."""

TRIAL_TOKENS = 40
"""How much of an answer the trial needs."""


@dataclass(frozen=True)
class Trial:
    """A request of the trial, for the likeliest text.

    Args:
        begun: The answer's beginning, to be continued; "" for a new one.
        stop: What to stop at.
    """

    begun: str
    stop: tuple[str, ...] = ()


def trial(who: str, instead: str) -> Generator[Trial, str, bool]:
    """Asks for the likeliest answer, then for what follows the first part of it, which must be the rest.

    Args:
        who: Who is tried, for the message.
        instead: What to use if it fails, for the message.

    Returns:
        Whether what a request is stopped at is shown at the end of its text.

    Raises:
        PolicyError: The answer is started anew, or it is too short to see.

    Example:
        >>> asking = trial("the parrot", "a dog")
        >>> begun = next(asking).begun
        >>> try:
        ...     while True:
        ...         begun = asking.send("Step 1: Look. Step 2: The answer is always the same."[len(begun):]).begun
        ... except StopIteration as end:
        ...     end.value
        False
    """
    whole = yield Trial("")
    words = whole.split(" ")
    places = range(len(words) // 2, len(words) - 2)
    cut = next((at for at in places if words[at : at + 2] != words[:2]), None)
    if cut is None:
        raise PolicyError(f"{who} wrote too little in a trial to see if it continues")
    rest = words[cut:]
    stop = next((word for word in rest[2:] if word and word not in " ".join(rest[:2])), None)
    found = yield Trial(" ".join(words[:cut]), (stop,) if stop else ())
    if found.split()[:2] != " ".join(rest).split()[:2]:
        raise PolicyError(
            f"{who} does not continue an answer that was begun: in a trial it wrote something else than what it would "
            f"have written without a break. Use {instead}"
        )
    return stop is not None and found.endswith(stop)


def next_labels(steps: int) -> list[str]:
    r"""What the step after the next one can begin with, where so many steps are written.

    Args:
        steps: How many.

    Example:
        >>> next_labels(0)
        ['\nStep 2', '\n**Step 2', '\n## Step 2', '\n### Step 2']
    """
    return [f"\n{mark}Step {steps + 2}" for mark in ("", "**", "## ", "### ")]


def without_stop(text: str, stops: Sequence[str]) -> str | None:
    """A text without what it was stopped at, where it ends with that; None if it does not.

    Example:
        >>> without_stop("Step 1: Look.|", ["|"]), without_stop("The end.", ["|"])
        ('Step 1: Look.', None)
    """
    return next((text.removesuffix(stop) for stop in stops if text.endswith(stop)), None)
