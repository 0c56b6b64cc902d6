import asyncio
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.sampling.rules import PAPER_RULES, SamplingRules, keeps
from medprm_scorer.sampling.sample_chains import Samples, asample_chains, sample_chains
from medprm_scorer.text.steps import split_steps
from tests.support.hostile import texts
from tests.support.properties import examples


def chain(steps, name=0):
    """A chain of that many steps; 0 is a blank one."""
    return "\n".join(f"Step {number}: {name}" for number in range(1, steps + 1)) or " \n"


class Policy:
    """Gives prepared batches whatever it is asked for, then nothing; remembers what it was asked for."""

    def __init__(self, batches):
        self.batches, self.asked = list(batches), []

    def draw(self, count):
        self.asked.append(count)
        return self.batches.pop(0) if self.batches else []

    async def adraw(self, count):
        await asyncio.sleep(0)
        return self.draw(count)


def run_both(batches, n, rules=PAPER_RULES):
    """What the two ways give, which must be one: (result or the error's type and text, the numbers asked for)."""
    outcomes = []
    for way in ("sync", "async"):
        policy = Policy(batches)
        try:
            if way == "sync":
                result = sample_chains(policy.draw, n, rules)
            else:
                result = asyncio.run(asample_chains(policy.adraw, n, rules))
        except (InputError, ScoringError) as error:
            result = (type(error), str(error))
        outcomes.append((result, policy.asked))
    assert outcomes[0] == outcomes[1]
    return outcomes[0]


OVERSAMPLES = ["1.0", "1.1", "1.25", "1.5", "2.0"]
BATCHES = st.lists(st.lists(st.integers(0, 11), max_size=8), max_size=6)
RULES = st.builds(
    lambda low, more, factor, rounds: SamplingRules(low, low + more, float(factor), rounds),
    st.integers(1, 4),
    st.integers(0, 6),
    st.sampled_from(OVERSAMPLES),
    st.integers(1, 5),
)


@settings(max_examples=examples(150))
@given(BATCHES, st.integers(1, 12), RULES)
def test_equals_the_rules_played_by_hand(sizes, n, rules):
    names = iter(range(1000))
    batches = [[(chain(size, next(names)), size) for size in batch] for batch in sizes]
    drawn, good, asked = [], [], []
    for batch in [*batches, *[[]] * 6][: rules.rounds]:
        asked.append(math.ceil(Decimal(str(rules.oversample)) * (n - len(good))))
        drawn += batch
        good += [text for text, size in batch if rules.min_steps <= size <= rules.max_steps]
        if len(good) >= n or not batch:
            break
    result, really_asked = run_both([[text for text, _ in batch] for batch in batches], n, rules)
    assert really_asked == asked
    if not good:
        assert result[0] is ScoringError
        assert not drawn or f" {len(drawn)} chains" in result[1]
    else:
        stopped = "all" if len(good) >= n else "quorum"
        assert result == Samples(tuple(good[:n]), n, len(drawn), len(drawn) - len(good), len(asked), stopped)
        assert result.complete == (len(good) >= n)
        assert result.surplus == max(len(good) - n, 0)


@settings(max_examples=examples(150))
@given(st.lists(st.lists(texts, max_size=4), max_size=4), st.integers(1, 5), RULES)
def test_invariants_on_hostile_text(batches, n, rules):
    result, asked = run_both(batches, n, rules)
    assert len(asked) <= rules.rounds
    given_in_all = [text for batch in batches[: len(asked)] for text in batch]
    kept = () if isinstance(result, tuple) else result.chains
    assert list(kept) == [text for text in given_in_all if keeps(text, rules)][:n]
    if kept:
        assert result.drawn == len(given_in_all) == len(kept) + result.dropped + result.surplus
        assert result.surplus >= 0
        assert result.complete or not result.surplus
        assert 1 <= len(kept) <= n
        assert result.rounds == len(asked)
    for text in kept:
        assert rules.min_steps <= len(split_steps(text).steps) <= rules.max_steps


@pytest.mark.parametrize(("n", "first"), [(1, 2), (4, 5), (8, 10), (16, 20), (63, 79), (64, 80)])
def test_the_papers_oversampling(n, first):
    policy = Policy([[chain(3)] * 1000])
    assert len(sample_chains(policy.draw, n).chains) == n
    assert policy.asked == [first]


def test_what_is_missing_is_drawn_oversampled_again():
    policy = Policy([[chain(2)] * 10, [chain(5)] * 5, [chain(10)] * 4, [chain(9)] * 2])
    samples = sample_chains(policy.draw, 8)
    assert policy.asked == [10, 10, 4, 4]
    assert (len(samples.chains), samples.drawn, samples.dropped, samples.rounds) == (7, 21, 14, 4)
    assert not samples.complete


def test_a_factor_counts_as_it_is_written():
    assert 1.1 * 50 > 55  # what a product of floats would round up to 56
    assert SamplingRules(oversample=1.1).to_draw(50) == 55
    assert SamplingRules(oversample=2).to_draw(3) == 6
    assert SamplingRules(oversample=1).to_draw(10**20 + 1) == 10**20 + 1


