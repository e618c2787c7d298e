"""How an attack that trains got to where it is: a part of the report."""

from mechunlearn.records import Interval, Plain, Record


class CurvePoint(Record, frozen=True):
    """One measurement on a training curve."""

    steps: int
    samples: int
    tokens: int
    flops: int
    value: float
    """On the forget questions of the confirm fold."""
    value_ci: Interval
    retain: float


class Curve(Record, frozen=True):
    """One training run of an attack."""

    run: str
    points: tuple[CurvePoint, ...]
    variants: tuple[Plain, ...]
    """The variant at each point; ``None`` before training."""


class Price(Record, frozen=True):
    """Half of the gap, along an attack's training curves."""

    steps: int
    samples: int


class Course(Record, frozen=True):
    """An attack's training on one model."""

    curves: tuple[Curve, ...]
    half: Price | None
    """The first point half-way back to the original; ``None`` where no run gets there."""
    most_samples: int
