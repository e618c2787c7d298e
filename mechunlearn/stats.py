"""Intervals and tests of single proportions."""

from functools import lru_cache

import numpy as np
from scipy import stats


@lru_cache(maxsize=10_000)
def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927).

    Example:
        >>> [round(x, 3) for x in wilson(50, 100)]
        [0.404, 0.596]
    """
    ci = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(ci.low), float(ci.high)


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


@lru_cache(maxsize=10_000)
def binomial_p(successes: int, n: int, chance: float) -> float:
    """Exact two-sided binomial test."""
    return float(stats.binomtest(successes, n, chance).pvalue)


def two_sided(successes: int, n: int, chance: float) -> float:
    """Exact binomial test of an accuracy against chance; below chance counts as well."""
    return binomial_p(successes, n, chance)
