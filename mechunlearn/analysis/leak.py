"""leak@k: how often at least one of k sampled answers tells what should be forgotten.

    leak@k = mean over questions of 1 - C(n - c, k) / C(n, k)

for n samples of a question of which c leak: without bias, unlike 1 - (1 - c / n)^k. It rises with k
for a model that never knew, too (professions and years can be guessed), so it is only given beside
the same curve of such a model, or of twin questions, and what counts is the difference.

Reference:
    leak@k of Reisizadeh et al. 2025; the estimator is pass@k's of Chen et al. 2021,
    arXiv:2107.03374, equation 1.
    Differs: intervals, and the difference from a control. A draw resamples sources with their
    questions and then the samples of each (Davison and Hinkley 1997, section 3.8). On average it
    gives the biased value, 1 - (1 - c / n)^k, so its deviations from that are set on the estimate.
    This counts the noise of samples in both stages: intervals are somewhat wide.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mechunlearn.records import Interval, Record
from mechunlearn.stats import wilson

DRAWS = 2_000
"""Resampled sets of questions."""
LEVEL = 0.95


class LeakPoint(Record, frozen=True):
    """A model and its control at one k."""

    k: int
    leak: float
    leak_ci: Interval
    control: float
    control_ci: Interval
    difference: float
    """``leak - control`` on the same questions."""
    difference_ci: Interval


class LeakCurve(Record, frozen=True):
    """leak@k of a model beside its control."""

    points: tuple[LeakPoint, ...]
    """By k."""
    questions: int
    sources: int
    samples: int
    """Of each question, from the model."""
    control_samples: int
    threshold: float
    """A sample leaks when the measure gives it this value, or more."""


def leak_shares(samples: int) -> Float[np.ndarray, "leaks k"]:
    """``1 - C(n - c, k) / C(n, k)`` for every c from 0 to n and every k from 1 to n.

    Example:
        >>> leak_shares(2).tolist()
        [[0.0, 0.0], [0.5, 1.0], [1.0, 1.0]]
    """
    c, i = np.arange(samples + 1)[:, None], np.arange(samples)
    return 1 - np.cumprod(np.maximum(samples - c - i, 0) / (samples - i), axis=1)


def leak_at_k(
    values: Float[np.ndarray, "question sample"],
    control: Float[np.ndarray, "other_question other_sample"],
    *,
    threshold: float = 1.0,
    ks: Sequence[int] = (),
    sources: Int[np.ndarray, " _"] | None = None,
    seed: int = 0,
) -> LeakCurve:
    """The curves of a model and its control, with intervals.

    Args:
        values: What a measure says of each sample, in [0, 1].
        control: The same of a never-knew model, or of each question's twin.
        threshold: A sample leaks at this value or above; above 0.
        ks: Default: the powers of two up to the number of samples, and that number.
        sources: Which source each question belongs to; default: each its own.

    Raises:
        ValueError: If there are no values or some are not in [0, 1], the questions are not the
            control's, the threshold is not in (0, 1], or a k is above the number of samples, of
            which the estimator can say nothing.
    """
    _check(values, control, threshold)
    most = min(values.shape[1], control.shape[1])
    ks = sorted(set(ks)) or [1 << i for i in range(most.bit_length()) if 1 << i < most] + [most]
    if ks[0] < 1 or ks[-1] > most:
        raise ValueError(f"k={ks[0]} to {ks[-1]}: from {most} samples k can be 1 to {most}")
    if sources is None:
        sources = np.arange(len(values))
    elif len(sources) != len(values):
        raise ValueError(f"{len(values)} questions have {len(sources)} sources; give one for each")
    arms = [_Arm(x >= threshold, ks) for x in (values, control)]
    members = [np.flatnonzero(sources == source) for source in np.unique(sources)]
    spread = _deviations(arms, members, seed)
    return LeakCurve(
        points=tuple(_point(k, at, arms, spread, len(members)) for at, k in enumerate(ks)),
        questions=len(values),
        sources=len(members),
        samples=values.shape[1],
        control_samples=control.shape[1],
        threshold=threshold,
    )


def _point(
    k: int, at: int, arms: Sequence["_Arm"], spread: Sequence[np.ndarray], sources: int
) -> LeakPoint:
    """Both curves and their difference at one k, the ``at``-th."""
    leak, other = (float(arm.estimates[:, at].mean()) for arm in arms)
    own, its = (
        _interval(arm.estimates[:, at], deviations[:, at], sources)
        for arm, deviations in zip(arms, spread, strict=True)
    )
    difference = leak - other
    low, high = difference + np.quantile(
        spread[0][:, at] - spread[1][:, at], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    )
    if low == high:  # Newcombe 1998, method 10: neither curve varies.
        low = difference - np.hypot(leak - own[0], its[1] - other)
        high = difference + np.hypot(own[1] - leak, other - its[0])
    return LeakPoint(
        k=k,
        leak=leak,
        leak_ci=own,
        control=other,
        control_ci=its,
        difference=difference,
        difference_ci=(max(-1.0, float(low)), min(1.0, float(high))),
    )


class _Arm:
    """Judged samples of one model: how many of each question leak."""

    def __init__(self, leaks: np.ndarray, ks: Sequence[int]) -> None:
        self.samples, self.counts = leaks.shape[1], leaks.sum(axis=1)
        self.shares = leak_shares(self.samples)[:, np.array(ks) - 1]
        self.estimates = self.shares[self.counts]
        self.resampled = 1 - (1 - self.counts[:, None] / self.samples) ** np.array(ks)
        """What the estimates of resampled samples are on average."""

    def drawn(self, rng: np.random.Generator, questions: np.ndarray) -> np.ndarray:
        """leak@k of some questions with resampled samples."""
        counts = rng.binomial(self.samples, self.counts[questions] / self.samples)
        return self.shares[counts].mean(axis=0)


def _deviations(
    arms: Sequence[_Arm], members: Sequence[np.ndarray], seed: int
) -> list[Float[np.ndarray, "draw k"]]:
    """How far resampled curves lie from their average; all arms draw the same sources.

    Of one source alone the questions are drawn: drawn again and again it would look certain.
    """
    if len(members) == 1:
        members = [np.array([i]) for i in members[0]]
    rng, n = np.random.default_rng(seed), len(members)
    found: list[list[np.ndarray]] = [[] for _ in arms]
    for _ in range(DRAWS):
        questions = np.concatenate([members[i] for i in rng.integers(n, size=n)])
        for arm, draws in zip(arms, found, strict=True):
            draws.append(arm.drawn(rng, questions))
    return [
        np.array(draws) - arm.resampled.mean(axis=0) for arm, draws in zip(arms, found, strict=True)
    ]


def _interval(estimates: np.ndarray, spread: np.ndarray, sources: int) -> Interval:
    """Around a mean; of questions that are all alike nothing can be resampled."""
    value = float(estimates.mean())
    if estimates.min() == estimates.max() and value in (0.0, 1.0):
        return wilson(value * sources, sources, LEVEL)
    low, high = value + np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return max(0.0, min(value, float(low))), min(1.0, max(value, float(high)))


def _check(values: np.ndarray, control: np.ndarray, threshold: float) -> None:
    for name, x in (("values", values), ("control", control)):
        if not x.size or not ((x >= 0) & (x <= 1)).all():
            raise ValueError(f"{name}: {x.shape} values of samples have to be there, in [0, 1]")
    if len(values) != len(control):
        raise ValueError(
            f"{len(values)} questions cannot be compared with {len(control)} of the control; "
            "ask both the same, or give each question its twin"
        )
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold} is not above 0 and at most 1")
