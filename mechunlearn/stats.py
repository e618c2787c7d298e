"""Intervals and tests of single proportions, and of means of values in [0, 1]."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special, stats

Values: TypeAlias = Float[np.ndarray, " _"] | Bool[np.ndarray, " _"]
"""What the answers to some questions are worth, in [0, 1]; of right or wrong ones the truth."""
GRADED = 0.5
"""Tests of right and wrong take a graded value above this as right."""


@lru_cache(maxsize=10_000)
def wilson(successes: int | float, n: int | float, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927).

    For values in [0, 1] in place of successes their sum gives an interval that is too wide rather
    than too narrow: their variance is at most that of a proportion with the same mean.

    Example:
        >>> [round(x, 3) for x in wilson(50, 100)]
        [0.404, 0.596]
    """
    p, z = successes / n, special.ndtri(0.5 + 0.5 * level)
    denominator = 2 * (n + z**2)
    centre = (2 * n * p + z**2) / denominator
    half = z / denominator * np.sqrt(4 * n * p * (1 - p) + z**2)
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return low, high


def mean_interval(
    values: Values, sources: Int[np.ndarray, " _"] | None = None
) -> tuple[float, float]:
    """95 % interval of a mean of values in [0, 1]: Wilson's, with what the values are worth as n.

    Values of one source are alike, so that n of them say as much as ``effective_size`` apart do.
    """
    n = len(values) if sources is None else effective_size(values, sources)
    return wilson(float(values.mean()) * n, n)


def effective_size(values: Values, sources: Int[np.ndarray, " _"]) -> float:
    """How many values of sources of their own say as much (Korn and Graubard 1998).

        n_eff = variance of the mean of n such values / variance of this mean over its m sources
                * (t_(n-1) / t_(m-1))^2

    with the 97.5 % points of t, since the variance over few sources is itself not known well. At
    most n; n where all values are equal or there is one source, which says nothing of others.

    Args:
        sources: Numbered from 0 without a gap.

    Example:
        >>> round(effective_size(np.repeat([0.0, 1.0], 10), np.arange(20) // 5), 2)
        1.37
    """
    n, m = float(len(values)), int(sources.max()) + 1
    apart = np.asarray(values, dtype=float) - values.mean()
    sums = np.bincount(sources, weights=apart)
    if m in (1, n) or not apart.any():
        return n
    by_source = m / (m - 1) * float(sums @ sums)
    alone = n / (n - 1) * float(apart @ apart)
    known = float((special.stdtrit(n - 1, 0.975) / special.stdtrit(m - 1, 0.975)) ** 2)
    return n * known * (alone / by_source if by_source > alone else 1.0)


def difference_interval(right: int, n: int, other: int, other_n: int) -> tuple[float, float]:
    """95 % interval of the difference of two independent proportions (Newcombe 1998, method 10).

    Example:
        >>> [round(x, 4) for x in difference_interval(56, 70, 48, 80)]
        [0.0524, 0.3339]
    """
    a, b = right / n, other / other_n
    (low_a, high_a), (low_b, high_b) = wilson(right, n), wilson(other, other_n)
    below = np.hypot(a - low_a, high_b - b)
    above = np.hypot(high_a - a, b - low_b)
    return float(a - b - below), float(a - b + above)


def paired_difference(
    values: Values, others: Values, level: float = 0.95
) -> tuple[float, tuple[float, float]]:
    """Mean difference of two values of the same questions, with a normal interval.

    Example:
        >>> value, (low, high) = paired_difference(np.array([1, 1, 0, 1]), np.array([0, 1, 0, 0]))
        >>> value, round(low, 3), round(high, 3)
        (0.5, -0.066, 1.066)
    """
    net = np.asarray(values, float) - np.asarray(others, float)
    half = special.ndtri(0.5 + 0.5 * level) * net.std(ddof=1) / np.sqrt(len(net))
    mean = float(net.mean())
    return mean, (mean - float(half), mean + float(half))


def ratio_of_sums(
    tops: Values, bottoms: Values, draws: int = 1000, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Sum over sum of the same questions, with a percentile bootstrap interval over them.

    Example:
        >>> value, (low, high) = ratio_of_sums(np.array([1.0, 2.0, 1.5]), np.array([2.0, 4.0, 3.0]))
        >>> value, round(low, 3), round(high, 3)
        (0.5, 0.5, 0.5)
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(tops), size=(draws, len(tops)))
    sums = bottoms[drawn].sum(axis=1)
    ratios = tops[drawn].sum(axis=1) / np.where(sums == 0, np.nan, sums)
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    return float(tops.sum() / bottoms.sum()), (float(low), float(high))


def auc(
    members: Float[np.ndarray, " member"],
    others: Float[np.ndarray, " other"],
    sources: Sequence[Sequence[str]],
    draws: int = 1000,
) -> tuple[float, tuple[float, float]]:
    """Area under the ROC curve: how often a member's score is above another's, ties half.

    The interval is a percentile bootstrap over sources, which may have questions in both classes.
    Where every member is above every other, or below, it is Wilson's, of as many trials as the
    class with fewer has sources.

    Args:
        sources: Of the members and of the others.

    Example:
        >>> value, (low, high) = auc(np.array([3.0, 2.0]), np.array([1.0, 2.0]), ("ab", "ab"))
        >>> value, low <= value <= high
        (0.875, True)
    """
    names = {name: i for i, name in enumerate(dict.fromkeys([*sources[0], *sources[1]]))}
    of, against = ([names[name] for name in own] for own in sources)
    sign = np.sign(members[:, None] - others[None])
    rows, columns = np.eye(len(names))[of], np.eye(len(names))[against]
    wins, pairs = rows.T @ (sign + 1) / 2 @ columns, np.outer(rows.sum(0), columns.sum(0))
    value = float(wins.sum() / pairs.sum())
    if value in (0.0, 1.0):
        n = min(len(set(of)), len(set(against)))
        return value, wilson(value * n, n)
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    top, bottom = (((times @ matrix) * times).sum(axis=1) for matrix in (wins, pairs))
    low, high = np.nanquantile(top / np.where(bottom == 0, np.nan, bottom), [0.025, 0.975])
    return value, (float(low), float(high))


@lru_cache(maxsize=10_000)
def binomial_p(successes: int, n: int, chance: float) -> float:
    """Exact two-sided binomial test of a proportion; below chance counts as well."""
    return float(stats.binomtest(successes, n, chance).pvalue)
