import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.text.steps.balance import MOST_TIMES, split_cautions


@pytest.mark.parametrize(
    ("counts", "rules"),
    [
        ([], []),
        ([1], ["marker"]),
        ([3, 9], ["marker", "labels"]),
        ([1, 3], ["given", "given"]),
        ([1, 1], ["marker", "marker"]),
    ],
)
def test_chains_that_can_be_compared(counts, rules):
    assert split_cautions(counts, rules) == []


def test_chains_that_cannot():
    assert split_cautions([1, 1], ["whole", "whole"]) == [
        "No chain could be split into steps: each has one reward for all of it."
    ]
    assert split_cautions([1], ["whole"]) == ["No chain could be split into steps: each has one reward for all of it."]
    assert split_cautions([1, 4, 1, 5], ["whole", "marker", "whole", "labels"]) == [
        "2 of 4 chains could not be split into steps: one reward stands for all of each, which favours them."
    ]
    assert split_cautions([1, 3], ["whole", "marker"], favours_few=False) == [
        "1 of 2 chains could not be split into steps: one reward stands for all of it."
    ]
    assert split_cautions([3, 10], ["marker", "marker"])[0].startswith("The chains have 3 to 10 steps")
    assert split_cautions([3, 10], ["marker", "marker"], favours_few=False) == []
    assert len(split_cautions([1, 3, 10], ["whole", "marker", "marker"])) == 2


@given(
    st.lists(st.tuples(st.integers(1, 50), st.sampled_from(["whole", "marker", "given"])), max_size=9), st.booleans()
)
def test_no_order_matters_and_alike_is_silent(chains, favours_few):
    chains = [(1 if rule == "whole" else count, rule) for count, rule in chains]
    counts, rules = [count for count, _ in chains], [rule for _, rule in chains]
    found = split_cautions(counts, rules, favours_few=favours_few)
    assert found == split_cautions(counts[::-1], rules[::-1], favours_few=favours_few)
    alike = "whole" not in rules and (not counts or max(counts) <= MOST_TIMES * min(counts) or not favours_few)
    assert (found == []) is alike or not counts
