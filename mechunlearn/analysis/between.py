"""How much one never-knew model differs from the next: one of them is one draw.

    g = mean[attacked - unlearned],   g_k = mean[attacked control_k - control_k],   k = 1 .. K
    D = g - mean_k g_k,   s^2 = var(g_k)
    t = D / sqrt(s^2 (1 + 1/K) + se(g)^2)

A model that never knew and is taught facts would differ from the controls' mean by that much:
models learn at different speeds, so that one may answer more than a control that was taught the
same. ``s^2`` holds what sampling questions adds as well; taking that away would let two controls
that agree by luck stand for a spread of nothing. ``t`` has Satterthwaite's degrees of freedom, near
K - 1 where the spread decides: two controls say little. By simulation, with a standard deviation of
10 to 15 points between models, 240 questions and one attack, never-knew suspects exceed two
controls in 5 %, three in 2.5 % of audits. Attacks that state no forget facts have nothing to teach
and are not held against it.

Reference:
    Satterthwaite 1946; prediction of a further draw in a one-way layout with random effects,
    Searle, Casella and McCulloch 1992, section 3.6.
    Differs: p is adjusted for the number of attacks by Bonferroni, since the attacks' spreads on
    the same few models say nothing of their correlation; by ``LEAST`` at least, since Satterthwaite
    is too bold for two controls.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.records import Contrast
from mechunlearn.analysis.rounding import short, short_interval
from mechunlearn.analysis.tests import Sources, sums_by_source
from mechunlearn.stats import Values

POWER = 0.8
LEAST = 4
"""Attacks for which p is adjusted at least."""


def between_controls(
    arms: Arms, unlearned: Values, controls: Sequence[Values], sources: Sources, n_attacks: int
) -> tuple[Contrast, ...]:
    """The difference in differences beside the spread of the controls.

    Args:
        unlearned, controls: Answers without any attack.
        n_attacks: Attacks on the same model.

    Returns:
        Nothing for fewer than two controls, or an attack that teaches nothing.
    """
    n = len(arms.controls)
    if n < 2 or not arms.taught:
        return ()
    gains = [float((a - b).mean()) for a, b in zip(arms.controls, controls, strict=True)]
    gained = arms.attacked - unlearned
    below = max(0.0, float(np.mean(controls) - unlearned.mean()))  # As in ``contrasts.nets``.
    difference = float(gained.mean() - np.mean(gains)) - below
    error = _variance(gained, sources)
    models = float(np.var(gains, ddof=1)) * (1 + 1 / n)
    total = error + models
    if total == 0:
        p, half = (0.0 if difference > 0 else 1.0), 0.0
    else:
        n_sources = int(sources.max()) + 1
        freedom = total**2 / (models**2 / (n - 1) + error**2 / max(1, n_sources - 1))
        p = float(stats.t.sf(difference / math.sqrt(total), freedom))
        half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(total)
    return (
        Contrast(
            against="spread",
            level=short(float(arms.attacked.mean()) - difference),
            difference=short(difference),
            difference_ci=short_interval((difference - half, difference + half)),
            p=short(p),
            p_adjusted=short(min(1.0, max(LEAST, n_attacks) * p)),
        ),
    )


def detectable_between(contrast: Contrast) -> float:
    """About the smallest gain that clears the spread: its interval's half, and as much power."""
    low, high = contrast.difference_ci
    half = (high - low) / 2
    return min(1.0, half * (1 + float(stats.norm.ppf(POWER)) / float(stats.norm.ppf(0.975))))


def _variance(values: Values, sources: Sources) -> float:
    """Of a mean, by sources."""
    sums = sums_by_source(values - values.mean(), sources)
    n = len(sums)
    return float((sums**2).sum()) / len(values) ** 2 * (n / max(1, n - 1))
