"""One never-knew model is one draw: what two of them differ by is no recovery."""

import numpy as np
import pytest

from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.between import between_controls, gains_of, spread_of
from mechunlearn.analysis.contrasts import Before, contrasts_of
from mechunlearn.analysis.records import Contrast

N = 240
GUESSING = np.full(N, 0.25)


def answered(rate: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(N) < rate).astype(float)


def taught(suspect: float, *controls: float) -> tuple[Contrast, ...]:
    """Contrasts of an attack that teaches: what the suspect and each control answer after it."""
    before = [answered(0.25, 10 + i) for i in range(len(controls))]
    after = [answered(rate, 20 + i) for i, rate in enumerate(controls)]
    unlearned = answered(0.25, 0)
    mean = (np.mean(x, axis=0) for x in (before, after))
    known = Before(np.ones(N), unlearned, next(mean), np.arange(N), tuple(before))
    sham = answered(0.25, 1)
    arm = Arms(
        answered(suspect, 2),
        sham,
        sham,
        sham,
        next(mean),
        GUESSING,
        controls=tuple(after),
        taught=True,
    )
    contrasts, _ = contrasts_of({"a": arm}, known, seed=0)
    return contrasts["a"]


def won(contrasts: tuple[Contrast, ...]) -> bool:
    return (
        max(c.p_adjusted for c in contrasts) < 0.05
        and min(c.difference_ci[0] for c in contrasts) > 0
    )


def test_a_model_that_learns_faster_than_one_control_hides_nothing() -> None:
    """A16: never-knew models that learn 86 and 68 % of the facts they are taught."""
    assert won(taught(0.86, 0.68))  # One control cannot know better.
    with_two = taught(0.86, 0.68, 0.80)
    assert not won(with_two)
    spread = next(c for c in with_two if c.against == "spread")
    assert spread.p_adjusted > 0.05
    assert spread.difference_ci[0] < 0 < spread.difference_ci[1]
    assert next(c for c in with_two if c.against == "control").p_adjusted < 0.01


def test_what_exceeds_the_spread_is_found() -> None:
    """The control: the same suspect where never-knew models learn nothing, or all alike."""
    assert won(taught(0.86, 0.25, 0.26))
    assert won(taught(0.86, 0.30, 0.38, 0.34))
    assert not won(taught(0.34, 0.30, 0.38, 0.34))


def test_one_control_has_no_spread() -> None:
    assert {c.against for c in taught(0.86, 0.68)} == {"control", "unlearned", "sham", "guessing"}


@pytest.mark.ci
@pytest.mark.parametrize("n_controls", [2, 3])
def test_never_knew_suspects_are_seldom_called_hidden(n_controls: int) -> None:
    """Models whose learning has a standard deviation of 10 points: at most 3 of 60 alarms."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(60):
        rates = rng.normal(0.75, 0.1, size=n_controls + 1).clip(0.05, 0.95)
        alarms += won(taught(*rates))
    assert alarms <= 3


def test_controls_that_agree_by_luck_under_one_attack_do_not_stand_for_the_spread() -> None:
    unlearned, before = answered(0.25, 0), [answered(0.25, 10)] * 2

    def gained(suspect: float, *controls: float) -> tuple[Arms, list[float]]:
        after = tuple(answered(rate, 20) for rate in controls)  # The same questions: no luck.
        arm = Arms(answered(suspect, 2), *[GUESSING] * 3, None, GUESSING, None, after, taught=True)
        return arm, gains_of(arm, before) or []

    agreeing, gains = gained(0.8, 0.6, 0.6)
    _, others = gained(0.5, 0.45, 0.75)

    def p(*of: list[float]) -> float:
        known = unlearned, before
        spread = spread_of(list(of))
        return between_controls(agreeing, gains, known, np.arange(N), spread, 7).p_adjusted

    assert p(gains) < 0.05 < p(gains, others)
