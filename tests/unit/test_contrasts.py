"""What an attack has to exceed: each comparison that used to be missed, with the right answer."""

import numpy as np
import pytest

from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.contrasts import Before, contrasts_of, estimated, nets
from mechunlearn.analysis.recovery import recovery
from mechunlearn.analysis.tests import max_t, sums_by_source
from mechunlearn.stats import Values, wilson


def sampled(rate: float, n: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) < rate).astype(float)


def p_of(attacked: np.ndarray, sham: np.ndarray, unlearned: np.ndarray, *twin: np.ndarray) -> float:
    """Adjusted p of a single attack; the twin without and with the attack, where there is one."""
    n = len(attacked)
    control, attacked_control = twin if twin else (None, None)
    known = Before(np.ones(n), unlearned, control, np.arange(n))
    arm = Arms(attacked, sham, sham, sham, attacked_control, guessing=np.full(n, 0.25))
    contrasts, _ = contrasts_of({"a": arm}, known, seed=0)
    return max(c.p_adjusted for c in contrasts["a"])


def test_what_changes_nothing_brings_nothing_back() -> None:
    """A1: difference 0 and p 1, with a control and without, also where much is still answered."""
    n = 240
    for rate in (0.25, 0.45, 0.96):
        u, c, sham = (sampled(rate, n, i) for i in range(3))
        assert p_of(u, sham, u) == 1.0
        assert p_of(u, sham, u, c, c) == 1.0
        arm = Arms(u, sham, np.zeros(n), u, None, guessing=np.full(n, 0.25))
        contrasts, _ = contrasts_of({"a": arm}, Before(np.ones(n), u, None, np.arange(n)), seed=0)
        assert estimated(contrasts["a"]).difference <= 0


def test_the_sham_has_to_be_beaten_with_a_control_too() -> None:
    """A15: skewed letters, where the sham answers as much as the attack."""
    n = 240
    u, c, ac = (sampled(0.25, n, i) for i in range(3))
    attacked, sham = sampled(0.5, n, 3), sampled(0.5, n, 4)
    assert p_of(attacked, u, u, c, ac) < 0.01
    assert p_of(attacked, sham, u, c, ac) > 0.05


@pytest.mark.ci
def test_coming_back_to_guessing_is_no_recovery() -> None:
    """A13: a model pushed below chance by unlearning, an untreated control at chance."""
    n = 1200
    u, c = sampled(0.17, n, 0), sampled(0.25, n, 1)
    attacked = np.maximum(u, sampled(0.08, n, 2))
    found = Before(np.ones(n), u, c, np.arange(n))
    arm = Arms(attacked, u, u, u, c, guessing=np.full(n, 0.25))
    contrasts, _ = contrasts_of({"a": arm}, found, seed=0)
    against = {x.against: x for x in contrasts["a"]}
    assert against["sham"].p_adjusted < 0.001
    assert against["control"].p_adjusted > 0.2
    assert against["guessing"].p_adjusted > 0.2


def test_coming_back_to_what_a_never_knew_model_says_is_no_recovery() -> None:
    """Open answers: unlearning breaks the form, the attack mends it; guessing has no level here."""
    n = 400
    u, c = np.zeros(n), sampled(0.44, n, 1)
    found = Before(np.ones(n), u, c, np.arange(n))
    for truth, back in ((0.42, False), (0.7, True)):
        attacked = sampled(truth, n, 2)
        arm = Arms(attacked, u, u, u, sampled(0.43, n, 3), guessing=u)
        contrasts, _ = contrasts_of({"a": arm}, found, seed=0)
        against = {x.against: x for x in contrasts["a"]}
        assert (against["control"].p_adjusted < 0.01) is back
        floor = max(c.mean(), arm.control.mean())  # type: ignore[union-attr]
        brought = estimated(contrasts["a"]).difference
        assert brought == pytest.approx(attacked.mean() - floor, abs=1e-6)


