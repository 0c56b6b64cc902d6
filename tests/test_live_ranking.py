"""Candidates scored as they come: the ranking is the plain one, and nothing is scored twice."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer import InputError, ScoringError
from medprm_scorer.sampling.stopping import Confident, should_stop
from tests.support.cheap_engine import CheapEngine, cheap_prm
from tests.support.reading import BAD, GOOD, QUESTION, WORSE, reading_prm

DECLINES = "Step 1: Nothing is known [0.7].\nStep 2: I cannot answer this question."
SILENT = "Step 1: Who knows [0.6]."
CHAINS = [GOOD, BAD, WORSE, DECLINES, SILENT, " ", GOOD.replace("(A)", "(C)")]


def asked(prm):
    return len(prm.engine.calls)


def figures(ranking):
    return ranking.model_copy(update={"seconds": 0.0})


def flat(ranking):
    return [(chain.index, chain.text, chain.answer, chain.error, chain.declined) for chain in ranking.chains]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(CHAINS), st.booleans(), st.sampled_from([None, None, "B"])), min_size=1, max_size=7
    ),
    st.data(),
    st.sampled_from(["weighted_vote", "best_of_n", "majority_vote"]),
    st.booleans(),
)
def test_the_ranking_is_that_of_rank_whatever_the_order(drawn, data, strategy, grouped):
    prm = reading_prm()
    group = (lambda answers: ["x" if answer in "AC" else answer for answer in answers]) if grouped else None
    order = data.draw(st.permutations(range(len(drawn))))
    cuts = data.draw(st.lists(st.integers(1, len(drawn)), max_size=3))
    chains, truncated, answers = zip(*drawn, strict=True)
    places = [place for place, cut_off in enumerate(truncated) if cut_off]

    def plain():
        return prm.rank(QUESTION, chains, ["Label."], strategy=strategy, group=group, answers=answers, truncated=places)

    with prm.live(QUESTION, ["Label."], strategy=strategy, group=group) as live:
        for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(order)], strict=True):
            numbers = order[begin:end]
            if numbers:
                said = live.add(
                    [chains[number] for number in numbers],
                    numbers=numbers,
                    answers=[answers[number] for number in numbers],
                    truncated=[place for place, number in enumerate(numbers) if truncated[number]],
                )
        assert len(said) == len(drawn)
        calls = asked(prm)
        try:
            expected = plain()
        except ScoringError:
            with pytest.raises(ScoringError, match="no candidate could be scored"):
                live.ranking()
            return
        after = asked(prm)
        assert after == calls + 1
        assert figures(live.ranking()) == figures(expected)
        assert asked(prm) == after  # nothing is scored again


def test_with_the_local_engine_the_rewards_agree_with_the_plain_way(demo):
    chains = [f"Step 1: Give {dose} mg.\nStep 2: The answer is ({'AB'[dose % 2]})" for dose in (5, 6, 7, 8)]
    with demo.live("Which dose?", ["Label: give 5 mg."]) as live:
        for chain in chains:
            live.add([chain])
        ours = live.ranking()
    plain = demo.rank("Which dose?", chains, ["Label: give 5 mg."])
    assert flat(ours) == flat(plain)
    for one, two in zip(ours.chains, plain.chains, strict=True):
        assert one.step_rewards == pytest.approx(two.step_rewards, abs=1e-5)
    assert ours.answer == plain.answer


def test_what_candidates_say_is_what_the_vote_weighs():
    prm = reading_prm()
    with prm.live(QUESTION) as live:
        said = live.add([GOOD, DECLINES, SILENT, " "])
        assert [reward for _, reward in said] == [0.9, 0.5, 0.6, None]
        assert said[0][0] == "a"
        assert said[1][0] == ("(declined)",)
        assert said[2:] == [(None, 0.6), (None, None)]
        assert live.add([BAD], truncated=[0])[-1] == (None, None)  # it has no part while others were not cut off
        assert live.votes() == {0: "a", 1: ("(declined)",), 2: None}
        assert should_stop(live.add([GOOD] * 3), Confident(0.9))
    with prm.live(QUESTION, strategy="best_of_n") as live:
        assert live.add([GOOD]) == [(None, 0.9)]
    with prm.live(QUESTION, strategy="majority_vote") as live:
        assert live.add([GOOD, SILENT]) == [("a", 1.0), (None, 0.6)]
    with prm.live(QUESTION, scores=False) as live:
        calls = asked(prm)
        assert live.add([GOOD, " "]) == [("a", None), (None, None)]
        assert asked(prm) == calls
        assert live.ranking().best.reward() == 0.9


def test_the_group_function_is_asked_once_for_the_same_answers():
    asked = []

    def group(answers):
        asked.append(answers)
        return [0] * len(answers)

    with reading_prm().live(QUESTION, group=group) as live:
        live.add([GOOD])
        said = live.add([BAD])
        live.add([BAD, GOOD])
        live.ranking()
    assert asked == [["A", "B"]]
    assert said[0][0] == said[1][0] == ("group", 0)


def test_an_answer_function_may_fail_on_some(demo):
    def answer(text):
        raise KeyError(text)

    with demo.live("Which dose?", answer=answer) as live:
        assert live.add(["Step 1: 5 mg."])[0][0] is None
        with pytest.raises(InputError, match="answer function failed"):
            live.ranking()


def test_misuse_is_refused_and_shows_no_text(demo):
    with demo.live("Which dose?") as live:
        live.add(["Step 1: Secret."], numbers=[4])
        with pytest.raises(InputError, match="a different number"):
            live.add(["Step 1: 5 mg."], numbers=[4])
        with pytest.raises(InputError, match="a different number"):
            live.add(["a", "b"], numbers=[5, 5])
        with pytest.raises(InputError, match="no candidate with the number 1"):
            live.chain(1)
        assert "Secret" not in repr(live)
        assert live.chain(4).index == 4
    with pytest.raises(InputError, match="closed"):
        live.add(["Step 1: 5 mg."])
    with demo.live("Which dose?") as live, pytest.raises(InputError, match="no candidates"):
        live.ranking()
    with pytest.raises(InputError, match="blank"):
        demo.live(" ")
    with pytest.raises(InputError, match="strategy"):
        demo.live("Which dose?", strategy="best")


def test_threads_take_turns(demo):
    prm = cheap_prm(demo, CheapEngine())
    with prm.live("Which dose?") as live:
        threads = [
            threading.Thread(target=live.add, args=([f"Step 1: Give {n} mg."],), kwargs={"numbers": [n]})
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ranking = live.ranking()
    assert sorted(chain.index for chain in ranking.chains) == list(range(20))
    assert figures(ranking) == figures(prm.rank("Which dose?", [f"Step 1: Give {n} mg." for n in range(20)]))
