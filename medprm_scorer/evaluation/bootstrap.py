"""The uncertainty of a mean over questions: bootstrap intervals and a paired permutation test.

Questions are the sample: intervals say how the means would vary with other questions of the same kind, not with other
candidates. All columns of a table share the same resamples, so that their intervals are comparable.

Draws are made in blocks from one generator: the same draws as in a single call, but in bounded memory.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from medprm_scorer.errors import InputError

Floats = npt.NDArray[np.float64]

_ENDS = (0.025, 0.975)  # of a 95 % interval
_BLOCK = 2**20  # draws held at once: 8 MiB each as indices, as counts and as factors
_ROUNDING = 1e-12  # statistics this close to the observed one are equal to it


def bootstrap_means(values: Floats, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """The 95 % bootstrap interval of each column's mean over questions (percentile method).

    Args:
        values: One row per question, one column per figure, shape (Q, C), finite.
        resamples: How often Q questions are drawn with replacement, at least 1.
        seed: A whole number, at least 0.

    Returns:
        The lower and the upper ends, shape (C,) each: the quantiles .025 and .975 of the means of the resamples, with
        linear interpolation.

    Raises:
        InputError: There are no questions, a value is not finite, or a number is too small.

    Example:
        >>> low, high = bootstrap_means(np.array([[1.0, 0.5], [0.0, 0.5], [1.0, 0.5], [1.0, 0.5]]), 500, seed=0)
        >>> low.tolist(), high.tolist()
        ([0.25, 0.5], [1.0, 0.5])
    """
    _check_numbers(resamples, seed)
    return interval_ends(_resampled_means(_checked(values), resamples, np.random.default_rng(seed)))


def bootstrap_group_means(groups: Sequence[Floats], resamples: int, seed: int) -> tuple[Floats, Floats]:
    """The 95 % bootstrap interval of the mean of group means, each group with the same weight (percentile method).

    Questions are drawn within their group, so every resample has as many questions of each group as the data.

    Args:
        groups: Per group an array of shape (questions of the group, C), finite.
        resamples: How often each group is drawn with replacement, at least 1.
        seed: A whole number from 0; group g has its own generator, seeded with `[seed, g]`.

    Returns:
        The lower and the upper ends, shape (C,) each, as for `bootstrap_means`.

    Raises:
        InputError: There are no groups, one has no questions, they differ in columns, a value is not finite, or a
            number is too small.

    Example:
        >>> low, high = bootstrap_group_means([np.array([[0.0]]), np.array([[1.0], [1.0]])], 100, seed=0)
        >>> low.tolist(), high.tolist()
        ([0.5], [0.5])
    """
    _check_numbers(resamples, seed)
    if not groups:
        raise InputError("there are no groups of questions")
    checked = [_checked(values) for values in groups]
    if len({values.shape[1] for values in checked}) > 1:
        raise InputError("the groups of questions differ in their number of columns")
    total = np.zeros((resamples, checked[0].shape[1]))
    for place, values in enumerate(checked):
        total += _resampled_means(values, resamples, np.random.default_rng([seed, place]))
    return interval_ends(total / len(checked))


def sign_flip_p_values(differences: Floats, flips: int, seed: int) -> Floats:
    """Two-sided paired permutation test of each column: is its mean over questions different from 0?

    If two selection methods were equally good, each question's difference could just as well have the opposite sign. So
    signs are drawn at random, and p is how often the mean is then at least as far from 0 as the observed one.

    Args:
        differences: Accuracy of one selection method minus that of the other, shape (Q, C), finite.
        flips: How often signs are drawn for all questions, at least 1.
        seed: A whole number, at least 0.

    Returns:
        p values in (0, 1], shape (C,): (1 + hits) / (1 + flips), which counts the observed signs as one of the draws. 1
        for a column of zeros.

    Raises:
        InputError: There are no questions, a value is not finite, or a number is too small.

    Example:
        >>> sign_flip_p_values(np.array([[0.0, 1.0]] * 20), 999, seed=0).tolist()
        [1.0, 0.001]
    """
    _check_numbers(flips, seed)
    differences = _checked(differences)
    observed = np.abs(differences.mean(axis=0)) - _ROUNDING
    hits = np.zeros(differences.shape[1], dtype=np.int64)
    for draws in _blocks(np.random.default_rng(seed), 2, flips, len(differences)):
        signs = draws.astype(np.float64) * 2.0 - 1.0
        hits += (np.abs(signs @ differences) / len(differences) >= observed).sum(axis=0)
    p_values: Floats = (1 + hits) / (1 + flips)
    return p_values


def resampled_counts(questions: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each question is drawn in the resamples of `bootstrap_means`, for statistics that are not means.

    Args:
        questions: How many there are, at least 1.
        resamples: How often that many are drawn with replacement, at least 1.
        seed: A whole number, at least 0.

    Yields:
        Counts of some of the resamples, shape (some, questions), in bounded memory.

    Raises:
        InputError: A number is too small.

    Example:
        >>> [block.sum(axis=1).tolist() for block in resampled_counts(3, 2, seed=0)]
        [[3.0, 3.0]]
    """
    _check_numbers(resamples, seed)
    if questions < 1:
        raise InputError("there are no judged questions")
    yield from _counts(questions, resamples, np.random.default_rng(seed))


def interval_ends(figures: Floats) -> tuple[Floats, Floats]:
    """The ends of the 95 % interval of each column of resampled figures, shape (resamples, C), without NaN."""
    low, high = np.quantile(figures, _ENDS, axis=0)
    return low, high


def _blocks(generator: np.random.Generator, below: int, rows: int, columns: int) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of `generator.integers(0, below, (rows, columns))`, in blocks."""
    size = max(1, _BLOCK // columns)
    for start in range(0, rows, size):
        yield generator.integers(0, below, (min(size, rows - start), columns))


def _resampled_means(values: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Means of resamples, shape (resamples, C), from how often each row is drawn."""
    blocks = [counts @ values / len(values) for counts in _counts(len(values), resamples, generator)]
    return np.concatenate(blocks)


def _counts(questions: int, resamples: int, generator: np.random.Generator) -> Iterator[Floats]:
    for draws in _blocks(generator, questions, resamples, questions):
        draws += np.arange(len(draws))[:, None] * questions
        yield np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape).astype(np.float64)


def _checked(values: Floats) -> Floats:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(f"the values must have the shape (questions, columns), not {values.shape}")
    if not len(values):
        raise InputError("there are no judged questions")
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise InputError(f"the values of question {place} are not all finite")
    return values


def _check_numbers(draws: int, seed: int) -> None:
    if draws < 1:
        raise InputError(f"the number of draws is {draws}: it must be at least 1")
    if seed < 0:
        raise InputError("a seed must not be negative")
