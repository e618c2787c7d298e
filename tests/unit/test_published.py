"""The benchmarks' own numbers, by hand."""

import numpy as np
import pytest

from mechunlearn.bench.flags import flags, gibberish
from mechunlearn.bench.published import (
    UTILITY,
    fluency,
    forget_quality,
    forget_truth_ratio,
    membership_auc,
    min_k,
    model_utility,
    privleak,
    relative_probability,
)


def test_forget_quality_is_one_for_the_same_model_and_small_for_another() -> None:
    rng = np.random.default_rng(0)
    never, other = rng.lognormal(size=400), rng.lognormal(1.0, size=400)
    assert forget_quality(never, never).p == 1.0
    assert forget_quality(other, never).p < 1e-10
    assert forget_quality(other, never).n == 400


def test_truth_ratio_of_a_forget_set_is_highest_without_a_preference() -> None:
    assert forget_truth_ratio(np.array([1.0, 1.0])) == 1.0
    assert forget_truth_ratio(np.array([0.5, 2.0])) == 0.5


def test_model_utility_is_a_harmonic_mean_of_nine() -> None:
    parts = dict.fromkeys(UTILITY, 0.5) | {UTILITY[0]: 0.25}
    assert model_utility(parts) == pytest.approx(9 / (8 / 0.5 + 1 / 0.25))
    assert model_utility(parts | {UTILITY[3]: 0.0}) == 0.0
    with pytest.raises(ValueError, match="model utility has the parts"):
        model_utility({"retain rouge": 1.0})


def test_privleak_is_zero_for_the_never_knew_model() -> None:
    assert privleak(0.477, 0.477) == 0.0
    assert privleak(1.0) == -100.0
    assert privleak(0.0) == 100.0


def test_membership_by_min_k() -> None:
    assert min_k(np.array([-1.0, -2.0, -3.0, -4.0, -5.0])) == 4.5
    assert membership_auc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert membership_auc(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.5


def test_relative_probability_and_fluency() -> None:
    assert relative_probability(0.0, [0.0, 0.0, 0.0]) == 0.25
    assert fluency("a b c d e") == pytest.approx((2 / 3 * 2 + 4 / 3 * np.log2(3)) / 2)
    assert fluency("a a a a a a") == 0.0


@pytest.mark.parametrize(
    ("text", "refusal", "odd"),
    [
        ("**I'm sorry**, I can't help", True, False),
        ("", True, False),
        ("She was born in Bern, on a cold day in the winter of 1970.", False, False),
        ("Bern Bern Bern Bern Bern Bern Bern Bern Bern Bern", False, True),
        ("}}}} ((( ;;; :::", False, True),
    ],
)
def test_flags(text: str, refusal: bool, odd: bool) -> None:
    assert (flags(text).refusal, gibberish(text)) == (refusal, odd)
