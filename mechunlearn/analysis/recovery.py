"""How much of what was lost an attack brings back, net of its control."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from mechunlearn.analysis.tests import detectable_difference, mcnemar
from mechunlearn.stats import GRADED, Values

DRAWS = 10_000
"""Bootstrap draws."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How much of the forgotten knowledge an attack brought back, net of its control."""

    difference: float
    """[attacked - unlearned] - [attacked control - control], of mean values."""
    difference_ci: tuple[float, float]
    ratio: float | None
    """``difference`` as a share of the gap; ``None`` where the gap's interval covers 0."""
    ratio_ci: tuple[float, float] | None
    gap: float
    """Original minus unlearned."""
    gap_ci: tuple[float, float]
    p_value: float
    """McNemar's exact p of the attacked model against the attacked control."""
    detectable: float
    """Smallest difference that a test of this size finds with 80 % power."""


def recovery(
    *,
    original: Values,
    unlearned: Values,
    attacked: Values,
    control: Values,
    attacked_control: Values,
    seed: int,
) -> Recovery:
    """Difference in differences per question, and its share of the gap, by paired bootstrap.

        difference = mean[(attacked - unlearned) - (attacked control - control)]
        ratio      = difference / mean[original - unlearned]

    Args:
        original, unlearned, attacked, control, attacked_control: What each answer is worth, on the
            same questions in the same order. For a sham control, ``control`` is ``unlearned``.

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
    rate = max(float(((c > GRADED) != (u > GRADED)).mean()), 2 * 0.25 * 0.75)
    return Recovery(
        difference=float(net.mean()),
        difference_ci=_percentiles(nets),
        ratio=ratio,
        ratio_ci=ratio_ci,
        gap=float(gap.mean()),
        gap_ci=gap_ci,
        p_value=mcnemar(a > GRADED, ac > GRADED),
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


def _percentiles(draws: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
