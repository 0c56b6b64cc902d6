"""What is drawn next, and what becomes of what was drawn, in whatever order it comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.errors import InputError, MedPRMError, ScoringError
from medprm_scorer.sampling.drawing import Drawing, Limits
from medprm_scorer.sampling.rules import Sample, SamplingRules
from medprm_scorer.sampling.stopping import Agree, Confident, should_stop


def read(value):
    return None if value == "tool" else value


def finish(drawing, *outcomes):
    """Ask for what comes, all at once."""
    for number, outcome in [(drawing.start(), outcome) for outcome in outcomes]:
        drawing.finish(number, outcome)
    return drawing


def drawn(*outcomes, n=None, **options):
    return finish(Drawing(n or len(outcomes), read, **options), *outcomes)


def judge(drawing, said):
    """Hand in what every kept sample says, by its text."""
    drawing.judge([said[sample.text] for sample in drawing.samples])


def chain(steps):
    return "\n".join(f"Step {number}: x" for number in range(1, steps + 1))


SAID = {"a": ("a", 1.0), "b": ("b", 1.0), "c": ("c", 0.2), "-": (None, 0.5), "?": (None, None)}


def test_failures_and_calls_of_tools_end_nothing():
    drawing = drawn("a", ValueError(), "tool", " ", limits=Limits(replacements=0))
    drawing.check()
    assert (drawing.values, [sample.text for sample in drawing.samples]) == (["a", " "], ["a", " "])
    assert (drawing.no_candidates, drawing.all_values, len(drawing.errors)) == (["tool"], ["a", " ", "tool"], 1)
    assert (drawing.finished, drawing.needed(), drawing.stopped) == (4, 0, "quorum")
    assert repr(drawing) == "Drawing(2 kept, 1 dropped, 1 failed, 0 running)"


def test_what_is_kept_is_in_the_order_of_asking():
    drawing = Drawing(3, read)
    one, two, three = (drawing.start() for _ in range(3))
    for number, value in ((three, "c"), (one, "a"), (two, "b")):
        assert drawing.stopped is None
        assert drawing.finish(number, value).text == value
    assert (drawing.values, drawing.numbers, drawing.stopped) == (["a", "b", "c"], [0, 1, 2], "all")


def test_a_value_may_say_that_it_failed():
    drawing = finish(Drawing(2, lambda value: ValueError(value) if value == "bad" else value), "bad", "good")
    assert (drawing.values, [str(error) for error in drawing.errors]) == (["good"], ["bad"])


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
        Drawing(3, str).check()
    with pytest.raises(InputError, match="n must be"):
        Drawing(0, str)
    late = Drawing(3, str)
    late.start()
    late.end("deadline")
    with pytest.raises(TimeoutError, match="the deadline came before any sample: 1 were asked for"):
        late.check()


def test_failed_samples_are_replaced_up_to_a_bound_once_another_has_come():
    drawing = Drawing(4, read, limits=Limits(replacements=2))
    numbers = [drawing.start() for _ in range(drawing.needed())]
    for number in numbers[:3]:
        drawing.finish(number, ValueError())
    assert drawing.needed() == 0  # nothing has come back yet
    drawing.finish(numbers[3], "a")
    assert drawing.needed() == 2
    finish(drawing, ValueError(), ValueError())
    assert (drawing.needed(), drawing.started, drawing.stopped) == (0, 6, "quorum")


def test_what_surely_fails_is_not_asked_n_times():
    slow = Drawing(64, read)
    for asked in range(3):
        assert slow.needed() == 64 - asked
        slow.finish(slow.start(), TimeoutError())  # one call at a time
    assert (slow.needed(), slow.stopped) == (0, "quorum")

    class Refused(Exception):
        status_code = 401

    class Answered(Exception):
        response = Refused()

    for error in (Refused(), Answered()):
        refused = Drawing(64, read)
        refused.finish(refused.start(), error)
        assert (refused.needed(), refused.stopped) == (0, "quorum")
        other = Drawing(64, read)
        first, second = other.start(), other.start()
        other.finish(first, error)
        assert other.needed() == 0
        other.finish(second, "a")
        assert other.needed() == 63  # one of them in place of the refused one


def test_a_wide_first_wave_must_fail_wholly():
    drawing = Drawing(64, read)
    numbers = [drawing.start() for _ in range(8)]
    for number in numbers[:7]:
        drawing.finish(number, TimeoutError())
    assert drawing.needed() == 56
    drawing.finish(numbers[7], TimeoutError())
    assert drawing.needed() == 0


def test_a_probe_is_followed_only_after_a_candidate():
    tool, answer, failed = (drawn(first, n=4, probe=True) for first in ("tool", "a", ValueError()))
    assert (tool.needed(), answer.needed(), failed.needed()) == (0, 3, 3)
    probe = Drawing(4, str, probe=True)
    assert probe.needed() == 1
    probe.start()
    assert probe.needed() == 0
    finish(answer, "tool", "tool")
    assert answer.needed() == 1


def test_agreement_stops_and_never_draws_more_than_it_takes():
    drawing = Drawing(10, read, stop=Agree(3))
    assert drawing.needed() == 3
    finish(drawing, "a", "a", "-")
    assert drawing.needed() == 0  # before it is known what they say
    judge(drawing, SAID)
    assert drawing.needed() == 1
    finish(drawing, "b")
    judge(drawing, SAID)
    assert drawing.needed() == 1
    finish(drawing, "a")
    assert drawing.stopped is None
    judge(drawing, SAID)
    assert (drawing.stopped, drawing.needed(), drawing.started) == ("agree", 0, 5)
    assert Drawing(2, str, stop=Agree(5)).needed() == 2


def test_confidence_stops_what_still_runs():
    drawing = Drawing(64, read, stop=Confident(0.9))
    assert drawing.needed() == 3
    finish(drawing, "a", "a")
    running = drawing.start()
    judge(drawing, SAID)
    assert (drawing.needed(), drawing.running) == (0, {running})  # with the one that runs it may be enough
    drawing.finish(running, "b")
    judge(drawing, SAID)
    assert drawing.stopped is None
    more = [drawing.start() for _ in range(drawing.needed())]
    assert len(more) > 3  # a question that is not easy is given more calls at once
    for number in more[:3]:
        drawing.finish(number, "a")
    judge(drawing, SAID)
    assert (drawing.stopped, drawing.running, drawing.cancelled) == ("confident", set(), len(more) - 3)
    assert drawing.finish(more[3], "b") is None  # came nevertheless
    assert (drawing.surplus, len(drawing.values)) == (["b"], 6)


def test_without_confidence_all_are_drawn_and_the_rule_may_bound_them():
    for options, most in (({}, 6), ({"max_samples": 4}, 4)):
        drawing = Drawing(6, read, stop=Confident(0.99, **options))
        while needed := drawing.needed():
            finish(drawing, *"ab"[:needed])
            judge(drawing, SAID)
        assert (drawing.stopped, drawing.started, len(drawing.values)) == ("all", most, most)


def test_a_budget_is_kept_at_the_mean_cost_so_far():
    drawing = Drawing(10, read, limits=Limits(tokens=100))
    assert drawing.needed() == 10  # nobody knows yet what one costs
    first, second = drawing.start(), drawing.start()
    drawing.finish(first, "a", tokens=30)
    assert drawing.needed() == 1  # one runs, and 100 - 30 is enough for two
    drawing.finish(second, "a", tokens=20)
    assert drawing.needed() == 2
    finish(drawing, "a")
    drawing.finish(drawing.start(), "a", tokens=45)
    assert (drawing.needed(), drawing.stopped) == (0, "budget")
    running = drawn("a", n=4, limits=Limits(tokens=10))
    others = [running.start(), running.start()]
    running.finish(others[0], "a", tokens=11)
    assert (running.stopped, running.cancelled) == ("budget", 1)


def test_a_quorum_is_drawn_before_a_rule_stops_and_fewer_are_an_error():
    drawing = Drawing(8, read, stop=Agree(2), limits=Limits(quorum=4))
    assert drawing.needed() == 4
    finish(drawing, *"aaa")
    judge(drawing, SAID)
    assert (drawing.stopped, drawing.needed()) == (None, 1)
    finish(drawing, "b")
    judge(drawing, SAID)
    assert drawing.stopped == "agree"
    short = drawn("a", ValueError(), ValueError(), limits=Limits(replacements=0, quorum=2))
    with pytest.raises(ScoringError, match=r"only 1 of the 3 samples that were asked for .* the quorum is 2"):
        short.check()


@pytest.mark.parametrize("bad", [{"replacements": -1}, {"replacements": True}, {"quorum": 0}, {"tokens": 0}])
def test_limits_are_checked(bad):
    with pytest.raises(InputError):
        Limits(**bad)


def test_rules_draw_more_for_those_that_do_not_follow_them():
    drawing = Drawing(4, str, rules=SamplingRules())
    assert drawing.needed() == 5
    finish(drawing, chain(3), chain(2), chain(10), chain(9), chain(1))
    assert (len(drawing.values), len(drawing.unfit), drawing.needed()) == (2, 3, 3)
    finish(drawing, chain(4), chain(4), chain(4))
    assert (len(drawing.values), len(drawing.surplus), drawing.needed()) == (4, 1, 0)
    assert len(drawing.all_values) == drawing.finished == 8


def test_rules_replace_at_once_what_does_not_follow_them_within_their_bound():
    drawing = Drawing(2, str, rules=SamplingRules(rounds=2), probe=True)
    asked = []
    while count := drawing.needed():
        asked.append(count)
        finish(drawing, *[chain(1)] * count)
    assert asked == [1, 3, 3]
    with pytest.raises(ScoringError, match=r"none of the 7 chains drawn has 3 to 9 steps"):
        drawing.check()
    streaming = Drawing(4, str, rules=SamplingRules())
    numbers = [streaming.start() for _ in range(streaming.needed())]
    streaming.finish(numbers[0], chain(1))
    assert streaming.needed() == 1


TEXTS = [chain(1), chain(3), chain(3) + " The answer is (A)", chain(4) + " The answer is (B)"]
KINDS = st.sampled_from([*TEXTS, "tool", None])
OPTIONS = st.fixed_dictionaries(
    {
        "rules": st.none()
        | st.builds(SamplingRules, oversample=st.sampled_from([1, 1.25, 2]), rounds=st.integers(1, 3)),
        "stop": st.none()
        | st.builds(Agree, st.integers(2, 4))
        | st.builds(Confident, st.sampled_from([0.6, 0.9, 0.99]), st.integers(1, 4)),
        "probe": st.booleans(),
        "limits": st.builds(
            Limits, st.integers(0, 3), st.integers(1, 3), st.none() | st.integers(1, 60).map(lambda ten: 10 * ten)
        ),
    }
)


def said(sample: Sample) -> tuple[str | None, float]:
    return (sample.text[-2] if "answer" in sample.text else None), 0.5 + len(sample.text) % 5 / 10


@given(st.integers(1, 9), OPTIONS, st.integers(1, 8), st.data())
def test_drawing_ends_and_nothing_is_lost_whatever_comes_when(n, options, width, data):
    drawing = Drawing(n, read, **options)
    rules, stop, limits = options["rules"], options["stop"], options["limits"]
    most = n + limits.replacements if rules is None else 1 + rules.rounds * rules.to_draw(n)
    running, taken, kept = [], 0, {}
    while drawing.stopped is None:
        while drawing.needed() and len(running) < width:
            running.append(drawing.start())
        assert running or drawing.unjudged
        if running and (not drawing.unjudged or data.draw(st.booleans())):
            number = running.pop(data.draw(st.integers(0, len(running) - 1)))
            outcome = data.draw(KINDS)
            sample = drawing.finish(number, outcome if outcome is not None else TimeoutError(), tokens=10)
            taken += 1
            if sample is not None:
                kept[number] = sample
        else:
            drawing.judge([said(sample) for sample in drawing.samples])
    assert drawing.needed() == 0
    assert drawing.started <= most
    assert drawing.finished == taken
    assert drawing.started == taken + drawing.cancelled
    assert drawing.samples == [kept[number] for number in sorted(kept)]
    assert len(drawing.values) <= n
    assert len(drawing.all_values) + len(drawing.errors) == taken
    evidence = [said(sample) for sample in drawing.samples]
    if drawing.stopped in ("confident", "agree"):
        assert should_stop(evidence, stop)
        assert len(kept) >= min(limits.quorum, n)
    if drawing.stopped == "all":
        assert len(kept) + len(drawing.no_candidates) >= n or options["probe"]
    if drawing.stopped == "budget":
        assert limits.tokens is not None
