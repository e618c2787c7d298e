"""Statistics against hand-computed values and simulated truth."""

import numpy as np
import pytest

from mechunlearn.analysis.power import Planted, detectable
from mechunlearn.analysis.recovery import Recovery, interval, recovery
from mechunlearn.analysis.tests import max_t, mcnemar, sums_by_source
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


def test_values_of_one_source_say_as_much_as_one() -> None:
    """A19: of 12 sources that each answer all their 20 questions alike there are 12 values."""
    sources = np.repeat(np.arange(12), 20)
    alike = np.repeat(np.arange(12) < 6, 20).astype(float)
    low, high = mean_interval(alike, sources)
    assert (low, high) == pytest.approx(wilson(6, 12), abs=0.03)
    assert high - low > 1.05 * (wilson(6, 12)[1] - wilson(6, 12)[0])  # 12 say little of variance.
    apart = np.random.default_rng(0).permutation(alike)
    assert mean_interval(apart, sources)[0] == pytest.approx(wilson(120, 240)[0], abs=0.02)
    assert mean_interval(alike, np.arange(240)) == wilson(120, 240)
    assert mean_interval(alike, np.zeros(240, int)) == wilson(120, 240)


def test_binomial_counts_both_directions() -> None:
    assert binomial_p(25, 100, 0.25) == pytest.approx(1.0)
    assert binomial_p(5, 100, 0.25) < 1e-5
    assert binomial_p(60, 100, 0.25) < 1e-5


def test_mcnemar_by_hand() -> None:
    a, b = bools((1, 8), (0, 2), (1, 30)), bools((0, 8), (1, 2), (1, 30))
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(a, a) == 1.0


def apart(n: int) -> np.ndarray:
    """Every item a source of its own."""
    return np.arange(n)


def net_recovery(
    *,
    original: np.ndarray,
    unlearned: np.ndarray,
    attacked: np.ndarray,
    control: np.ndarray,
    attacked_control: np.ndarray,
    seed: int,
) -> Recovery:
    o, u, a, c, ac = (
        x.astype(float) for x in (original, unlearned, attacked, control, attacked_control)
    )
    return recovery(net=(a - u) - (ac - c), gap=o - u, sources=apart(len(o)), seed=seed)


def test_sign_flips_by_hand() -> None:
    """Four sources, all up: one of sixteen vectors of signs is as high; two up and two down."""
    tested = max_t(np.array([[1.0, 1, 1, 1], [1, 1, -1, -1], [0, 0, 0, 0]]), seed=0)
    assert tested.p.tolist() == [1 / 16, 11 / 16, 1.0]
    assert tested.p_adjusted[0] > 1 / 16
    assert tested.p_adjusted[2] == 1.0
    assert tested.critical == float("inf")  # No p of four sources is below 0.05 after adjustment.


def test_drawn_signs_agree_with_all_of_them_and_are_never_0() -> None:
    x = np.random.default_rng(0).normal(0.3, 1, size=(3, 12))
    exact = max_t(x, seed=0)
    more = np.concatenate([x, np.zeros((3, 1))], axis=1)  # A source of zeros changes nothing.
    drawn = max_t(more, seed=0)
    assert drawn.p == pytest.approx(exact.p, abs=0.02)
    assert drawn.p_adjusted == pytest.approx(exact.p_adjusted, abs=0.02)
    assert max_t(np.ones((1, 300)), seed=0).p[0] == pytest.approx(1 / 10_001)
    assert max_t(more, seed=0).p.tolist() == drawn.p.tolist()


def test_what_exceeds_the_critical_value_has_a_small_p_and_the_other_way_round() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(rng.normal(0.15, 0.1, size=(40, 1)), 1, size=(40, 200))
    tested = max_t(x, seed=0)
    t = x.sum(axis=1) / np.sqrt((x**2).sum(axis=1))
    assert 0 < (tested.p_adjusted < 0.05).sum() < 40
    assert ((t > tested.critical) == (tested.p_adjusted < 0.05)).all()


def test_values_are_summed_by_source_in_any_order() -> None:
    sources = np.array([1, 0, 1, 2])
    assert sums_by_source(np.array([1.0, 2, 3, 4]), sources).tolist() == [2, 4, 4]
    assert sums_by_source(np.ones((2, 4)), sources).tolist() == [[1, 2, 1]] * 2


def test_intervals_draw_sources_and_not_questions() -> None:
    """Ten equal questions a source say what one says."""
    x = np.random.default_rng(0).random(30)
    many = interval(np.repeat(x, 10), np.repeat(np.arange(30), 10), 0)
    assert many == pytest.approx(interval(x, apart(30), 0))
    narrow = interval(np.repeat(x, 10), apart(300), 0)
    assert many[1] - many[0] > 2.5 * (narrow[1] - narrow[0])


