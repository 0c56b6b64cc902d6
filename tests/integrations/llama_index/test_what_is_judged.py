"""What becomes of a sample: its steps and answer in structured output, cut-off samples, cautions, rules, options."""

import asyncio
import logging

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from pydantic import BaseModel

from medprm_integrations.llama_index import MedPRMEvaluator, MedPRMLLM, MedPRMRerank, MedPRMSynthesizer
from medprm_scorer import SamplingRules, ScoringError
from tests.support.llama_index_scripts import (
    BAD,
    GOOD,
    QUESTION,
    SECRET,
    WORSE,
    ScriptedLLM,
    document,
    reading_prm,
)

CUT = "Step 1: The label says 5 mg [0.95]."
LONG = "Step 1: x [0.9].\nStep 2: y [0.9].\nStep 3: The answer is (A) [0.9]"
NODES = [document("Label: give 5 mg.")]


class Out(BaseModel):
    """An answer in steps."""

    steps: list[str]
    final_answer: str
    confidence: float = 0.5


@pytest.fixture
def prm():
    return reading_prm()


class Cutting(ScriptedLLM):
    """Says of the text `CUT`, and of what begins with it, that it was cut off."""

    def _response(self, answer):
        response = super()._response(answer)
        text = response.message.content if isinstance(response, ChatResponse) else response.text
        reason = "length" if text.startswith(CUT) else "stop"
        return response.model_copy(update={"raw": {**response.raw, "choices": [{"finish_reason": reason}]}})


def ways(prm, *answers, n=None, **options):
    """The metadata of each class that samples."""
    given = {"prm": prm, "n": n or len(answers), "max_concurrency": 1, "keep": "all", **options}

    def llm():
        return Cutting(answers=answers)

    return {
        "llm": lambda: MedPRMLLM(llm=llm(), **given).chat([ChatMessage(QUESTION)]).raw["medprm"],
        "rerank": lambda: (
            MedPRMRerank(llm=llm(), **given).postprocess_nodes(NODES, query_str=QUESTION)[0].metadata["medprm"]
        ),
        "synthesizer": lambda: MedPRMSynthesizer(llm=llm(), **given).synthesize(QUESTION, NODES).metadata["medprm"],
        "async": lambda: asyncio.run(MedPRMSynthesizer(llm=llm(), **given).asynthesize(QUESTION, NODES)).metadata[
            "medprm"
        ],
    }


each = pytest.mark.parametrize("way", ["llm", "rerank", "synthesizer", "async"])


@each
def test_a_sample_that_was_cut_off_cannot_win_over_one_that_was_not(prm, way):
    note = ways(prm, CUT, BAD)[way]()
    assert note["chains"][0]["text"] == BAD
    assert {chain["text"]: chain["truncated"] for chain in note["chains"]} == {CUT: True, BAD: False}
    assert any("cut off" in caution for caution in note["cautions"])
    assert ways(prm, CUT, CUT + " x [0.1]")[way]()["chains"][0]["text"] == CUT


@each
def test_cautions_are_in_the_metadata_and_in_one_log_record_without_a_text(prm, way, caplog):
    with caplog.at_level(logging.WARNING, "medprm"):
        note = ways(prm, f"Step 1: {SECRET} [0.3].", f"Step 1: {SECRET} again [0.2].")[way]()
    (record,) = [record for record in caplog.records if record.name == "medprm"]
    assert note["cautions"]
    assert all(caution in record.getMessage() for caution in note["cautions"])
    assert SECRET not in record.getMessage()


@each
def test_the_papers_rule_draws_until_enough_chains_have_its_steps(prm, way):
    answers = (GOOD, LONG, GOOD, LONG + ".", GOOD, LONG + "!")
    note = ways(prm, *answers, n=3, rules=SamplingRules())[way]()
    assert [len(chain["steps"]) for chain in note["chains"]] == [3, 3, 3]
    assert note["samples_dropped"] == note["usage"]["total_tokens"] // 5 - 3
    with pytest.raises(ScoringError, match="has 3 to 9 steps"):
        ways(prm, GOOD, BAD, rules=SamplingRules(rounds=1))[way]()


@each
def test_answers_are_read_and_compared_by_functions_of_the_object(prm, way):
    note = ways(prm, GOOD, BAD, answer=lambda text: "five" if "5 mg" in text else "nine")[way]()
    assert {vote["answer"] for vote in note["votes"]} == {"five", "nine"}
    note = ways(prm, GOOD, BAD, group=lambda answers: [0] * len(answers))[way]()
    assert [vote["count"] for vote in note["votes"]] == [2]


class Structured(ScriptedLLM):
    """Gives objects of a class where they are asked for."""

    def structured_predict(self, output_cls, prompt, llm_kwargs=None, **values):
        answer = self._enter(prompt, {})
        self._leave()
        return answer

    async def astructured_predict(self, output_cls, prompt, llm_kwargs=None, **values):
        return self.structured_predict(output_cls, prompt)


def out(letter, reward):
    return Out(steps=[f"Step 1: 5 mg [{reward}].", f"Step 2: So {letter} [{reward}]."], final_answer=letter)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_list_of_steps_in_structured_output_votes_step_by_step(prm, how):
    llm = Structured(answers=[out("A", 0.9), out("A", 0.8), out("B", 0.95), out("B", 0.1)])
    synthesizer = MedPRMSynthesizer(prm=prm, llm=llm, n=4, output_cls=Out, keep="all")
    if how == "sync":
        response = synthesizer.synthesize(QUESTION, NODES)
    else:
        response = asyncio.run(synthesizer.asynthesize(QUESTION, NODES))
    note = response.metadata["medprm"]
    assert (response.response.final_answer, note["answer"], note["strategy"]) == ("A", "A", "weighted_vote")
    assert [len(chain["steps"]) for chain in note["chains"]] == [2] * 4
    assert {vote["answer"]: vote["count"] for vote in note["votes"]} == {"A": 2, "B": 2}
    assert not any("confidence" in chain["text"] for chain in note["chains"])


def test_an_evaluator_judges_the_steps_of_an_object(prm):
    result = MedPRMEvaluator(prm=prm).evaluate_response(
        QUESTION,
        MedPRMSynthesizer(prm=prm, llm=Structured(answers=[out("A", 0.9)]), n=1, output_cls=Out).synthesize(
            QUESTION, NODES
        ),
    )
    assert result.score == pytest.approx(0.9)
    assert "Step 1 of 2" in result.feedback


@each
def test_a_lone_voter_does_not_win_over_better_silent_chains(prm, way):
    silent = [f"Step 1: The label was read [0.9].\nStep 2: That is all, {n} [0.9]" for n in range(3)]
    note = ways(prm, *silent, WORSE)[way]()
    assert note["chains"][0]["text"] in silent
    assert any("no vote was taken" in caution for caution in note["cautions"])
