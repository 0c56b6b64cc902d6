"""A question whose chains the demo model explains by its documents, for the tests of both frameworks."""

from functools import cache
from typing import Any

from medprm_scorer import Explanation, MedPRM

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


def check(note: dict[str, Any], names: list[str | int]) -> None:
    """That metadata say what `MedPRM.explain` says, of documents with these names, at its price and without a text."""
    found, plain = note["explanation"], expected()
    assert found["support"] == [None if place is None else round(plain.support[place], 3) for place in AS_READ]
    against = {place for step in range(2) for place in plain.contradicting(step)}
    assert 1 in against  # else this shows nothing
    for key, places in (("supporting", plain.supporting_documents), ("contradicting", against)):
        assert found[key] == [name for name, place in zip(names, AS_READ, strict=True) if place in places]
    assert [set(step) for step in found["steps"]] == [{"supporting", "contradicting"}] * 2
    assert (found["prompts"], found["tokens"]) == (4, plain.cost.unique_tokens)
    assert found["tokens"] < plain.cost.prompt_tokens  # what prompts begin with is run once
    assert not any(text in repr(dict(found)) for text in NEVER)