@pytest.mark.parametrize(("steps", "kept"), [(0, False), (1, False), (2, False), (3, True), (9, True), (10, False)])
def test_the_papers_bounds(steps, kept):
    assert keeps(chain(steps)) is kept


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Fever.\n\nRash.\n\nThe answer is (B)", 3),
        ("1. Fever.\n2. Rash.\n3. Tick.\n4. The answer is (B)", 4),
        ("# Fever\na\n# Rash\nb", 2),
        ("Fever.\nRash.\nThe answer is (B)", 3),
        ("Fever.\n\nRash.\n\nStep 1: The answer is (B)", 1),  # one marker, and paragraphs are no steps
        ("<think>Step 1: a\nStep 2: b\nStep 3: c</think>The answer is (B)", 1),
    ],
)
def test_steps_are_counted_as_they_will_be_scored(text, steps):
    for wanted in range(1, 6):
        assert keeps(text, SamplingRules(wanted, wanted)) is (wanted == steps)


def test_the_rule_can_be_switched_off():
    drawn = [chain(1), "", chain(500), "plain", " \n\n "]
    samples = sample_chains(lambda count: drawn, 5, SamplingRules(1, sys.maxsize, 1.0, rounds=1))
    assert samples.chains == (chain(1), chain(500), "plain")
    assert samples.dropped == 2


def test_chains_that_say_the_same_are_all_kept():
    assert sample_chains(lambda count: (chain(3),) * count, 4).chains == (chain(3),) * 4


@pytest.mark.parametrize(
    ("batch", "name"),
    [("Step 1: secret", "str"), (b"secret", "bytes"), (None, "NoneType"), (5, "int"), ({"secret"}, "set")],
)
def test_anything_but_a_list_is_refused(batch, name):
    kind, message = run_both([batch], 2)[0]
    assert kind is InputError
    assert f"list of texts, but returned {name}" in message
    assert "secret" not in message


@pytest.mark.parametrize("wrong", [None, b"secret", ["secret"], 5])
def test_the_place_of_what_is_not_text_is_named(wrong):
    kind, message = run_both([["secret"], [chain(3), "secret", wrong]], 2)[0]
    assert kind is InputError
    assert "[2] of the chains of round 2" in message
    assert type(wrong).__name__ in message
    assert "secret" not in message


def test_none_kept_says_how_many_and_what_to_do():
    with pytest.raises(ScoringError, match=r"the 12 chains drawn has 3 to 9 steps") as caught:
        sample_chains(Policy([["secret"] * 5, ["secret"] * 7]).draw, 4)
    assert "Step n:" in str(caught.value)
    assert "min_steps" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_chains_at_all():
    with pytest.raises(ScoringError, match="gave no chains"):
        sample_chains(lambda count: [], 4)


@pytest.mark.parametrize("error", [StopIteration("x"), KeyError("x"), InputError("x"), KeyboardInterrupt()])
def test_what_draw_raises_comes_through(error):
    policy = Policy([[chain(3)]])

    def draw(count):
        if policy.batches:
            return policy.draw(count)
        raise error

    async def adraw(count):
        return draw(count)

    with pytest.raises(type(error)) as caught:
        sample_chains(draw, 2)
    assert caught.value is error
    if isinstance(error, (KeyError, InputError)):  # Python itself turns the first of them into another in a coroutine
        policy.batches = [[chain(3)]]
        with pytest.raises(type(error)) as caught:
            asyncio.run(asample_chains(adraw, 2))
        assert caught.value is error


def test_the_two_kinds_of_draw_are_not_mixed_up():
    with pytest.raises(InputError, match="use sample_chains"):
        asyncio.run(asample_chains(lambda count: [chain(3)] * count, 2))

    async def adraw(count):
        return [chain(3)] * count

    pending = adraw(2)
    with pytest.raises(InputError, match="returned coroutine"):
        sample_chains(lambda count: pending, 2)
    pending.close()


@pytest.mark.parametrize("n", [0, -1, True, 2.0, "2", None, float("nan")])
def test_a_wrong_number_is_refused_before_anything_is_drawn(n):
    policy = Policy([])
    with pytest.raises(InputError, match="n must be a whole number"):
        sample_chains(policy.draw, n)
    with pytest.raises(InputError, match="n must be a whole number"):
        asyncio.run(asample_chains(policy.adraw, n))
    assert policy.asked == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("min_steps", "max_steps", "rounds") for value in (0, -1, True, 3.0, "3", None)],
        ("max_steps", 2),
        ("min_steps", 10),
        *[("oversample", value) for value in (0.99, 0, -2, 101, 10**400, math.inf, math.nan, True, "1.25", None)],
    ],
)
def test_wrong_rules_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        SamplingRules(**{name: value})


def test_rules_cannot_be_changed_and_are_the_papers():
    assert (PAPER_RULES.min_steps, PAPER_RULES.max_steps, PAPER_RULES.oversample) == (3, 9, 1.25)
    with pytest.raises(FrozenInstanceError):
        PAPER_RULES.min_steps = 1


@pytest.mark.parametrize("value", [None, b"Step 1:", ["Step 1: a"] * 3])
def test_only_text_can_be_kept(value):
    with pytest.raises(InputError, match=type(value).__name__):
        keeps(value)


def test_repr_shows_no_text():
    samples = sample_chains(lambda count: [chain(3, "secret")] * count, 2)
    assert "secret" in samples.chains[0]
    assert repr(samples) == str(samples) == "Samples(wanted=2, drawn=3, dropped=0, rounds=1)"


def test_nothing_heavy_is_loaded():
    heavy = {"torch", "transformers", "pydantic", "numpy"}
    code = f"import sys, medprm_scorer.text.policy; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
