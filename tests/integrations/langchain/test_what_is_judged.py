"""What becomes of a sample: its steps and answer in structured output, cut-off samples, cautions, rules, options."""

import asyncio
import logging

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

from medprm_integrations.langchain import (
    ChatMedPRM,
    MedPRMBestOfN,
    MedPRMMiddleware,
    MedPRMOutputParser,
    MedPRMReranker,
    ranking_of,
)
from medprm_scorer import SamplingRules, ScoringError
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, SECRET, WORSE, ScriptedChat, call, reading_prm

CUT = "Step 1: The label says 5 mg [0.95]."
LONG = "Step 1: x [0.9].\nStep 2: y [0.9].\nStep 3: The answer is (A) [0.9]"


class Out(BaseModel):
    """An answer in steps."""

    steps: list[str]
    final_answer: str
    confidence: float = 0.5


SILENT = [f"Step 1: The label was read [0.9].\nStep 2: That is all, {n} [0.9]" for n in range(3)]


@pytest.fixture
def prm():
    return reading_prm()


def cut_off(text, **reason):
    return AIMessage(text, response_metadata=reason or {"finish_reason": "length"})


def ways(prm, *answers, n=None, **options):
    """Each class that samples, asked for the winner."""
    given = {"prm": prm, "n": n or len(answers), "max_concurrency": 1, "keep": "all", **options}
    agent = {"messages": [("human", QUESTION)]}
    return {
        "best_of_n": lambda: MedPRMBestOfN(llm=ScriptedChat(answers=answers), **given).invoke({"question": QUESTION}),
        "chat": lambda: ChatMedPRM(llm=ScriptedChat(answers=answers), **given).invoke(QUESTION),
        "middleware": lambda: create_agent(
            ScriptedChat(answers=answers), [], middleware=[MedPRMMiddleware(**given)]
        ).invoke(agent)["messages"][-1],
        "async": lambda: asyncio.run(ChatMedPRM(llm=ScriptedChat(answers=answers), **given).ainvoke(QUESTION)),
    }


each = pytest.mark.parametrize("way", ["best_of_n", "chat", "middleware", "async"])


@each
@pytest.mark.parametrize(
    "reason",
    [
        {"finish_reason": "length"},
        {"stop_reason": "max_tokens"},
        {"finish_reason": "MAX_TOKENS"},
        {"done_reason": "length"},
        {"incomplete_details": {"reason": "max_output_tokens"}},
    ],
)
def test_a_sample_that_was_cut_off_cannot_win_over_one_that_was_not(prm, way, reason):
    message = ways(prm, cut_off(CUT, **reason), BAD)[way]()
    assert message.text == BAD
    assert {chain.text: chain.truncated for chain in ranking_of(message).chains} == {CUT: True, BAD: False}
    assert any("cut off" in caution for caution in message.response_metadata["medprm"]["cautions"])


@each
def test_where_all_were_cut_off_the_best_of_them_wins(prm, way):
    message = ways(prm, cut_off(CUT), cut_off(BAD))[way]()
    assert message.text == CUT
    assert "Every chain was cut off before its end." in message.response_metadata["medprm"]["cautions"]


def test_candidates_that_were_cut_off(prm):
    cut = Generation(text=CUT, generation_info={"finish_reason": "length"})
    for given in ([cut, Generation(text=BAD)], [ChatGeneration(message=cut_off(CUT)), AIMessage(BAD)]):
        assert MedPRMReranker(prm=prm).invoke({"question": QUESTION, "candidates": given}).best.text == BAD
    parser = MedPRMOutputParser(prm=prm).about(QUESTION)
    assert parser.parse_result([cut, Generation(text=BAD)]).text == BAD
    assert asyncio.run(parser.aparse_result([cut, Generation(text=BAD)])).text == BAD


def structured(letter, reward):
    return call("Out", steps=[f"Step 1: 5 mg [{reward}].", f"Step 2: So {letter} [{reward}]."], final_answer=letter)


