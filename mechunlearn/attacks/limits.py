"""What is found at each norm limit: the curves that one figure draws."""

from collections.abc import Mapping
from typing import ClassVar

from mechunlearn.attacks.depth import guessed
from mechunlearn.attacks.protocol import Confirm, Trace
from mechunlearn.bench import score
from mechunlearn.records import Interval, Record
from mechunlearn.types import Change, HookedModel


class LimitCurve(Record, frozen=True):
    """Accuracy by norm limit."""

    name: str
    """``trained``, ``random``."""
    values: tuple[float, ...]
    value_cis: tuple[Interval, ...]


class LimitTrace(Trace, frozen=True):
    """The confirm fold's forget questions at every norm limit."""

    kind: ClassVar[str] = "limits"
    where: str
    """The chosen place: ``vector at layer 2``."""
    eps: tuple[float, ...]
    curves: tuple[LimitCurve, ...]
    guessed: float


def limit_trace(
    model: HookedModel, confirm: Confirm, changes: Mapping[float, tuple[Change, Change]], where: str
) -> LimitTrace:
    """Accuracy under changes and their shams, which may have been made for another model.

    Args:
        changes: By norm limit.
    """
    curves = []
    for name, made in zip(("trained", "random"), zip(*changes.values(), strict=True), strict=True):
        scores = [
            score(model, confirm.forget, confirm.prompt, scoring=confirm.scoring, change=c)
            for c in made
        ]
        curves.append(
            LimitCurve(
                name=name,
                values=tuple(round(s.accuracy, 4) for s in scores),
                value_cis=tuple((round(s.interval[0], 4), round(s.interval[1], 4)) for s in scores),
            )
        )
    return LimitTrace(
        where=where, eps=tuple(changes), curves=tuple(curves), guessed=guessed(confirm)
    )
