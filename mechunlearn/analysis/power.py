"""What an audit would have found: recovery planted in its own answers, through the whole rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechunlearn.analysis.records import Row
from mechunlearn.analysis.tests import Sources, sums_by_source
from mechunlearn.stats import Values

DRAWS = 200
"""Simulated audits."""
STEPS = 7
"""Bisections of the planted share: it is exact to 1/128."""
POWER = 0.8
WON = 2.0
"""A hurdle whose statistic is above this is taken as it is; of others only the noise is taken."""
INTERVAL = 1.96


@dataclass(frozen=True, slots=True)
class Planted:
    """One attack's answers with nothing brought back, and what an answer can gain."""

    sums: Float[np.ndarray, "contrast source"]
    """Net values without an effect."""
    gains: Values
    """What an item gains when it is answered as the original does."""
    sources: Sources

    @classmethod
    def of(cls, nets: Sequence[Values], gains: Values, sources: Sources) -> "Planted":
        """The audit's own net values, without what may be an effect.

        The first contrast is what is estimated: its mean is taken away. So is a hurdle's that was
        not clearly won, for it may be missed in another sample.
        """
        n = len(gains)
        facts = np.arange(len(sources)) < n
        centred = [
            net - facts * net.sum() / n if i == 0 or _t(sums_by_source(net, sources)) < WON else net
            for i, net in enumerate(nets)
        ]
        return cls(sums_by_source(np.array(centred), sources), gains, sources)

    def power(self, share: float, critical: float, seed: int) -> float:
        """Share of simulated audits that find it when a share of the items is brought back.

        Each audit draws sources with replacement and the items that come back, one by one.
        """
        rng = np.random.default_rng(seed)
        n = self.sums.shape[1]
        weights = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)
        back = np.zeros((DRAWS, len(self.sources)))
        facts = len(self.gains)  # Nothing is planted in twin questions, which stand behind them.
        back[:, :facts] = (rng.random((DRAWS, facts)) < share) * self.gains
        planted = self.sums[:, None] + sums_by_source(back, self.sources)
        total, square = (weights * planted).sum(axis=2), (weights * planted**2).sum(axis=2)
        t = total / np.sqrt(np.maximum(square, 1e-12))
        student = t / np.sqrt(np.maximum(1 - t**2 / n, 1e-12))
        return float(((t > critical) & (student > INTERVAL)).all(axis=0).mean())


def detectable(planted: Planted, critical: float, seed: int) -> float:
    """The smallest mean gain that is found in four of five simulated audits; 1 where none is.

    Args:
        critical: What every contrast's statistic has to exceed; see ``max_t``.
    """
    mean = float(planted.gains.mean())
    if not np.isfinite(critical) or planted.power(1.0, critical, seed) < POWER:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if planted.power(middle, critical, seed) < POWER:
            low = middle
        else:
            high = middle
    return high * mean


def weakest(rows: Sequence[Row]) -> Row:
    """The attack that needs the largest gain to be found: what all of them would have found.

    Asking in another form finds what is open, so that what it would have found limits nothing.
    """
    return max(rows, key=lambda row: (not row.only_asks, row.detectable))


def _t(sums: Float[np.ndarray, " source"]) -> float:
    return float(sums.sum() / np.sqrt(max(float((sums**2).sum()), 1e-12)))
