"""Accuracy along finetuning runs, and where it is half-way back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement on a relearning curve."""

    steps: int
    samples: int
    """Examples trained on so far, repeats included."""
    tokens: int
    """Tokens of forget information so far: answer tokens of forget facts."""
    flops: int
    accuracy: float
    """On the forget questions of the confirm fold."""
    interval: tuple[float, float]
    retain: float
    """Accuracy on retain questions of the select fold that were not trained on."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One run."""

    rate: float
    seed: int
    points: tuple[Point, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Curve":
        """A curve as a report holds it."""
        points = [Point(**p | {"interval": tuple(p["interval"])}) for p in data["points"]]
        return cls(data["rate"], data["seed"], tuple(points))


def half_recovery(
    curves: Sequence[Curve], *, start: float, original: float, limit: float = 1.0
) -> Point | None:
    """The first point, over all runs, that lies half-way from ``start`` to ``original`` accuracy.

    Args:
        limit: Points that lost more retain accuracy than this do not count.

    Returns:
        ``None`` where no run gets there.
    """
    goal = (start + original) / 2
    reached = [
        p
        for c in curves
        for p in c.points
        if p.steps and p.accuracy >= goal and p.retain >= c.points[0].retain - limit
    ]
    return min(reached, key=lambda p: p.samples, default=None)
