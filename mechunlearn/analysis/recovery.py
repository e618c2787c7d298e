"""How much of what was lost an attack brings back, net of what it is compared with."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from mechunlearn.analysis.tests import Sources, sums_by_source
from mechunlearn.records import Interval
from mechunlearn.stats import Values, wilson

DRAWS = 10_000
"""Bootstrap draws."""
ROUNDING = 1e-9
"""Draws closer than this are the same."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How much of the forgotten knowledge an attack brought back."""

    difference: float
    """Mean net value."""
    difference_ci: Interval
    ratio: float | None
    """``difference`` as a share of the gap; ``None`` where the gap's interval covers 0."""
    ratio_ci: Interval | None
    gap: float
    """Original minus unlearned."""
    gap_ci: Interval


def recovery(*, net: Values, gap: Values, sources: Sources, seed: int) -> Recovery:
    """A mean net value and its share of the gap, by paired bootstrap of whole sources.

        difference = mean[net],     ratio = difference / mean[original - unlearned]

    Questions of one source share facts, so that the sources are drawn and not the questions (the
    cluster bootstrap, Davison and Hinkley 1997, section 3.8).

    Args:
        net: What each answer gained, net of a control; what twin questions gained stands behind.
        gap: What each answer lost by unlearning.
        sources: Of ``net``.

    Raises:
        ValueError: If the arrays differ in length.
    """
    n = len(gap)
    if len(net) != len(sources) or len(net) < n:
        raise ValueError(
            f"paired arms differ in length: {[len(net), len(gap), len(sources)]}; give values of "
            "the same questions in the same order"
        )
    nets, gaps = _strata(net, sources, seed, n), bootstrap(gap, sources[:n], seed)
    difference = float(net.sum() / n if n < len(net) else net.mean())
    gap_ci = _percentiles(gaps, n)
    ratio, ratio_ci = None, None
    if gap_ci[0] > 0:
        ratio = difference / float(gap.mean())
        shares = nets / np.maximum(gaps, 1 / n)
        # Where no answer changed, the gap alone would make its share look certain.
        ratio_ci = _percentiles(shares, n, 1 / float(gap.mean()))
    return Recovery(
        difference=difference,
        difference_ci=_percentiles(nets, n),
        ratio=ratio,
        ratio_ci=ratio_ci,
        gap=float(gap.mean()),
        gap_ci=gap_ci,
    )


def interval(values: Values, sources: Sources, seed: int, n: int | None = None) -> Interval:
    """95 % interval of a mean, by bootstrap of whole sources.

    Args:
        n: Items whose mean it is; those behind them are twin questions, which are drawn apart.
    """
    n = n or len(values)
    return _percentiles(_strata(values, sources, seed, n), n)


def _strata(values: Values, sources: Sources, seed: int, n: int) -> Float[np.ndarray, " draw"]:
    """Bootstrap means over the first ``n`` items, with what the twin questions behind them add."""
    means = bootstrap(values[:n], sources[:n], seed)
    if n == len(values):
        return means
    twins = bootstrap(values[n:], sources[n:] - sources[n:].min(), seed + 1)
    return means + twins * (len(values) - n) / n


def bootstrap(values: Values, sources: Sources, seed: int) -> Float[np.ndarray, " draw"]:
    """Means of the values over resampled sources; all estimates of an audit use the same draws.

    Of one source alone the questions are drawn: drawn again and again it would look certain.
    """
    if not sources.any():
        sources = np.arange(len(values))
    return _means(values.astype(float).tobytes(), sources.tobytes(), seed)


@lru_cache(maxsize=2)
def _weights(n: int, seed: int) -> Float[np.ndarray, "draw source"]:
    """Share of each source in each bootstrap draw."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS) / n


@lru_cache(maxsize=8)
def _means(values: bytes, sources: bytes, seed: int) -> Float[np.ndarray, " draw"]:
    """Bootstrap means of an array; all attacks on one model share the gap's."""
    x, of = np.frombuffer(values), np.frombuffer(sources, dtype=int)
    sums, sizes = sums_by_source(x, of), np.bincount(of)
    weights = _weights(len(sizes), seed)
    return weights @ sums if len(sizes) == len(x) else (weights @ sums) / (weights @ sizes)


def _percentiles(draws: Float[np.ndarray, " draw"], n: int, unit: float = 1.0) -> Interval:
    """95 % of the draws; where all are the same, as wide as Wilson's interval of 0 out of ``n``.

    Args:
        n: Questions.
        unit: What a question more is worth, times ``n``.
    """
    low, high = np.percentile(draws, [2.5, 97.5])
    if draws.max() - draws.min() < ROUNDING:
        least = unit * wilson(0, n)[1]
        return max(-unit, float(low) - least), min(unit, float(high) + least)
    return float(low), float(high)
