"""leak@k: its estimator, its intervals, and what is refused."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from mechunlearn.analysis import leak
from mechunlearn.analysis.leak import LeakCurve, leak_at_k, leak_shares
from mechunlearn.plots.leak import leak_at_k as drawn
from mechunlearn.records import decoded, encoded


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_estimator_is_the_share_of_all_choices_of_k_samples(n: int) -> None:
    shares = leak_shares(n)
    for c in range(n + 1):
        leaks = [i < c for i in range(n)]
        for k in range(1, n + 1):
            choices = list(combinations(leaks, k))
            assert shares[c, k - 1] == pytest.approx(sum(map(any, choices)) / len(choices))


def test_the_estimator_has_no_bias_and_the_plain_power_has() -> None:
    rng, n, k, p = np.random.default_rng(0), 10, 5, 0.15
    counts, true = rng.binomial(n, p, size=40_000), 1 - (1 - p) ** k
    assert leak_shares(n)[counts, k - 1].mean() == pytest.approx(true, abs=0.006)
    assert (1 - (1 - counts / n) ** k).mean() < true - 0.03


def test_curves_and_their_difference() -> None:
    values = np.array([[1.0, 0.4, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.6, 0.5, 0.7, 0.9]])
    control = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    curve = leak_at_k(values, control, threshold=0.5, ks=(2, 1))
    assert [p.k for p in curve.points] == [1, 2]
    assert [p.leak for p in curve.points] == pytest.approx([1.25 / 3, 1.5 / 3])
    assert [p.control for p in curve.points] == pytest.approx([0.5 / 3, 1 / 3])
    assert [p.difference for p in curve.points] == pytest.approx([0.25, 1.5 / 3 - 1 / 3])
    assert (curve.questions, curve.samples, curve.control_samples) == (3, 4, 2)
    assert decoded(encoded(curve), LeakCurve, "curve") == curve
    assert [p.k for p in leak_at_k(values, values).points] == [1, 2, 4]


@pytest.mark.slow
def test_intervals_cover_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions of many difficulties, few samples, every k."""
    monkeypatch.setattr(leak, "DRAWS", 200)
    rng, ks = np.random.default_rng(1), (1, 4, 8)
    many = rng.beta(0.4, 3.0, size=200_000)
    truth = [float((1 - (1 - many) ** k).mean()) for k in ks]
    covered, audits = np.zeros(3), 120
    for seed in range(audits):
        p = rng.beta(0.4, 3.0, size=(40, 1))
        values = (rng.random((40, 8)) < p).astype(float)
        points = leak_at_k(values, values[:, :8], ks=ks, seed=seed).points
        covered += [
            point.leak_ci[0] <= true <= point.leak_ci[1]
            for point, true in zip(points, truth, strict=True)
        ]
    assert (covered / audits > 0.9).all()


def test_questions_of_one_source_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    per_source = (rng.random(30) < 0.4).astype(float)
    values = np.repeat(per_source, 5)[:, None].repeat(4, axis=1)
    nothing = np.zeros_like(values)
    apart = leak_at_k(values, nothing, ks=(1,)).points[0]
    together = leak_at_k(values, nothing, ks=(1,), sources=np.repeat(np.arange(30), 5)).points[0]
    widths = [high - low for low, high in (apart.leak_ci, together.leak_ci)]
    assert widths[1] == pytest.approx(widths[0] * 5**0.5, rel=0.15)


def test_nothing_leaked_is_no_certainty() -> None:
    nothing = np.zeros((50, 4))
    point = leak_at_k(nothing, nothing, ks=(1,)).points[0]
    assert point.leak_ci[0] == 0.0
    assert 0.05 < point.leak_ci[1] < 0.1
    assert point.difference_ci[0] < 0 < point.difference_ci[1]


@pytest.mark.parametrize(
    ("values", "control", "more", "says"),
    [
        (np.ones((2, 3)), np.ones((3, 3)), {}, "2 questions cannot be compared with 3"),
        (np.ones((2, 3)) * 2, np.ones((2, 3)), {}, r"in \[0, 1\]"),
        (np.ones((0, 3)), np.ones((0, 3)), {}, "have to be there"),
        (np.ones((2, 3)), np.ones((2, 3)), {"threshold": 0.0}, "threshold=0.0"),
        (np.ones((2, 3)), np.ones((2, 2)), {"ks": (3,)}, "k can be 1 to 2"),
        (np.ones((2, 3)), np.ones((2, 3)), {"ks": (0,)}, "k can be 1 to 3"),
        (np.ones((2, 3)), np.ones((2, 3)), {"sources": np.arange(3)}, "2 questions have 3"),
    ],
)
def test_what_cannot_be_estimated_is_refused(
    values: np.ndarray, control: np.ndarray, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        leak_at_k(values, control, **more)


def test_the_figure_shows_both_curves_and_their_difference() -> None:
    values = np.tile([1.0, 0.0, 0.0, 1.0], (30, 1))
    curve = leak_at_k(values, np.zeros((30, 4)))
    fig = drawn(curve, "rmu")
    assert [list(t.y) for t in fig.data] == [
        [p.leak for p in curve.points],
        [p.difference for p in curve.points],
        [p.control for p in curve.points],
    ]
    assert "100% of the facts come out, more than" in fig.layout.meta["finding"]
    assert list(fig.data[0].error_y.array) == [p.leak_ci[1] - p.leak for p in curve.points]
    assert "no more than" in drawn(leak_at_k(values, values), "rmu").layout.meta["finding"]


def test_one_source_is_not_certain_of_itself() -> None:
    """Drawn again and again it would look so: its questions are drawn instead."""
    rng = np.random.default_rng(0)
    leaks = (rng.random((40, 8)) < rng.beta(0.3, 0.9, size=(40, 1))).astype(float)
    control = np.zeros((40, 8))
    one, each = (
        leak_at_k(leaks, control, sources=of).points[0] for of in (np.zeros(40, int), np.arange(40))
    )
    widths = [point.leak_ci[1] - point.leak_ci[0] for point in (one, each)]
    assert widths[0] > 0.8 * widths[1]
