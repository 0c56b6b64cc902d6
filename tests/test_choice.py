"""What a caller says of the answers of one call: how they are read, which are equal, which are known, which cut off."""

import asyncio

import pytest

from medprm_scorer import InputError, MedPRM, Ranking, RankRequest, ScoringError
from medprm_scorer.text.answers import DECLINED

QUESTION = "Which drug?\n\n(A) Aspirin\n(B) Heparin"
CHAINS = ["Step 1: It bleeds.\nStep 2: MI", "Step 1: It clots.\nStep 2: heart attack", "Step 1: No idea.\nStep 2: PE"]


def last_line(text):
    return text.rsplit("Step 2: ")[-1]


def test_an_answer_function_of_the_call_comes_before_that_of_the_object(demo):
    prm = MedPRM(demo.engine, demo.encoder, answer=lambda text: "object")
    assert {chain.answer for chain in prm.rank(QUESTION, CHAINS).chains} == {"object"}
    assert {chain.answer for chain in prm.rank(QUESTION, CHAINS, answer=last_line).chains} == {
        "MI",
        "heart attack",
        "PE",
    }
    many = prm.rank_many([{"question": QUESTION, "candidates": CHAINS}], answer=last_line)
    assert {vote.answer for vote in next(many).votes} == {"MI", "heart attack", "PE"}
    (batch,) = prm.rank_batch([{"question": QUESTION, "candidates": CHAINS}], answer=last_line)
    assert len(batch.votes) == 3
    assert prm.read_answer("anything") == "object"


def test_an_answer_function_may_take_the_question(demo):
    seen = []

    def with_question(text, question):
        seen.append(question)
        return "A"

    def with_a_default_of_its_own(text, separator=" "):
        return text.split(separator)[-1]

    demo.rank(QUESTION, CHAINS, answer=with_question)
    assert seen == [QUESTION] * 3
    assert demo.rank(QUESTION, CHAINS, answer=with_a_default_of_its_own).chains[0].answer in ("MI", "attack", "PE")
    assert MedPRM(demo.engine, demo.encoder, answer=with_question).read_answer("x", "Which?") == "A"
    assert seen[-1] == "Which?"


def test_an_answer_function_may_say_that_a_chain_declines(demo):
    ranking = demo.rank(QUESTION, CHAINS, answer=lambda text: DECLINED)
    assert (ranking.answer, ranking.declined, ranking.best.declined) == (None, True, True)
    assert ranking.votes[0].declined
    assert Ranking.model_validate_json(ranking.model_dump_json()) == ranking


def test_a_group_function_joins_votes_and_sees_each_different_answer_once(demo):
    seen = []

    def group(answers, question):
        seen.append((answers, question))
        return ["infarct" if answer in ("MI", "heart attack") else answer for answer in answers]

    ranking = demo.rank(QUESTION, [*CHAINS, CHAINS[0]], strategy="majority_vote", answer=last_line, group=group)
    assert seen == [(["MI", "heart attack", "PE"], QUESTION)]
    assert [(vote.answer, vote.count) for vote in ranking.votes] == [("MI", 3), ("PE", 1)]
    demo.rank(QUESTION, CHAINS[:1] * 3, answer=last_line, group=group)
    assert len(seen) == 1  # one answer needs no comparing


def test_a_group_function_may_be_async_for_arank(demo):
    async def group(answers):
        await asyncio.sleep(0)
        return [0] * len(answers)

    ranking = asyncio.run(demo.arank(QUESTION, CHAINS, answer=last_line, group=group))
    assert len(ranking.votes) == 1
    with pytest.raises(InputError, match="async"):
        demo.rank(QUESTION, CHAINS, answer=last_line, group=group)


@pytest.mark.parametrize("labels", [None, "abc", [1], [[], [], []], 3])
def test_labels_that_are_none_are_refused(demo, labels):
    with pytest.raises(InputError, match="group function must return"):
        demo.rank(QUESTION, CHAINS, answer=last_line, group=lambda answers: labels)


def test_a_group_function_that_fails_is_named_without_its_message(demo):
    def group(answers):
        raise KeyError(answers[0])

    with pytest.raises(InputError, match=r"the group function failed: KeyError$"):
        demo.rank(QUESTION, CHAINS, answer=last_line, group=group)


def test_options_may_be_given_beside_the_question(demo):
    chains = ["Step 1: So.\nStep 2: The answer is heparin.", "Step 1: So.\nStep 2: The answer is (C)"]
    ranking = demo.rank("Which drug?", chains, options=["Aspirin", "Heparin"])
    assert [chain.answer for chain in sorted(ranking.chains, key=lambda chain: chain.index)] == ["B", None]
    request = RankRequest(question="Which drug?", candidates=chains, options={"A": "Aspirin", "B": "Heparin"})
    (same,) = demo.rank_batch([request])
    assert same.answer == ranking.answer


def test_known_answers_are_taken_and_still_checked_against_the_options(demo):
    answers = ["B", "aspirin", "Z"]
    ranking = demo.rank(QUESTION, CHAINS, answers=answers)
    assert [chain.answer for chain in sorted(ranking.chains, key=lambda chain: chain.index)] == ["B", "A", None]
    free = demo.rank("Which?", CHAINS, answers=["MI", None, "  "])
    assert [chain.answer for chain in sorted(free.chains, key=lambda chain: chain.index)] == ["MI", None, None]
    with pytest.raises(InputError, match="one entry for each of the 3 candidates"):
        demo.rank(QUESTION, CHAINS, answers=["A"])


def test_a_chain_that_was_cut_off_does_not_win(demo):
    whole = demo.rank(QUESTION, CHAINS, strategy="best_of_n")
    cut = demo.rank(QUESTION, CHAINS, strategy="best_of_n", truncated=[whole.best.index])
    assert cut.best.index != whole.best.index
    assert [chain.truncated for chain in cut.chains] == [False, False, True]
    assert "cut off" in cut.cautions[0]
    with pytest.raises(InputError, match="truncated"):
        demo.rank(QUESTION, CHAINS, truncated=[3])


@pytest.mark.parametrize("wrong", [{"options": 5}, {"truncated": ["x"]}, {"answers": [1, 2, 3]}, {"id": 1.5}])
def test_wrong_types_are_named(demo, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))) as caught:
        demo.rank(QUESTION, CHAINS, **wrong)
    assert "MI" not in str(caught.value)


def test_a_chain_knows_the_rule_that_split_it(demo):
    chains = demo.score(QUESTION, [*CHAINS[:1], ["One step.", "Another."], "Prose.", " "])
    assert [chain.split_by for chain in chains] == ["marker", "given", "whole", None]


def test_nothing_scored_still_says_why(demo):
    with pytest.raises(ScoringError, match="candidate 0: it is blank"):
        demo.rank(QUESTION, [" "], truncated=[0])


def test_an_answer_function_that_fails_on_some_chains_loses_only_their_answers(demo):
    def fails_on_the_first(text):
        if text == CHAINS[0]:
            raise KeyError(text)
        return "A"

    ranking = demo.rank(QUESTION, CHAINS, answer=fails_on_the_first)
    assert ranking.votes[0].count == 2
    assert "The answer function failed on 1 of 3 chains." in ranking.cautions
    with pytest.raises(InputError, match=r"the answer function failed on candidate 0: ZeroDivisionError$"):
        demo.rank(QUESTION, CHAINS, answer=lambda text: 1 // 0)
