"""How often a model that never knew exceeds several others.

Run with ``python tests/benchmarks/between_models.py``.

Attacks that teach take every model to an accuracy of its own, around 55 %. ``rho`` is the share of
a model's speed that all attacks have in common. A false alarm is that any attack on the model that
nobody hid anything in exceeds the spread of its controls, after correction; found is the same of a
model that answers 35 points more.
"""

import sys
from collections.abc import Sequence

import numpy as np

from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.between import between_controls, gains_of, spread_of

N, RUNS = 240, 300
CASES = ((2, 1, 4), (2, 3, 7), (2, 5, 5), (2, 10, 30), (3, 3, 7), (3, 10, 30), (4, 3, 7))
"""Controls, attacks that teach, all attacks."""


def alarmed(
    case: tuple[int, int, int], deviations: Sequence[float], rho: float, effect: float, seed: int
) -> bool:
    """Whether one simulated audit says that something was there."""
    (controls, teaching, attacks), rng = case, np.random.default_rng(seed)

    def answered(rate: float) -> np.ndarray:
        return (rng.random(N) < rate).astype(float)

    unlearned, before = answered(0.25), [answered(0.25) for _ in range(controls)]
    shared, nobody, arms = rng.standard_normal(controls + 1), np.zeros(N), []
    for attack in range(teaching):
        own = rng.standard_normal(controls + 1)
        speed = np.sqrt(rho) * shared + np.sqrt(1 - rho) * own
        rates = np.clip(0.55 + deviations[attack % len(deviations)] * speed, 0.02, 0.98)
        attacked = answered(min(0.98, rates[0] + effect))
        after = tuple(map(answered, rates[1:]))
        still = (nobody, nobody, nobody, None, nobody)
        arms.append(Arms(attacked, *still, controls=after, taught=True))
    gains = [gains_of(arm, before) or [] for arm in arms]
    found = [
        between_controls(
            arm, own, (unlearned, before), np.arange(N), spread_of(gains), n_attacks=attacks
        )
        for arm, own in zip(arms, gains, strict=True)
    ]
    return any(c.p_adjusted < 0.05 and c.difference_ci[0] > 0 for c in found)


def main() -> None:
    """Print the table."""
    sys.stdout.write(
        "| controls, teaching attacks, all | deviations | rho | false alarms | found |\n"
    )
    sys.stdout.write("|---|---|---|---|---|\n")
    for case in CASES:
        for deviations in ((0.12,), (0.2, 0.03, 0.03)):
            for rho in (0.0, 0.5, 0.9):
                rates = [
                    np.mean([alarmed(case, deviations, rho, e, s) for s in range(RUNS)])
                    for e in (0.0, 0.35)
                ]
                sys.stdout.write(
                    f"| {', '.join(map(str, case))} | {', '.join(map(str, deviations))} | {rho} | "
                    f"{rates[0]:.1%} | {rates[1]:.0%} |\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