def test_the_test_is_of_what_is_estimated() -> None:
    """A2: baselines that differ are no effect, though attacked models differ from controls."""
    n = 240
    false = 0
    for seed in range(40):
        u, a, c, ac = (sampled(r, n, 4 * seed + i) for i, r in enumerate((0.55, 0.55, 0.25, 0.25)))
        false += p_of(a, np.zeros(n), u, c, ac) < 0.05
    assert false <= 5


def test_another_models_attacks_are_no_part_of_the_family() -> None:
    """A10: p depends on the attacks on this model alone; a second attack raises it."""
    n = 240
    u, sham, a = sampled(0.25, n, 0), sampled(0.25, n, 1), sampled(0.4, n, 2)
    known = Before(np.ones(n), u, None, np.arange(n))

    def arm(attacked: np.ndarray) -> Arms:
        return Arms(attacked, sham, sham, sham, None, guessing=np.full(n, 0.25))

    many = {"a": arm(a)} | {str(i): arm(sampled(0.25, n, 3 + i)) for i in range(9)}
    alone, _ = contrasts_of({"a": arm(a)}, known, seed=0)
    beside, _ = contrasts_of(many, known, seed=0)
    for x, y in zip(alone["a"], beside["a"], strict=True):
        assert x.p == y.p
        assert x.p_adjusted < y.p_adjusted


def test_questions_of_one_source_are_no_independent_questions() -> None:
    """A19: one lucky source of forty questions is one source."""
    u = np.zeros(240)
    a = (np.arange(240) < 120).astype(float)
    arm = Arms(a, u, u, u, None, guessing=u)
    apart, _ = contrasts_of({"a": arm}, Before(np.ones(240), u, None, np.arange(240)), seed=0)
    sources = np.arange(240) // 40
    clustered, _ = contrasts_of({"a": arm}, Before(np.ones(240), u, None, sources), seed=0)
    assert max(c.p_adjusted for c in apart["a"]) < 0.001
    assert max(c.p_adjusted for c in clustered["a"]) == 1 / 8  # Three sources of six, all up.


def test_the_test_beside_twin_questions_has_its_size_and_power() -> None:
    """Facts and twins gain the same, at several sizes and with sources: 5 % at most are found."""
    rng = np.random.default_rng(0)

    def p(gain: float, n: int, m: int, per: int) -> float:
        def gains(k: int, by: float) -> Values:
            level = np.clip(0.25 + by + np.repeat(rng.normal(0, 0.1, k // per), per), 0, 1)
            return (rng.random(k) < level) - (rng.random(k) < 0.25).astype(float)

        facts, twins = gains(n, 0.3 + gain), gains(m, 0.3)
        twin_sources = np.arange(m) // per
        before = Before(
            np.ones(n), np.zeros(n), None, np.arange(n) // per, twin_sources=twin_sources
        )
        arm = Arms(facts, *(np.zeros(n),) * 3, None, guessing=np.zeros(n), twins=twins)
        net = nets(arm, before)["twins"]
        assert net.sum() / n == pytest.approx(facts.mean() - twins.mean())
        return float(max_t(sums_by_source(net[None], before.pooled), 0, draws=400).p[0])

    for n, m, per in ((40, 24, 1), (240, 144, 3), (120, 24, 4)):
        assert np.mean([p(0.0, n, m, per) < 0.05 for _ in range(300)]) <= 0.08
    assert np.mean([p(0.4, 240, 144, 3) < 0.05 for _ in range(20)]) == 1.0


def test_answers_that_are_all_alike_are_no_certainty() -> None:
    n = 96
    gap, sources = np.r_[np.ones(72), np.zeros(24)], np.arange(n)
    nothing = recovery(net=np.zeros(n), gap=gap, sources=sources, seed=0)
    assert nothing.ratio == 0.0
    assert nothing.ratio_ci == pytest.approx((-0.051, 0.051), abs=0.002)  # 3.8 of 75 %.
    everything = recovery(net=np.ones(n), gap=np.ones(n), sources=sources, seed=0)
    assert everything.difference_ci == pytest.approx((wilson(n, n)[0], 1.0))
    assert everything.gap_ci == everything.difference_ci
