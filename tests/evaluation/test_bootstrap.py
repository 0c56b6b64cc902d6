import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation import bootstrap
from medprm_scorer.evaluation.bootstrap import bootstrap_group_means, bootstrap_means, sign_flip_p_values
from tests.support.properties import examples


def naive_means(values, resamples, generator):
    """All drawn rows at once."""
    return values[generator.integers(0, len(values), (resamples, len(values)))].mean(axis=1)


def naive_p_values(differences, flips, seed):
    signs = np.random.default_rng(seed).integers(0, 2, (flips, len(differences))) * 2 - 1
    hits = [sum(abs((row * column).mean()) >= abs(column.mean()) - 1e-12 for row in signs) for column in differences.T]
    return [(1 + count) / (1 + flips) for count in hits]


def shares(seed, questions, columns, steps=100):
    """Accuracies as they occur: hundredths, with many ties."""
    return np.random.default_rng([99, seed]).integers(0, steps + 1, (questions, columns)) / steps


@pytest.fixture(params=[1, 64, 1000, 2**20])
def block(request, monkeypatch):
    """Draws held at once, from a row at a time to all of them."""
    monkeypatch.setattr(bootstrap, "_BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(("questions", "columns"), [(1, 1), (2, 3), (37, 4), (64, 1), (101, 2)])
def test_equals_the_naive_twins_in_blocks_of_any_size(questions, columns):
    values = shares(questions, questions, columns)
    expected = np.quantile(naive_means(values, 73, np.random.default_rng(5)), [0.025, 0.975], axis=0)
    np.testing.assert_allclose(bootstrap_means(values, 73, 5), expected, rtol=0, atol=1e-12)

    differences = values - values[:, ::-1] / 2 - 0.2
    assert sign_flip_p_values(differences, 73, 5).tolist() == naive_p_values(differences, 73, 5)

    groups = [values, shares(1, 5, columns), shares(2, 1, columns)]
    of_groups = [naive_means(group, 73, np.random.default_rng([5, g])) for g, group in enumerate(groups)]
    expected = np.quantile(sum(of_groups) / 3, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(bootstrap_group_means(groups, 73, 5), expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(("below", "columns"), [(2, 7), (7, 7), (6001, 3)])
def test_draws_in_blocks_are_the_draws_of_one_call(below, columns):
    blocks = list(bootstrap._blocks(np.random.default_rng(3), below, 500, columns))
    assert np.concatenate(blocks).tolist() == np.random.default_rng(3).integers(0, below, (500, columns)).tolist()


@settings(max_examples=examples(50))
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 3), st.sampled_from([1, 2, 10]))
def test_small_tables_of_coarse_values(seed, questions, columns, steps):
    values = shares(seed, questions, columns, steps)
    low, high = bootstrap_means(values, 40, seed)
    assert (values.min(axis=0) - 1e-12 <= low).all()
    assert (low <= high).all()
    assert (high <= values.max(axis=0) + 1e-12).all()
    differences = values - shares(seed + 1, questions, columns, steps)
    found = sign_flip_p_values(differences, 40, seed)
    assert found.tolist() == naive_p_values(differences, 40, seed)
    assert found.tolist() == sign_flip_p_values(-differences, 40, seed).tolist()
    assert (found[~differences.any(axis=0)] == 1.0).all()


def test_columns_share_one_drawing():
    values = shares(0, 30, 2)
    low, high = bootstrap_means(np.hstack([values, values[:, :1]]), 200, 1)
    np.testing.assert_allclose([low[0], high[0]], [low[2], high[2]], rtol=0, atol=1e-12)
    apart = bootstrap_means(values[:, :1], 200, 1)
    np.testing.assert_allclose([low[:1], high[:1]], apart, rtol=0, atol=1e-12)


def test_interval_is_as_wide_as_the_standard_error_says():
    values = np.repeat([[0.0], [1.0]], 200, axis=0)  # standard error of the mean: .5 / sqrt(400) = .025
    low, high = bootstrap_means(values, 4000, 0)
    assert low[0] == pytest.approx(0.5 - 1.96 * 0.025, abs=0.004)
    assert high[0] == pytest.approx(0.5 + 1.96 * 0.025, abs=0.004)


def test_groups_weigh_the_same_and_keep_their_share():
    sure, even = np.ones((1000, 1)), np.zeros((3, 1))
    low, high = bootstrap_group_means([sure, even], 50, 0)
    assert low.tolist() == high.tolist() == [0.5]


def test_p_value_is_that_of_all_sign_patterns():
    differences = np.array([[0.5], [0.25], [0.25], [-0.125]])
    patterns = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    exact = (np.abs(patterns @ differences) >= abs(differences.sum())).mean()
    assert sign_flip_p_values(differences, 20000, 1)[0] == pytest.approx(exact, abs=0.015)


def test_p_values_are_even_when_nothing_differs_and_small_when_much_does():
    noise = np.random.default_rng(8).normal(size=(40, 300))
    p_values = sign_flip_p_values(noise, 400, 0)
    assert 0.02 <= (p_values <= 0.05).mean() <= 0.09
    assert 0.4 <= p_values.mean() <= 0.6
    assert sign_flip_p_values(noise + 3.0, 400, 0).max() == 1 / 401


@pytest.mark.parametrize("scale", [10, 30, 100, 700])
def test_rounding_decides_no_tie(scale):
    whole = np.random.default_rng(scale).integers(-3, 5, (9, 40))
    signs = np.random.default_rng(2).integers(0, 2, (900, 9)) * 2 - 1
    hits = (np.abs(signs @ whole) >= np.abs(whole.sum(axis=0))).sum(axis=0)  # whole numbers: exact
    assert sign_flip_p_values(whole / scale, 900, 2).tolist() == ((1 + hits) / 901).tolist()


def test_memory_stays_bounded():
    values = shares(0, 6000, 60)
    tracemalloc.start()
    try:
        bootstrap_means(values, 2000, 0)  # 96 MB for the drawn indices alone if all were held, 5.8 GB for their rows
        sign_flip_p_values(values - 0.5, 2000, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60e6


# --- errors ---


@pytest.mark.parametrize(
    "function", [bootstrap_means, sign_flip_p_values, lambda v, *rest: bootstrap_group_means([v], *rest)]
)
def test_errors(function):
    with pytest.raises(InputError, match="no judged questions"):
        function(np.empty((0, 2)), 10, 0)
    with pytest.raises(InputError, match="shape"):
        function(np.zeros(3), 10, 0)
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="question 1 "):
            function(np.array([[0.0, 1.0], [0.5, bad]]), 10, 0)
    with pytest.raises(InputError, match="at least 1"):
        function(np.zeros((3, 1)), 0, 0)
    with pytest.raises(InputError, match="negative"):
        function(np.zeros((3, 1)), 10, -1)


def test_errors_of_groups():
    with pytest.raises(InputError, match="no groups"):
        bootstrap_group_means([], 10, 0)
    with pytest.raises(InputError, match="columns"):
        bootstrap_group_means([np.zeros((2, 1)), np.zeros((2, 2))], 10, 0)


def test_what_is_passed_stays_as_it_is():
    values = shares(0, 10, 2)
    before = values.copy()
    bootstrap_means(values, 20, 0)
    bootstrap_group_means([values, values], 20, 0)
    sign_flip_p_values(values, 20, 0)
    assert (values == before).all()
