"""`MedPRMEvaluator`: score, feedback, what cannot be judged, and the tools of LlamaIndex that use it."""

import asyncio
import copy

import pytest
from llama_index.core.base.response.schema import PydanticResponse, Response
from llama_index.core.evaluation import BaseEvaluator, BatchEvalRunner
from llama_index.core.schema import NodeWithScore
from pydantic import BaseModel

from medprm_integrations.llama_index import MedPRMEvaluator, chain_node
from medprm_scorer import InputError
from tests.support.llama_index_scripts import BAD, GOOD, QUESTION, SECRET, document, documents_in, reading_prm

LABEL = "Label: give 5 mg."


class Answer(BaseModel):
    """An answer."""

    reasoning: str
    answer: str


@pytest.fixture
def prm():
    return reading_prm()


def judge(evaluator, how, *args, **kwargs):
    if how == "sync":
        return evaluator.evaluate(*args, **kwargs)
    return asyncio.run(evaluator.aevaluate(*args, **kwargs))


ways = pytest.mark.parametrize("how", ["sync", "async"])


@ways
def test_score_and_feedback_name_the_weakest_step(prm, how):
    evaluator = MedPRMEvaluator(prm=prm)
    assert isinstance(evaluator, BaseEvaluator)
    good = judge(evaluator, how, QUESTION, GOOD, [LABEL])
    assert (good.passing, good.score, good.invalid_result) == (True, pytest.approx(0.9), False)
    assert (good.query, good.response, good.contexts) == (QUESTION, GOOD, [LABEL])
    bad = judge(evaluator, how, query=QUESTION, response=BAD, contexts=[LABEL])
    assert (bad.passing, bad.score) == (False, pytest.approx(0.2))
    assert bad.feedback == (
        "Step 1 of 2 is the weakest, with a reward of 0.20: Step 1: Guess 9 mg [0.2].\n"
        "Rewards of all steps, in order: 0.20, 0.80."
    )
    assert documents_in(prm) == [f"1: {LABEL}"]
    assert judge(evaluator, how, QUESTION, GOOD).contexts == []


@pytest.mark.parametrize(
    ("options", "score", "passing"),
    [({"aggregate": "mean"}, 0.5, True), ({"aggregate": "last", "threshold": 0.81}, 0.8, False)],
)
def test_aggregate_and_threshold(prm, options, score, passing):
    result = MedPRMEvaluator(prm=prm, **options).evaluate(QUESTION, BAD)
    assert (result.score, result.passing) == (pytest.approx(score), passing)


@ways
@pytest.mark.parametrize("response", ["", " \n", "dose " * 60_000])
def test_what_cannot_be_judged_is_invalid_and_does_not_pass(demo, how, response):
    result = judge(MedPRMEvaluator(prm=demo), how, QUESTION, response, [LABEL])
    assert (result.passing, result.score, result.invalid_result) == (False, None, True)
    assert "candidate 0" in result.invalid_reason
    assert result.feedback


@ways
def test_missing_and_wrong_parts(prm, how):
    evaluator = MedPRMEvaluator(prm=prm)
    for bad in ({"response": SECRET}, {"query": QUESTION}, {"query": QUESTION, "response": 5}, {}):
        with pytest.raises(InputError, match="must be a text"):
            judge(evaluator, how, **bad)
    with pytest.raises(InputError, match="list of texts"):
        judge(evaluator, how, QUESTION, GOOD, LABEL)
    with pytest.raises(InputError, match="blank"):
        judge(evaluator, how, " ", GOOD)


@ways
def test_responses_are_judged_against_their_documents(prm, how):
    evaluator = MedPRMEvaluator(prm=prm)
    sources = [NodeWithScore(node=chain_node(BAD)), document(LABEL)]

    def judge_response(response):
        if how == "sync":
            return evaluator.evaluate_response(QUESTION, response)
        return asyncio.run(evaluator.aevaluate_response(QUESTION, response))

    result = judge_response(Response(GOOD, sources))
    assert (result.score, result.contexts, documents_in(prm)) == (pytest.approx(0.9), [LABEL], [f"1: {LABEL}"])
    result = judge_response(PydanticResponse(Answer(reasoning="Step 1: 5 mg [0.7].", answer="A"), sources))
    assert (result.score, result.response) == (pytest.approx(0.7), "Step 1: 5 mg [0.7].\nanswer: A")
    with pytest.raises(InputError, match="response must be a text"):
        judge_response(None)


def test_batch_evaluation(prm):
    runner = BatchEvalRunner({"medprm": MedPRMEvaluator(prm=prm)}, workers=2)
    results = asyncio.run(
        runner.aevaluate_response_strs([QUESTION] * 3, [GOOD, BAD, GOOD], contexts_list=[[LABEL]] * 3)
    )
    assert [round(result.score, 1) for result in results["medprm"]] == [0.9, 0.2, 0.9]


def test_in_a_running_loop(prm):
    async def main():
        return MedPRMEvaluator(prm=prm).evaluate(QUESTION, GOOD)

    assert asyncio.run(main()).passing


def test_what_it_is(prm):
    evaluator = MedPRMEvaluator(prm=prm, threshold=0.7)
    assert evaluator.get_prompts() == {}
    evaluator.update_prompts({})
    for again in (copy.copy(evaluator), copy.deepcopy(evaluator)):
        assert again.prm is prm
    assert repr(evaluator) == "MedPRMEvaluator(aggregate='min', threshold=0.7)"
    for bad in ({"aggregate": "median"}, {"threshold": 1.5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            MedPRMEvaluator(prm=prm, **bad)
