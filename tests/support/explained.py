"""A question whose chains the demo model explains by its documents, for the tests of both frameworks."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from medprm_integrations.shared.search_settings import StepSearch
from medprm_scorer import Explanation, MedPRM
from medprm_scorer.search import Beam, Continuation

QUESTION = "Which dose of Zoravine is right?\n\n(A) 300 mg\n(B) 240 mg"
LABEL = "Label: dose Zoravine at 5 mg per kg, limit Zoravine to 300 mg."
GUIDELINE = "Guideline: in fever use Zoravine."
GIVEN = [" ", GUIDELINE, LABEL, LABEL]
READ = [GUIDELINE, LABEL]
AS_READ = [None, 0, 1, 1]
CHAIN = "Step 1: The label says dose Zoravine at 9 mg per kg, limit Zoravine to 300 mg.\nStep 2: The answer is (A)"
NEVER = ("Zoravine", "Label", "Guideline", "Step 1")


@cache
def demo() -> MedPRM:
    return MedPRM.from_pretrained()


@cache
def expected() -> Explanation:
    return demo().explain(QUESTION, CHAIN, READ)


def check(
    note: dict[str, Any],
    names: Sequence[str | int],
    plain: Explanation | None = None,
    as_read: Sequence[int | None] = AS_READ,
) -> None:
    """That metadata say what `MedPRM.explain` says, of documents with these names, at its price and without a text.

    Args:
        note: The metadata.
        names: Of each document, its id, or its place.
        plain: What `MedPRM.explain` says; None for what it says of `CHAIN`.
        as_read: For each document, which of the texts is its own.
    """
    found, plain = note["explanation"], plain or expected()
    assert found["support"] == [None if text is None else round(plain.support[text], 3) for text in as_read]
    steps = range(len(plain.chain.steps))
    against = {text for step in steps for text in plain.contradicting(step)}
    assert against or plain.supporting_documents  # else this shows nothing

    def named(texts):
        return [name for name, text in zip(names, as_read, strict=True) if text in texts]

    assert (found["supporting"], found["contradicting"]) == (named(plain.supporting_documents), named(against))
    assert found["steps"] == [
        {"supporting": named(plain.supporting(step)), "contradicting": named(plain.contradicting(step))}
        for step in steps
    ]
    assert (found["prompts"], found["tokens"]) == (plain.cost.prompts, plain.cost.unique_tokens)
    assert found["tokens"] < plain.cost.prompt_tokens  # what prompts begin with is run once
    assert not any(text in repr(dict(found)) for text in NEVER)


class TwoDoses:
    """A policy that begins a chain with the label's dose or another one, and then gives an answer."""

    def extend(self, question, documents, chains, n):
        del question, documents
        text = "Step 1: The label says dose Zoravine at {} mg per kg, limit Zoravine to 300 mg.\n"
        first = [Continuation(text.format(dose)) for dose in (9, 5)]
        last = [Continuation("Step 2: The answer is (A)", finished=True)]
        return [(last if chain.steps else first)[:n] for chain in chains]


def two_doses(retriever: Any) -> StepSearch:
    """A search that keeps the better of these, with what the retriever finds for its first step."""
    return StepSearch(Beam(width=1, expansions=2), policy=TwoDoses(), retriever=retriever)


BEFORE = [" ", GUIDELINE]
"""The documents that are given to the search; the label is found on the way."""


def check_search(note: dict[str, Any], text: str, names: Sequence[str | int]) -> None:
    """`check`, for the chain that a search has chosen, with the label that it has found.

    Args:
        note: The metadata.
        text: The chain.
        names: As in `check`: of those in `BEFORE` and of the label.
    """
    assert note["search"]["documents_added"] == 1
    check(note, names, demo().explain(QUESTION, text.split("\n"), READ), [None, 0, 1])
