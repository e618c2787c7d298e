"""Paired tests: do two models answer the same questions equally well?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from mechunlearn.stats import Values, binomial_p

Sources: TypeAlias = Int[np.ndarray, " item"]
"""Which source each question belongs to, from 0 without a gap."""
Sums: TypeAlias = Float[np.ndarray, "*rows source"]
FLIPS = 2_000
"""Draws of the permutation test of the best variant."""
SIGNS = 10_000
"""Draws of the sign-flip test."""
EXACT = 12
"""Up to so many sources every vector of signs is counted."""
SLACK = 1e-4
"""Statistics closer than this are equal: they are sums in float32."""


def mcnemar(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> float:
    """Exact two-sided McNemar test that two paired accuracies are equal (McNemar 1947).

    Only questions where exactly one is right count; without any the p-value is 1.
    """
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    return binomial_p(only_a, only_a + only_b, 0.5) if only_a + only_b else 1.0


def sums_by_source(values: Float[np.ndarray, "*rows item"], sources: Sources) -> Sums:
    """What each source adds up to.

    Example:
        >>> sums_by_source(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1])).tolist()
        [3.0, 3.0]
    """
    n = int(sources.max()) + 1
    if n == len(sources):  # A source an item, numbered in order.
        return values
    order = np.argsort(sources, kind="stable")
    starts = np.searchsorted(sources[order], np.arange(n))
    return np.add.reduceat(values[..., order], starts, axis=-1)


@dataclass(frozen=True, slots=True)
class MaxT:
    """The test of several columns of net values, and of all of them together."""

    p: Float[np.ndarray, " column"]
    """One-sided, that a column's mean is above 0."""
    p_adjusted: Float[np.ndarray, " column"]
    """The same, for the largest of all columns."""
    critical: float
    """What a statistic has to exceed for an adjusted p below the level; ``inf`` where the sources
    are too few for that."""


def max_t(
    sums: Float[np.ndarray, "column source"],
    seed: int,
    *,
    level: float = 0.05,
    draws: int = SIGNS,
) -> MaxT:
    """Whether columns of net values are above 0, by flipping the signs of whole sources.

        T_k = sum_s x_sk / sqrt(sum_s x_sk^2),   null: x_sk -> e_s x_sk,  e_s = -1 or 1
        p_k = P(T_k* >= T_k),   adjusted p_k = P(max_j T_j* >= T_k)

    All columns take the same signs, so that the maximum has their correlation (Westfall and Young
    1993, single-step max-T). ``T`` is a monotone function of the t statistic with the flips' own
    variance, so it is studentised: that makes the test of a mean hold, in large samples, also where
    the net values are not symmetric (Janssen 1997). Up to ``EXACT`` sources all signs are counted,
    else ``draws`` are drawn and the observed ones count among them, so that no p is 0. A column of
    zeros has p = 1.

    Args:
        sums: Net values, added up within each source.

    Example:
        >>> tested = max_t(np.array([[1.0] * 20, [0.0] * 20]), seed=0)
        >>> tested.p_adjusted.tolist()
        [9.999000099990002e-05, 1.0]
    """
    scale = np.sqrt((sums**2).sum(axis=1, keepdims=True))
    unit = np.divide(sums, scale, out=np.zeros_like(sums, dtype=float), where=scale > 0)
    unit = unit.astype(np.float32)
    observed = unit.sum(axis=1) - SLACK
    signs, exact = _all_signs(sums.shape[1], seed, draws)
    null = signs @ unit.T
    extra = 0 if exact else 1
    top = np.sort(null.max(axis=1))
    above = len(top) - np.searchsorted(top, observed, side="left")
    allowed = int(np.ceil(level * (len(top) + extra))) - 1 - extra
    return MaxT(
        p=(extra + (null >= observed).sum(axis=0)) / (extra + len(null)),
        p_adjusted=(extra + above) / (extra + len(top)),
        critical=float(top[-1 - allowed]) + SLACK if allowed >= 1 - extra else float("inf"),
    )


@lru_cache(maxsize=2)
def _all_signs(n: int, seed: int, draws: int) -> tuple[Float[np.ndarray, "draw source"], bool]:
    """Every vector of signs, or drawn ones; and whether it is every one."""
    if n <= EXACT:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return (1 - 2 * bits).astype(np.float32), True
    drawn = np.random.default_rng(seed).integers(0, 2, size=(draws, n), dtype=np.int8)
    return (1 - 2 * drawn).astype(np.float32), False


def best_of_k(tried: Sequence[Values], before: Values, sources: Sources, *, seed: int) -> float:
    """Whether the best of k variants gains more than the best of k would by luck.

    The variants' gains are the columns of ``max_t``, so that one sign per source gives the
    distribution of the maximum, with whatever correlation variants and questions have.

    Returns:
        One-sided p-value, at least 1 / (1 + number of draws).

    Example:
        >>> before = np.zeros(40, bool)
        >>> best_of_k([before, np.arange(40) < 20], before, np.arange(40), seed=0) < 0.001
        True
    """
    gains = np.array(tried, dtype=float) - before.astype(float)
    return float(max_t(sums_by_source(gains, sources), seed, draws=FLIPS).p_adjusted.min())
