"""Paired tests: do two models answer the same questions equally well?"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from mechunlearn.stats import Values, binomial_p

FLIPS = 2_000
"""Draws of the permutation test."""


def mcnemar(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> float:
    """Exact two-sided McNemar test that two paired accuracies are equal (McNemar 1947).

    Only questions where exactly one is right count; without any the p-value is 1.
    """
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    return binomial_p(only_a, only_a + only_b, 0.5) if only_a + only_b else 1.0


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


def best_of_k(tried: Sequence[Values], before: Values, *, seed: int) -> float:
    """Whether the best of k variants gains more than the best of k would by luck.

        T_k = sum_i d_ik / sqrt(sum_i d_ik^2),  d_ik = tried_ik - before_i,  T = max_k T_k

    Under the null hypothesis attacked and unattacked answers to a question can be exchanged: one
    random sign per question, the same for all variants, gives the distribution of the maximum, with
    whatever correlation the variants have (the max-T permutation of Westfall and Young 1993).

    Returns:
        One-sided p-value, at least 1 / (1 + number of draws).

    Example:
        >>> before = np.zeros(40, bool)
        >>> best_of_k([before, np.arange(40) < 20], before, seed=0) < 0.001
        True
    """
    d = np.array(tried, dtype=float).T - before.astype(float)[:, None]
    scale = np.sqrt(np.maximum((d**2).sum(axis=0), 1))
    unique = (d / scale).astype(np.float32)
    observed = unique.sum(axis=0).max()
    null = (_signs(len(before), seed) @ unique).max(axis=1)
    return float((1 + (null >= observed - 1e-5).sum()) / (1 + FLIPS))


@lru_cache(maxsize=2)
def _signs(n: int, seed: int) -> Float[np.ndarray, "draw n"]:
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), size=(FLIPS, n))
