"""Policies that continue a prefix of an answer: a trial of whether a provider does so, and where the next step ends.

Chat interfaces take the prefix as a last assistant message, and many chat templates trim it. The line break between two
steps is then the first thing that the model writes. So a step is ended by the label of the step after it
(`next_labels`), which cannot be the first thing written.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from medprm_scorer.errors import PolicyError

TRIAL_QUESTION = (
    "A patient aged 40 years has a fever, a cough and pain in the chest. Which test comes first?\n\n"
    "(A) chest radiograph\n(B) skin biopsy\n(C) hearing test\n(D) eye test"
)
"""The question of the trial."""

TRIAL_TOKENS = 40
"""The most tokens of an answer that the trial needs."""


@dataclass(frozen=True)
class Trial:
    """One request of the trial, for the most likely text.

    Args:
        begun: The prefix of the answer that is to be continued; "" for a new answer.
        stop: Stop strings.
    """

    begun: str
    stop: tuple[str, ...] = ()


def trial(who: str, instead: str) -> Generator[Trial, str, bool]:
    """Ask for the most likely answer, then for a continuation of its first part, which must be the rest.

    Args:
        who: The name of the provider, for the message.
        instead: What to use instead if the trial fails, for the message.

    Returns:
        Whether a returned text ends with the stop string that ended it.

    Raises:
        PolicyError: The provider starts the answer again, or it wrote too little to tell.

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
        raise PolicyError(f"{who} wrote too little in a trial to see whether it continues")
    rest = words[cut:]
    stop = next((word for word in rest[2:] if word and word not in " ".join(rest[:2])), None)
    found = yield Trial(" ".join(words[:cut]), (stop,) if stop else ())
    if found.split()[:2] != " ".join(rest).split()[:2]:
        raise PolicyError(
            f"{who} does not continue the beginning of an answer: in a trial it wrote something other than what it "
            f"would have written without a break. Use {instead}"
        )
    return stop is not None and found.endswith(stop)


def next_labels(steps: int) -> list[str]:
    r"""The possible beginnings of the step after the next one.

    Args:
        steps: How many steps are written so far.

    Example:
        >>> next_labels(0)
        ['\nStep 2', '\n**Step 2', '\n## Step 2', '\n### Step 2']
    """
    return [f"\n{mark}Step {steps + 2}" for mark in ("", "**", "## ", "### ")]


def without_stop(text: str, stops: Sequence[str]) -> str | None:
    """A text without the stop string at its end; None if it ends with none.

    Example:
        >>> without_stop("Step 1: Look.|", ["|"]), without_stop("The end.", ["|"])
        ('Step 1: Look.', None)
    """
    return next((text.removesuffix(stop) for stop in stops if text.endswith(stop)), None)