def test_recovery_by_hand() -> None:
    n = 100
    yes, no = np.ones(n, bool), np.zeros(n, bool)
    half = np.arange(n) < 50
    found = net_recovery(
        original=yes, unlearned=no, attacked=half, control=no, attacked_control=no, seed=0
    )
    assert (found.difference, found.ratio, found.gap) == (0.5, 0.5, 1.0)
    assert found.ratio_ci is not None
    assert 0.38 < found.ratio_ci[0] < 0.5 < found.ratio_ci[1] < 0.62


def test_graded_values_are_tested_as_they_are() -> None:
    """A gain of 0.2 everywhere is no right answer more, and a gain."""
    n = 80
    graded = np.random.default_rng(0).normal(0.2, 0.1, size=(1, n))
    assert max_t(graded, seed=0).p[0] == pytest.approx(1 / 10_001)
    assert max_t(graded - graded.mean(), seed=0).p[0] > 0.4


def test_what_the_control_gains_does_not_count() -> None:
    n = 200
    yes, no, half = np.ones(n, bool), np.zeros(n, bool), np.arange(n) % 2 == 0
    found = net_recovery(
        original=yes, unlearned=no, attacked=half, control=no, attacked_control=half, seed=0
    )
    assert found.difference == 0.0


def test_no_ratio_without_a_gap() -> None:
    n = 60
    same, other = np.arange(n) % 2 == 0, np.arange(n) % 3 == 0
    found = net_recovery(
        original=same, unlearned=same, attacked=other, control=same, attacked_control=same, seed=0
    )
    assert found.ratio is None
    assert found.ratio_ci is None


@pytest.mark.ci
def test_intervals_cover_the_truth() -> None:
    rng, hits = np.random.default_rng(0), 0
    for seed in range(25):
        n = 150
        arms = {k: rng.random(n) < p for k, p in (("original", 0.9), ("unlearned", 0.3))}
        attacked, control, after = (rng.random(n) < p for p in (0.6, 0.3, 0.35))
        found = net_recovery(
            **arms, attacked=attacked, control=control, attacked_control=after, seed=seed
        )
        hits += found.difference_ci[0] <= 0.25 <= found.difference_ci[1]
    assert hits >= 21


def test_same_seed_same_numbers_and_unequal_arms_are_refused() -> None:
    x, y = (np.arange(50) % 2).astype(float), (np.arange(50) % 3 == 0).astype(float)
    arms = {"net": x, "gap": y, "sources": apart(50)}
    assert recovery(**arms, seed=4) == recovery(**arms, seed=4)
    with pytest.raises(ValueError, match="differ in length"):
        recovery(**{**arms, "net": x[:-1]}, seed=4)


def draw(rng: np.random.Generator, n: int, gain: float = 0.0) -> np.ndarray:
    """Contrasts of a re-guessing attack whose items come back with a chance; original all right."""
    attacked, sham = rng.random(n) < 0.25, rng.random(n) < 0.25
    attacked = attacked | (rng.random(n) < gain / 0.75)
    unlearned = rng.random(n) < 0.25
    return np.array([attacked * 1.0 - unlearned, attacked * 1.0 - sham, attacked - 0.25])


def planted(nets: np.ndarray, sources: np.ndarray) -> Planted:
    gains = np.where(nets[2] > 0, 0.0, 1.0)
    return Planted.of(list(nets), gains, sources)


@pytest.mark.parametrize("n", [80, 240])
def test_power_is_what_is_said(n: int) -> None:
    """A18: what is called detectable is found in 7 to 9 of ten new audits."""
    rng = np.random.default_rng(n)
    limits, critical = [], 2.6
    for seed in range(12):
        limits.append(detectable(planted(draw(rng, n), apart(n)), critical, seed))
    gain, won = float(np.mean(limits)), []
    for _ in range(400):
        x = draw(rng, n, gain)
        t = x.sum(axis=1) / np.sqrt((x**2).sum(axis=1))
        won.append((t > critical).all())
    assert 0.7 < np.mean(won) < 0.9


def test_more_questions_detect_less_and_too_few_sources_nothing() -> None:
    rng = np.random.default_rng(0)
    few, many = (detectable(planted(draw(rng, n), apart(n)), 2.6, 0) for n in (60, 600))
    assert many < 0.5 * few
    x = draw(rng, 600)
    clustered = detectable(planted(x, np.arange(600) // 100), 2.6, 0)
    assert clustered == 1.0  # Six sources: no statistic exceeds the square root of six.
    assert detectable(planted(x, apart(600)), float("inf"), 0) == 1.0


def test_one_source_alone_is_not_certain() -> None:
    """Drawn again and again it would be the same number each time; its questions are not."""
    x = (np.arange(40) < 12).astype(float)
    low, high = interval(x, np.zeros(40, dtype=int), 0)
    assert (low, high) == interval(x, apart(40), 0)
    assert low < 0.25 < high
