"""What can be read after each block: the curves that one figure puts on one axis."""

from collections.abc import Mapping
from typing import ClassVar

from mechunlearn.attacks.protocol import Confirm, Trace
from mechunlearn.records import Interval, Record
from mechunlearn.registry import find
from mechunlearn.types import Score, Stream


class DepthCurve(Record, frozen=True):
    """One read-out of one model, layer by layer."""

    name: str
    """``tuned lens``."""
    layers: tuple[int, ...]
    values: tuple[float, ...]
    value_cis: tuple[Interval, ...]
    nothing: float
    """The value where there is nothing to read."""
    everything: float = 1.0
    """The value where all of it is read."""
    stream: Stream = "resid_post"
    control: bool = False
    """Whether it says what is read where there is nothing, not what is there."""


class DepthTrace(Trace, frozen=True):
    """The confirm fold's forget questions read at every layer, in one way or several."""

    kind: ClassVar[str] = "depth"
    curves: tuple[DepthCurve, ...]


def curve(
    name: str,
    scores: Mapping[int, Score],
    *,
    nothing: float,
    stream: Stream = "resid_post",
    control: bool = False,
) -> DepthCurve:
    """A curve of accuracies.

    Args:
        scores: By layer.
        nothing: What guessing gets right.
    """
    return DepthCurve(
        name=name,
        layers=tuple(scores),
        values=tuple(round(s.accuracy, 4) for s in scores.values()),
        value_cis=tuple(
            (round(s.interval[0], 4), round(s.interval[1], 4)) for s in scores.values()
        ),
        nothing=nothing,
        stream=stream,
        control=control,
    )


def guessed(confirm: Confirm) -> float:
    """What guessing gets right of the reported questions."""
    measure = find("measure", confirm.scoring)
    return sum(measure.chance(q) for q in confirm.forget) / len(confirm.forget)
