"""How much one never-knew model differs from the next: one of them is one draw.

    g = mean[attacked - unlearned],   g_k = mean[attacked control_k - control_k],   k = 1 .. K
    D = g - mean_k g_k,   s^2 = var(g_k)
    t = D / sqrt(s^2 (1 + 1/K) + se(g)^2)

A model that never knew and is taught facts would differ from the controls' mean by that much:
models learn at different speeds, so that one may answer more than a control that was taught the
same. ``s^2`` is the larger of the attack's own and the mean over all attacks that teach, so that
two controls which agree by luck under one attack do not stand for a spread of nothing; it holds
what sampling questions adds as well. ``t`` has Satterthwaite's degrees of freedom, near m (K - 1)
for m such attacks where the spread decides: two controls say little. By simulation, with a standard
deviation of 3 to 20 points between models, 240 questions, two to four controls and one to ten such
attacks whose speeds are unrelated to nearly the same, never-knew suspects exceed their controls by
any attack in 0 to 6 % of audits (``tests/benchmarks/between_models.py``). Attacks that state no
forget facts have nothing to teach and are not held against it.

Reference:
    Satterthwaite 1946; prediction of a further draw in a one-way layout with random effects,
    Searle, Casella and McCulloch 1992, section 3.6.
    Differs: p is adjusted for the number of attacks by Bonferroni, since the attacks' spreads on
    the same few models say nothing of their correlation; by ``LEAST`` at least, since Satterthwaite
    is too bold for two controls under one attack.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Spread:
    """How much the gains of never-knew models differ, over all attacks that teach."""

    variance: float
    """Mean over the attacks."""
    freedom: int


def spread_of(gains: Sequence[Sequence[float]]) -> Spread:
    """The spread of the controls' gains.

    Args:
        gains: Of at least two controls, for each attack that teaches; there may be none.
    """
    total = sum(float(np.var(of, ddof=1)) for of in gains)
    return Spread(total / max(1, len(gains)), sum(len(of) - 1 for of in gains))


def gains_of(arms: Arms, controls: Sequence[Values]) -> list[float] | None:
    """What each control gained; ``None`` for fewer than two, or an attack that teaches nothing.

    Args:
        controls: Answers without any attack.
    """
    if len(arms.controls) < 2 or not arms.taught:
        return None
    return [float((a - b).mean()) for a, b in zip(arms.controls, controls, strict=True)]


def between_controls(
    arms: Arms,
    gains: Sequence[float],
    before: tuple[Values, Sequence[Values]],
    sources: Sources,
    spread: Spread,
    n_attacks: int,
) -> Contrast:
    """The difference in differences beside the spread of the controls.

    Args:
        gains: Of the controls (``gains_of``).
        before: Answers of the unlearned model and of the controls without any attack.
        spread: Of all attacks that teach.
        n_attacks: Attacks on the same model.
    """
    (unlearned, controls), n = before, len(gains)
    gained = arms.attacked - unlearned
    below = max(0.0, float(np.mean(controls) - unlearned.mean()))  # As in ``contrasts.nets``.
    difference = float(gained.mean() - np.mean(gains)) - below
    error = _variance(gained, sources)
    models = max(float(np.var(gains, ddof=1)), spread.variance) * (1 + 1 / n)
    total = error + models
    if total == 0:
        p, half = (0.0 if difference > 0 else 1.0), 0.0
    else:
        n_sources = int(sources.max()) + 1
        freedom = total**2 / (models**2 / spread.freedom + error**2 / max(1, n_sources - 1))
        p = float(stats.t.sf(difference / math.sqrt(total), freedom))
        half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(total)
    return Contrast(
        against="spread",
        level=short(float(arms.attacked.mean()) - difference),
        difference=short(difference),
        difference_ci=short_interval((difference - half, difference + half)),
        p=short(p),
        p_adjusted=short(min(1.0, max(LEAST, n_attacks) * p)),
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
