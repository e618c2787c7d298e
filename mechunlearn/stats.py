"""Intervals, paired tests and recovery: every number that the report prints."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from mechunlearn.results import Recovery

DRAWS = 10_000
"""Bootstrap draws."""
FLIPS = 2_000
"""Draws of the permutation test."""


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


def mcnemar(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> float:
    """Exact two-sided McNemar test that two paired accuracies are equal (McNemar 1947).

    Only questions where exactly one is right count; without any the p-value is 1.
    """
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    return _binomial(only_a, only_a + only_b, 0.5) if only_a + only_b else 1.0


@lru_cache(maxsize=10_000)
def _binomial(successes: int, n: int, chance: float) -> float:
    return float(stats.binomtest(successes, n, chance).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: controls the chance of any false alarm (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[int(i)] = running
    return adjusted


def detectable_difference(n: int, rate: float, level: float = 0.95, power: float = 0.8) -> float:
    """Smallest paired accuracy difference found with the given power (normal approximation).

    Args:
        rate: Share of discordant pairs under no effect, e.g. ``2 c (1 - c)`` at chance ``c``.
    """
    z = stats.norm.ppf(0.5 + level / 2) + stats.norm.ppf(power)
    return float(z * np.sqrt(rate / n))


def recovery(
    *,
    original: Bool[np.ndarray, " _"],
    unlearned: Bool[np.ndarray, " _"],
    attacked: Bool[np.ndarray, " _"],
    control: Bool[np.ndarray, " _"],
    attacked_control: Bool[np.ndarray, " _"],
    seed: int,
) -> Recovery:
    """Difference in differences per question, and its share of the gap, by paired bootstrap.

        difference = mean[(attacked - unlearned) - (attacked control - control)]
        ratio      = difference / mean[original - unlearned]

    Args:
        original, unlearned, attacked, control, attacked_control: Whether each answer is right, on
            the same questions in the same order. For a sham control, ``control`` is ``unlearned``.

    Raises:
        ValueError: If the arrays differ in length.
    """
    arms = (original, unlearned, attacked, control, attacked_control)
    if len({len(a) for a in arms}) != 1:
        raise ValueError(f"paired arms differ in length: {[len(a) for a in arms]}")
    o, u, a, c, ac = (x.astype(float) for x in arms)
    net, gap = (a - u) - (ac - c), o - u
    n = len(net)
    nets, gaps = _means(net.tobytes(), seed), _means(gap.tobytes(), seed)
    gap_ci = _percentiles(gaps)
    ratio, ratio_ci = None, None
    if gap_ci[0] > 0:
        ratio = float(net.mean() / gap.mean())
        ratio_ci = _percentiles(nets / np.maximum(gaps, 1 / n))
    rate = max(float((control != unlearned).mean()), 2 * 0.25 * 0.75)
    return Recovery(
        difference=float(net.mean()),
        difference_ci=_percentiles(nets),
        ratio=ratio,
        ratio_ci=ratio_ci,
        gap=float(gap.mean()),
        gap_ci=gap_ci,
        p_value=mcnemar(attacked, attacked_control),
        detectable=detectable_difference(n, rate),
    )


@lru_cache(maxsize=2)
def _weights(n: int, seed: int) -> Float[np.ndarray, "draw n"]:
    """Share of each question in each bootstrap draw; all estimates of an audit use the same."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS) / n


@lru_cache(maxsize=8)
def _means(values: bytes, seed: int) -> Float[np.ndarray, " draw"]:
    """Bootstrap means of an array; all attacks on one model share the gap's."""
    x = np.frombuffer(values)
    return _weights(len(x), seed) @ x


def two_sided(successes: int, n: int, chance: float) -> float:
    """Exact binomial test of an accuracy against chance; below chance counts as well."""
    return _binomial(successes, n, chance)


def best_of_k(
    tried: Sequence[Bool[np.ndarray, " n"]], before: Bool[np.ndarray, " n"], *, seed: int
) -> float:
    """Whether the best of k settings gains more than the best of k would by luck.

        T_k = sum_i d_ik / sqrt(sum_i d_ik^2),  d_ik = tried_ik - before_i,  T = max_k T_k

    Under the null hypothesis attacked and unattacked answers to a question can be exchanged: one
    random sign per question, the same for all settings, gives the distribution of the maximum, with
    whatever correlation the settings have (the max-T permutation of Westfall and Young 1993).

    Returns:
        One-sided p-value, at least 1 / (1 + number of draws).

    Example:
        >>> before = np.zeros(40, bool)
        >>> best_of_k([before, np.arange(40) < 20], before, seed=0) < 0.001
        True
    """
    d = np.array(tried, dtype=np.int8).T - before.astype(np.int8)[:, None]
    scale = np.sqrt(np.maximum((d**2).sum(axis=0), 1))
    unique = (d / scale).astype(np.float32)
    observed = unique.sum(axis=0).max()
    null = (_signs(len(before), seed) @ unique).max(axis=1)
    return float((1 + (null >= observed - 1e-5).sum()) / (1 + FLIPS))


@lru_cache(maxsize=2)
def _signs(n: int, seed: int) -> Float[np.ndarray, "draw n"]:
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), size=(FLIPS, n))


def _percentiles(draws: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
