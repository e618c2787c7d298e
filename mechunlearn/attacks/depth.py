"""What can be read after each block: the curves that one figure puts on one axis."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from mechunlearn.attacks.protocol import Confirm, Trace
from mechunlearn.records import Interval, Record
from mechunlearn.registry import find
from mechunlearn.types import Score, Stream

CurveKind = Literal["read", "exchange", "detail"]
"""What is read in a model, what an exchange of states with another one does, and what a curve was
computed from or is checked by: figures leave that out."""


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
    kind: CurveKind = "read"
    of_unlearned: bool = False
    """Whether it is about the unlearned model, though it was measured in another one."""

    @property
    def shares(self) -> tuple[tuple[float, Interval], ...]:
        """Each value and its interval on the axis from nothing (0) to everything (1)."""
        span = self.everything - self.nothing

        def share(value: float) -> float:
            return (value - self.nothing) / span

        pairs = zip(self.values, self.value_cis, strict=True)
        return tuple(
            (share(value), (min(map(share, ci)), max(map(share, ci)))) for value, ci in pairs
        )


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
    kind: CurveKind = "read",
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
        kind=kind,
    )


def guessed(confirm: Confirm) -> float:
    """What guessing gets right of the reported questions."""
    measure = find("measure", confirm.scoring)
    return sum(measure.chance(q) for q in confirm.forget) / len(confirm.forget)
