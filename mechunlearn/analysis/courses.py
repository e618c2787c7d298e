"""What a model answers while an attack trains it, and where it is half-way back."""

from collections.abc import Sequence

from mechunlearn.analysis.answers import values
from mechunlearn.analysis.records import Course, Curve, CurvePoint, Price
from mechunlearn.analysis.tests import Sources
from mechunlearn.audit.records import Stage
from mechunlearn.stats import mean_interval


def course(
    stages: Sequence[Stage], sources: Sources, *, start: float, original: float, limit: float
) -> Course:
    """An attack's training curves, a curve for each of its runs.

    Args:
        sources: Of the questions that are asked at every stage.
        start, original: Values without an attack, of this model and of the original.
        limit: As for ``half_recovery``.
    """
    runs: dict[str, list[Stage]] = {}
    for stage in stages:
        runs.setdefault(stage.run, []).append(stage)
    curves = tuple(
        Curve(
            run=run,
            points=tuple(_point(stage, sources) for stage in measured),
            variants=tuple(stage.variant for stage in measured),
        )
        for run, measured in runs.items()
    )
    half = half_recovery(curves, start=start, original=original, limit=limit)
    return Course(
        curves=curves,
        half=None if half is None else Price(steps=half.steps, samples=half.samples),
        most_samples=max(stage.samples for stage in stages),
    )


def half_recovery(
    curves: Sequence[Curve], *, start: float, original: float, limit: float = 1.0
) -> CurvePoint | None:
    """The first point, over all runs, that lies half-way from ``start`` to ``original``.

    Args:
        limit: Points that lost more retain accuracy than this do not count.

    Returns:
        ``None`` where no run gets there.
    """
    goal = (start + original) / 2
    reached = [
        point
        for curve in curves
        for point in curve.points
        if point.steps and point.value >= goal and point.retain >= curve.points[0].retain - limit
    ]
    return min(reached, key=lambda point: point.samples, default=None)


def _point(stage: Stage, sources: Sources) -> CurvePoint:
    return CurvePoint(
        steps=stage.steps,
        samples=stage.samples,
        tokens=stage.tokens,
        flops=stage.flops,
        value=stage.confirm.mean,
        value_ci=mean_interval(values(stage.confirm), sources),
        retain=stage.retain,
    )
