"""Statistics against hand-computed values and simulated truth."""

import numpy as np
import pytest

from mechunlearn.analysis.recovery import recovery
from mechunlearn.analysis.tests import detectable_difference, holm, mcnemar
from mechunlearn.stats import binomial_p, mean_interval, wilson


def bools(*counts: tuple[int, int]) -> np.ndarray:
    return np.concatenate([np.full(n, bool(v)) for v, n in counts])


def test_wilson_by_hand() -> None:
    n, k, z = 40, 12, 1.959963984540054
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(k, n) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert wilson(0, 10)[0] == 0.0


def test_a_mean_of_values_has_an_interval_as_a_proportion_has() -> None:
    right = np.arange(40) < 12
    assert mean_interval(right) == mean_interval(right.astype(float)) == wilson(12, 40)
    assert mean_interval(np.full(40, 0.3)) == pytest.approx(wilson(12, 40))


def test_binomial_counts_both_directions() -> None:
    assert binomial_p(25, 100, 0.25) == pytest.approx(1.0)
    assert binomial_p(5, 100, 0.25) < 1e-5
    assert binomial_p(60, 100, 0.25) < 1e-5


def test_mcnemar_by_hand() -> None:
    a, b = bools((1, 8), (0, 2), (1, 30)), bools((0, 8), (1, 2), (1, 30))
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(a, a) == 1.0


def test_holm_is_monotone_and_capped() -> None:
    adjusted = holm([0.5, 0.01, 0.4, 0.02])
    assert adjusted == pytest.approx([0.8, 0.04, 0.8, 0.06])


def test_recovery_by_hand() -> None:
    n = 100
    yes, no = np.ones(n, bool), np.zeros(n, bool)
    half = np.arange(n) < 50
    found = recovery(
        original=yes, unlearned=no, attacked=half, control=no, attacked_control=no, seed=0
    )
    assert (found.difference, found.ratio, found.gap) == (0.5, 0.5, 1.0)
    assert found.ratio_ci is not None
    assert 0.38 < found.ratio_ci[0] < 0.5 < found.ratio_ci[1] < 0.62
    assert found.p_value < 1e-10


def test_graded_values_are_means_and_are_tested_as_right_above_one_half() -> None:
    n = 80
    full, none = np.ones(n), np.zeros(n)
    arms = {"original": full, "unlearned": none, "control": none, "attacked_control": none}
    low = recovery(**arms, attacked=np.full(n, 0.4), seed=0)
    assert low.difference == pytest.approx(0.4)
    assert low.p_value == 1.0
    assert recovery(**arms, attacked=np.full(n, 0.6), seed=0).p_value < 1e-10
    right = {name: values > 0.5 for name, values in arms.items()}
    half = np.arange(n) < 30
    assert recovery(**right, attacked=half, seed=1) == recovery(
        **arms, attacked=half.astype(float), seed=1
    )


def test_what_the_control_gains_does_not_count() -> None:
    n = 200
    yes, no, half = np.ones(n, bool), np.zeros(n, bool), np.arange(n) % 2 == 0
    found = recovery(
        original=yes, unlearned=no, attacked=half, control=no, attacked_control=half, seed=0
    )
    assert found.difference == 0.0
    assert found.p_value == 1.0


def test_no_ratio_without_a_gap() -> None:
    n = 60
    same, other = np.arange(n) % 2 == 0, np.arange(n) % 3 == 0
    found = recovery(
        original=same, unlearned=same, attacked=other, control=same, attacked_control=same, seed=0
    )
    assert found.ratio is None
    assert found.ratio_ci is None


def test_intervals_cover_the_truth() -> None:
    rng, hits = np.random.default_rng(0), 0
    for seed in range(25):
        n = 150
        arms = {k: rng.random(n) < p for k, p in (("original", 0.9), ("unlearned", 0.3))}
        attacked, control, after = (rng.random(n) < p for p in (0.6, 0.3, 0.35))
        found = recovery(
            **arms, attacked=attacked, control=control, attacked_control=after, seed=seed
        )
        hits += found.difference_ci[0] <= 0.25 <= found.difference_ci[1]
    assert hits >= 21


def test_same_seed_same_numbers_and_unequal_arms_are_refused() -> None:
    x, y = np.arange(50) % 2 == 0, np.arange(50) % 3 == 0
    arms = {"original": x, "unlearned": y, "attacked": x, "control": y, "attacked_control": y}
    assert recovery(**arms, seed=4) == recovery(**arms, seed=4)
    with pytest.raises(ValueError, match="differ in length"):
        recovery(**{**arms, "original": x[:-1]}, seed=4)


def test_more_questions_detect_less() -> None:
    assert detectable_difference(400, 0.375) == pytest.approx(detectable_difference(100, 0.375) / 2)
