"""Is the power real that a report claims? ``python tests/benchmarks/power.py [AUDITS]``.

A report says: a gain of so much "would have been found in four of five such audits". Here audits
are simulated, one of whose sixteen attacks brings exactly that gain back, and counted how often the
whole rule finds it. One core, some minutes; ``tests/unit/test_stats.py`` runs one setting.
"""

import sys

import numpy as np
from error_rates import ATTACKS, DRAWS, Null

from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.contrasts import Before, nets
from mechunlearn.analysis.power import Planted, detectable
from mechunlearn.analysis.recovery import interval
from mechunlearn.analysis.tests import MaxT, max_t, sums_by_source

CLAIMS = 12
"""Audits whose claim is taken."""
SETTINGS = [
    Null(n, per, rho, unlearned, control, changing=0.3)
    for n, per, rho in ((40, 1, 0.0), (240, 1, 0.0), (240, 10, 0.1), (240, 20, 0.3), (1300, 1, 0.0))
    for unlearned, control in ((0.25, 0.25), (0.25, None), (0.55, 0.4), (0.55, None))
]


def audit(
    null: Null, rng: np.random.Generator, share: float
) -> tuple[list[list[np.ndarray]], MaxT, np.ndarray]:
    """Nets of every attack, their test, and what an answer can gain.

    Args:
        share: Of the answers that were lost: what the first attack brings back.
    """
    unlearned = null.answers(rng, null.unlearned)
    control = None if null.control is None else null.answers(rng, null.control)
    before = Before(np.ones(null.n), unlearned, control, null.sources)
    guessing = np.full(null.n, 0.25)
    columns = []
    for k in range(ATTACKS):
        attacked = null.again(rng, unlearned, null.unlearned)
        if k == 0:
            attacked = np.where(rng.random(null.n) < share, 1.0, attacked)
        sham = null.again(rng, unlearned, null.unlearned)
        after = None
        if control is not None and null.control is not None:
            after = null.again(rng, control, null.control)
        arm = Arms(attacked, attacked, sham, attacked, after, guessing=guessing)
        columns.append(list(nets(arm, before).values()))
    flat = np.array(columns).reshape(-1, null.n)
    test = max_t(sums_by_source(flat, null.sources), seed=0, draws=DRAWS)
    return columns, test, 1.0 - unlearned


def claimed_and_found(null: Null, audits: int, seed: int = 0) -> tuple[float, float]:
    """The mean gain that audits without an effect claim to find, and how often it is found."""
    rng, claims, found = np.random.default_rng(seed), [], []
    for _ in range(CLAIMS):
        columns, test, gains = audit(null, rng, 0.0)
        claim = detectable(Planted.of(columns[0], gains, null.sources), test.critical, seed)
        claims.append(claim)
        share = min(1.0, claim / float(gains.mean()))
        for _ in range(audits // CLAIMS):
            nets_of, attacked, _ = audit(null, rng, share)
            lows = [interval(net, null.sources, seed)[0] for net in nets_of[0]]
            adjusted = attacked.p_adjusted.reshape(ATTACKS, -1)[0].max()
            found.append(bool(adjusted < 0.05 and min(lows) > 0))
    return float(np.mean(claims)), float(np.mean(found))


if __name__ == "__main__":
    audits = int(sys.argv[1]) if len(sys.argv) > 1 else 240
    sys.stdout.write("n, a source, correlation, unlearned, control: gain claimed, share found\n")
    for null in SETTINGS:
        claim, found = claimed_and_found(null, audits)
        about = (null.n, null.per_source, null.correlation, null.unlearned, null.control)
        sys.stdout.write(f"{about}  {claim:.3f}  {found:.3f}\n")
        sys.stdout.flush()
