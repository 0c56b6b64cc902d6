"""`MedPRMEvaluator`: the arguments of openevals and LangSmith, a score, and a comment that names the weakest step."""

import asyncio
import json
import subprocess
import sys
from datetime import datetime, timezone
from unittest.mock import MagicMock
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel

from medprm_integrations.langchain import MedPRMEvaluator
from medprm_scorer import InputError
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, SECRET, reading_prm
from tests.support.reading import documents_in

DOCUMENTS = ["Label: 5 mg."]


class Out(BaseModel):
    """An answer."""

    steps: list[str]
    answer: str


@pytest.fixture
def prm():
    return reading_prm()


def both(evaluator, **given):
    """The result, which is the same in all ways of calling."""
    found = evaluator(**given)
    assert found == evaluator.evaluate(**given) == asyncio.run(evaluator.aevaluate(**given))
    return found


def test_the_comment_names_the_weakest_step(prm):
    found = both(MedPRMEvaluator(prm=prm), inputs=QUESTION, outputs=BAD, context=DOCUMENTS)
    assert set(found) == {"key", "score", "comment"}
    assert found["comment"].startswith("Step 1 of 2 is the weakest, with a reward of 0.20: Step 1: Guess 9 mg")
    assert found["score"] == pytest.approx(0.2)
    json.dumps(found)


@pytest.mark.parametrize(
    "inputs",
    [
        QUESTION,
        {"question": QUESTION},
        {"input": QUESTION, "id": 3},
        {"messages": [{"role": "user", "content": QUESTION}]},
        HumanMessage(QUESTION),
        [HumanMessage(QUESTION)],
    ],
)
@pytest.mark.parametrize(
    "outputs",
    [
        GOOD,
        {"answer": GOOD},
        {"output": {"response": GOOD}},
        AIMessage(GOOD),
        {"messages": [HumanMessage("x"), AIMessage("old"), AIMessage(GOOD)]},
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": GOOD}],
    ],
)
def test_what_datasets_and_applications_have(prm, inputs, outputs):
    found = both(MedPRMEvaluator(prm=prm), inputs=inputs, outputs=outputs, reference_outputs={"answer": "A"})
    assert found["score"] == pytest.approx(0.9)
    assert found["comment"].startswith("Judged without documents. ")
    assert QUESTION in prm.engine.calls[-1][0]


@pytest.mark.parametrize(
    "where",
    [
        {"context": DOCUMENTS},
        {"context": "Label: 5 mg."},
        {"context": [Document("Label: 5 mg.")]},
        {"context": {"documents": DOCUMENTS}},
        {"outputs": {"answer": GOOD, "source_documents": [Document("Label: 5 mg.")]}},
        {"inputs": {"question": QUESTION, "context": DOCUMENTS}},
    ],
)
def test_where_documents_are_found(prm, where):
    both(MedPRMEvaluator(prm=prm), **{"inputs": QUESTION, "outputs": GOOD, **where})
    assert documents_in(prm) == ["1: Label: 5 mg."]


def test_structured_outputs_are_judged_by_their_fields(prm):
    for outputs in (
        Out(steps=["x [0.4].", "y [0.8]."], answer="A"),
        {"steps": ["x [0.4].", "y [0.8]."], "answer": "A"},
    ):
        found = both(MedPRMEvaluator(prm=prm), inputs=QUESTION, outputs=outputs)
        assert found["comment"].startswith("Judged without documents. Step 1 of 2 is the weakest")


def test_settings_and_a_question_of_ones_own(prm):
    evaluator = MedPRMEvaluator(prm=prm, aggregate="max", key="steps", question=lambda inputs: inputs["case"])
    found = both(evaluator, inputs={"case": QUESTION}, outputs=BAD)
    assert (found["key"], found["score"]) == ("steps", pytest.approx(0.8))
    assert SECRET not in repr(evaluator)


def test_what_cannot_be_judged_has_no_score(prm):
    found = both(MedPRMEvaluator(prm=prm), inputs=QUESTION, outputs=" ")
    assert found["score"] is None
    assert found["comment"].startswith("The response could not be judged: ")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inputs": {"q": SECRET}, "outputs": GOOD}, "the inputs must have one of the keys question, input, query"),
        ({"inputs": 3, "outputs": GOOD}, "the question must be a text"),
        ({"inputs": " ", "outputs": GOOD}, "question"),
        ({"inputs": QUESTION, "outputs": None}, "the outputs contain no answer"),
        ({"inputs": QUESTION, "outputs": {}}, "the outputs contain no answer"),
        ({"inputs": QUESTION, "outputs": [HumanMessage(SECRET)]}, "the outputs contain no message of a model"),
        ({"inputs": QUESTION, "outputs": [3, SECRET, object()]}, "a conversation must be a list of messages"),
        ({"inputs": QUESTION, "outputs": GOOD, "context": 3}, "documents must be a list of texts or Documents"),
    ],
)
def test_what_is_missing_is_named(prm, given, said):
    evaluator = MedPRMEvaluator(prm=prm)
    for ask in (lambda: evaluator(**given), lambda: asyncio.run(evaluator.aevaluate(**given))):
        with pytest.raises(InputError, match=said) as caught:
            ask()
        assert SECRET not in str(caught.value)


def test_langsmith_runs_it(prm):
    from langsmith import Client, aevaluate, evaluate
    from langsmith.schemas import Example

    data = [Example(id=uuid4(), inputs={"question": QUESTION}, outputs={"answer": "A"}, dataset_id=uuid4(),
                    created_at=datetime.now(timezone.utc))]  # fmt: skip

    def target(inputs):
        return {"answer": BAD, "documents": DOCUMENTS}

    async def atarget(inputs):
        return target(inputs)

    evaluator = MedPRMEvaluator(prm=prm)
    client = Client(api_url="http://127.0.0.1:9", api_key="none", session=MagicMock(), auto_batch_tracing=False)
    options = {"data": data, "upload_results": False, "client": client}  # nothing leaves this process

    async def main():
        results = await aevaluate(atarget, evaluators=[evaluator.aevaluate], **options)
        return [one async for one in results]

    rows = [*evaluate(target, evaluators=[evaluator], **options), *asyncio.run(main())]
    for row in rows:
        (result,) = row["evaluation_results"]["results"]
        assert (result.key, result.score) == ("medprm", pytest.approx(0.2))
        assert result.comment.startswith("Step 1 of 2 is the weakest")


def test_it_needs_no_langsmith_of_its_own():
    code = (
        "import sys\n"
        "import langchain_core.documents, langchain_core.messages, langchain_core.runnables\n"
        "before = set(sys.modules)\n"
        "import medprm_integrations.langchain.evaluator\n"
        "print([n for n in set(sys.modules) - before if n.startswith('langsmith.evaluation') or n == 'openevals'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