def test_a_list_of_steps_in_structured_output_votes_step_by_step(prm):
    answers = [structured("A", 0.9), structured("A", 0.8), structured("B", 0.95), structured("B", 0.1)]
    chat = ChatMedPRM(llm=ScriptedChat(answers=answers), prm=prm, n=4)
    found = chat.with_structured_output(Out, include_raw=True).invoke(QUESTION)
    ranking = ranking_of(found["raw"])
    assert (found["parsed"].final_answer, ranking.answer, ranking.strategy) == ("A", "A", "weighted_vote")
    assert [len(chain.steps) for chain in ranking.chains] == [2] * 4
    assert {vote.answer: vote.count for vote in ranking.votes} == {"A": 2, "B": 2}
    assert not any("confidence" in chain.text for chain in ranking.chains)
    agent = create_agent(
        ScriptedChat(answers=answers),
        [],
        middleware=[MedPRMMiddleware(prm=prm, n=4, max_concurrency=1)],
        response_format=ToolStrategy(Out),
    )
    state = agent.invoke({"messages": [("human", QUESTION)]})
    assert state["structured_response"].final_answer == "A"
    assert [len(chain.steps) for chain in ranking_of(state["messages"][-2]).chains] == [2] * 4


def test_the_field_of_the_answer_may_be_named(prm):
    class Named(BaseModel):
        """An answer."""

        answer: str
        pick: str

    script = [call("Named", answer="Step 1: long words [0.9].", pick=letter) for letter in "AB"]
    chat = ChatMedPRM(llm=ScriptedChat(answers=script), prm=prm, n=2, answer_field="pick")
    found = chat.with_structured_output(Named, include_raw=True).invoke(QUESTION)
    assert {vote.answer for vote in ranking_of(found["raw"]).votes} == {"A", "B"}


@each
def test_cautions_are_in_the_metadata_and_in_one_log_record_without_a_text(prm, way, caplog):
    with caplog.at_level(logging.WARNING, "medprm"):
        message = ways(prm, f"Step 1: {SECRET} [0.3].", f"Step 1: {SECRET} again [0.2].")[way]()
    cautions = message.response_metadata["medprm"]["cautions"]
    assert cautions == ranking_of(message).cautions != []
    (record,) = [record for record in caplog.records if record.name == "medprm"]
    assert all(caution in record.getMessage() for caution in cautions)
    assert SECRET not in record.getMessage()


def test_a_ranking_without_cautions_is_not_logged(prm, caplog):
    with caplog.at_level(logging.DEBUG, "medprm"):
        message = ways(prm, GOOD, BAD)["chat"]()
    assert message.response_metadata["medprm"]["cautions"] == []
    assert [record for record in caplog.records if record.name == "medprm"] == []


@each
def test_the_papers_rule_draws_until_enough_chains_have_its_steps(prm, way):
    answers = (GOOD, LONG, GOOD, LONG + ".", GOOD, LONG + "!")
    note = ways(prm, *answers, n=3, rules=SamplingRules())[way]().response_metadata["medprm"]
    assert [len(chain["steps"]) for chain in note["chains"]] == [3, 3, 3]
    assert note["samples_dropped"] == 3 + (note["usage"]["total_tokens"] // 5 - 6)
    with pytest.raises(ScoringError, match="has 3 to 9 steps"):
        ways(prm, GOOD, BAD, rules=SamplingRules(rounds=1))[way]()


@each
def test_answers_are_read_by_a_function_of_the_object(prm, way):
    def answer(text, question):
        assert question == QUESTION
        return "five" if "5 mg" in text else "nine"

    ranking = ranking_of(ways(prm, GOOD, BAD, answer=answer)[way]())
    assert {vote.answer for vote in ranking.votes} == {"five", "nine"}


@each
def test_equal_answers_are_one_vote_by_a_function_of_the_object(prm, way):
    ranking = ranking_of(ways(prm, GOOD, BAD, group=lambda answers: [0] * len(answers))[way]())
    assert [vote.count for vote in ranking.votes] == [2]


def test_on_ranking_of_each_class(prm):
    seen = []
    for way in ("best_of_n", "chat", "middleware", "async"):
        ways(prm, GOOD, BAD, on_ranking=seen.append)[way]()
    MedPRMReranker(prm=prm, on_ranking=seen.append).invoke({"question": QUESTION, "candidates": [GOOD]})
    assert [ranking.best.text for ranking in seen] == [GOOD] * 5


@each
def test_a_lone_voter_does_not_win_over_better_silent_chains(prm, way):
    message = ways(prm, *SILENT, WORSE)[way]()
    assert message.text in SILENT
    assert any("no vote was taken" in caution for caution in message.response_metadata["medprm"]["cautions"])
