"""What is drawn next, and what becomes of what was drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError, MedPRMError, ScoringError
from medprm_scorer.sampling.sample_rounds import Sample, SampleRounds, SamplingRules, keeps
from medprm_scorer.text.answers import extract_answer


def drawn(*outcomes, n=None, **options):
    rounds = SampleRounds(n or len(outcomes), lambda value: None if value == "tool" else value, **options)
    rounds.add(outcomes)
    return rounds


def chain(steps):
    return "\n".join(f"Step {number}: x" for number in range(1, steps + 1))


def test_failures_and_calls_of_tools_end_nothing():
    rounds = drawn("a", ValueError(), "tool", " ")
    rounds.check()
    assert (rounds.values, [sample.text for sample in rounds.samples]) == (["a", " "], ["a", " "])
    assert (rounds.no_candidates, rounds.all_values, len(rounds.errors)) == (["tool"], ["a", " ", "tool"], 1)
    assert (rounds.drawn, rounds.to_draw()) == (4, 0)
    assert repr(rounds) == "SampleRounds(2 kept, 1 dropped, 1 failed)"


def test_a_value_may_say_that_it_failed():
    rounds = SampleRounds(2, lambda value: ValueError(value) if value == "bad" else value)
    rounds.add(["bad", "good"])
    assert (rounds.values, [str(error) for error in rounds.errors]) == (["good"], ["bad"])


@pytest.mark.parametrize(("count", "note"), [(1, "the sample failed"), (3, "all 3 samples failed")])
def test_when_all_fail_the_first_error_comes_with_the_count(count, note):
    errors = [TimeoutError(str(place)) for place in range(count)]
    for _ in range(2):
        with pytest.raises(TimeoutError, match=note) as caught:
            drawn(*errors).check()
    assert caught.value is errors[0]
    assert len(errors[0].__notes__) == 1  # type: ignore[attr-defined]


def test_nothing_drawn_is_an_error():
    with pytest.raises(MedPRMError, match="no sample"):
        SampleRounds(3, str).check()
    with pytest.raises(InputError, match="n must be"):
        SampleRounds(0, str)


def test_a_probe_is_followed_only_after_a_candidate():
    tool, answer, failed = (drawn(first, n=4, probe=True) for first in ("tool", "a", ValueError()))
    assert (tool.to_draw(), answer.to_draw(), failed.to_draw()) == (0, 3, 3)
    assert SampleRounds(4, str, probe=True).to_draw() == 1
    answer.add(["tool", "tool"])
    assert answer.to_draw() == 1


def test_agreement_stops_and_never_draws_more_than_it_takes():
    letters = {"(A)": "The answer is (A)", "(b)": "the answer is (b)", "B": "The answer is B.", "-": "Who knows."}
    rounds = SampleRounds(10, letters.get, agree=3, answer=extract_answer)
    asked = []
    for outcomes in (["(A)", "(b)", "-"], ["B", "B"]):
        asked.append(rounds.to_draw())
        rounds.add(outcomes)
    assert asked == [3, 2]  # after the first three, the leader lacks two
    assert rounds.to_draw() == 0
    assert SampleRounds(2, str, agree=5, answer=extract_answer).to_draw() == 2


def test_a_given_answer_counts_before_one_that_is_read():
    rounds = SampleRounds(9, lambda answer: Sample("The answer is (A)", answer), agree=2, answer=extract_answer)
    rounds.add(["B", None])
    assert rounds.to_draw() == 1
    rounds.add(["b"])
    assert rounds.to_draw() == 0


def test_rules_draw_more_for_those_that_do_not_follow_them():
    rounds = SampleRounds(4, str, rules=SamplingRules())
    assert rounds.to_draw() == 5
    rounds.add([chain(3), chain(2), chain(10), chain(9), chain(1)])
    assert (len(rounds.values), len(rounds.unfit), rounds.to_draw()) == (2, 3, 3)
    rounds.add([chain(4)] * 3)
    assert (len(rounds.values), len(rounds.surplus), rounds.to_draw()) == (4, 1, 0)
    assert len(rounds.all_values) == rounds.drawn == 8


def test_rules_after_a_probe_have_all_their_rounds():
    rounds = SampleRounds(2, str, rules=SamplingRules(rounds=2), probe=True)
    asked = []
    while count := rounds.to_draw():
        asked.append(count)
        rounds.add([chain(1)] * count)
    assert asked == [1, 3, 3]
    with pytest.raises(ScoringError, match=r"none of the 7 chains drawn .* has 3 to 9 steps"):
        rounds.check()


def test_given_steps_count_as_they_are():
    assert keeps(("a", "b", "c"))
    assert not keeps(("a", "b"))
    rounds = SampleRounds(1, lambda steps: Sample(steps), rules=SamplingRules(oversample=1))
    rounds.add([("a", "b", "c")])
    assert rounds.samples[0].text == "a\nb\nc"


KINDS = st.sampled_from([chain(1), chain(3), chain(3) + " The answer is (A)", "tool", None])
OPTIONS = st.fixed_dictionaries(
    {
        "rules": st.none()
        | st.builds(SamplingRules, oversample=st.sampled_from([1, 1.25, 2]), rounds=st.integers(1, 3)),
        "agree": st.none() | st.integers(2, 4),
        "probe": st.booleans(),
    }
)


@given(st.integers(1, 9), OPTIONS, st.data())
def test_drawing_ends_and_nothing_is_lost(n, options, data):
    rounds = SampleRounds(n, lambda value: None if value == "tool" else value, answer=extract_answer, **options)
    rules = options["rules"]
    most = n if rules is None else 1 + rules.rounds * rules.to_draw(n)
    given_in_all = 0
    while count := rounds.to_draw():
        outcomes = [data.draw(KINDS) or TimeoutError() for _ in range(count)]
        rounds.add(outcomes)
        given_in_all += count
        assert given_in_all <= most + (rules.to_draw(n) if rules else 0)
    assert rounds.drawn == given_in_all
    assert len(rounds.values) == len(rounds.samples) <= n
    assert len(rounds.all_values) + len(rounds.errors) == given_in_all
