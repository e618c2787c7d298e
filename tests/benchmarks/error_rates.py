"""False alarms of the whole test by simulation: ``python tests/benchmarks/error_rates.py``.

Sixteen attacks that only guess again, on models and controls of any accuracy, with questions that
share sources. What is counted is the family-wise error: how often an adjusted p below 0.05 is found
on any attack. Two columns: with every contrast at its null, and with the hurdles (sham, guessing)
far below the attack, which is the worst case: then only the first contrast protects. One core, a
few minutes; ``tests/unit/test_error_rates.py`` runs some of it.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.contrasts import Before, nets
from mechunlearn.analysis.tests import max_t, sums_by_source

ATTACKS = 16
DRAWS = 999
"""Of the signs: enough for a p of 0.05."""
RATES = (0.25, 0.4, 0.55, 0.7, 0.85)
SIZES = ((40, 1, 0.0), (40, 4, 0.3), (240, 1, 0.0), (240, 10, 0.1), (240, 20, 0.3), (1300, 1, 0.0),
         (1300, 20, 0.3))  # fmt: skip
"""Questions, questions a source, and the correlation of answers within one."""


@dataclass(frozen=True)
class Null:
    """One situation without any effect."""

    n: int
    per_source: int
    correlation: float
    unlearned: float
    control: float | None
    """Accuracy of the never-knew model; ``None``: there is none."""
    changing: float = 1.0
    """Share of the answers that an attack gives anew."""

    @property
    def sources(self) -> np.ndarray:
        """Which source each question belongs to."""
        return np.arange(self.n) // self.per_source

    def answers(self, rng: np.random.Generator, rate: float) -> np.ndarray:
        """Right or wrong, with a common part in each source."""
        common = rng.standard_normal(self.sources.max() + 1)[self.sources]
        own = rng.standard_normal(self.n)
        z = np.sqrt(self.correlation) * common + np.sqrt(1 - self.correlation) * own
        return (z < stats.norm.ppf(rate)).astype(float)

    def again(self, rng: np.random.Generator, answers: np.ndarray, rate: float) -> np.ndarray:
        """Some of the answers anew, at the same rate."""
        anew = rng.random(self.n) < self.changing
        return np.where(anew, self.answers(rng, rate), answers)


def alarms(null: Null, runs: int, *, easy: bool, seed: int = 0) -> float:
    """Share of audits with a false alarm on any attack.

    Args:
        easy: Sham and guessing far below the attacks.
    """
    rng, found = np.random.default_rng(seed), 0
    for _ in range(runs):
        u = null.answers(rng, null.unlearned)
        c = None if null.control is None else null.answers(rng, null.control)
        before = Before(np.ones(null.n), u, c, null.sources)
        columns = []
        for _ in range(ATTACKS):
            sham = np.zeros(null.n) if easy else null.again(rng, u, null.unlearned)
            guessing = np.full(null.n, 0.0 if easy else null.unlearned)
            after = None if c is None or null.control is None else null.again(rng, c, null.control)
            attacked = null.again(rng, u, null.unlearned)
            arm = Arms(attacked, attacked, sham, attacked, after, guessing=guessing)
            columns.append(list(nets(arm, before).values()))
        flat = np.array(columns).reshape(-1, null.n)
        test = max_t(sums_by_source(flat, null.sources), seed=0, draws=DRAWS)
        found += bool((test.p_adjusted.reshape(ATTACKS, -1).max(axis=1) < 0.05).any())
    return found / runs


def situations() -> Iterator[Null]:
    """Equal and unequal baselines, with and without a control, at every size."""
    for n, per, rho in SIZES:
        for unlearned in RATES:
            yield Null(n, per, rho, unlearned, None)
        for unlearned, control in ((0.25, 0.25), (0.25, 0.85), (0.85, 0.25), (0.55, 0.4),
                                   (0.4, 0.55), (0.85, 0.85)):  # fmt: skip
            yield Null(n, per, rho, unlearned, control)


if __name__ == "__main__":
    say = sys.stdout.write
    say("n, a source, correlation, unlearned, control: all at null, only the first at null\n")
    for null in situations():
        runs = int(sys.argv[1]) if len(sys.argv) > 1 else 400
        rates = [alarms(null, runs, easy=easy) for easy in (False, True)]
        about = (null.n, null.per_source, null.correlation, null.unlearned, null.control)
        say(f"{about}  {rates[0]:.3f}  {rates[1]:.3f}\n")
