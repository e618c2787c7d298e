"""Two runs side by side: which numbers moved, and whether further than their intervals allow."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechunlearn.analysis.records import Report
from mechunlearn.audit.plan_file import plan_from_data
from mechunlearn.audit.run import audit
from mechunlearn.unlearn.run import UnlearnPlan, unlearn_to

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Moved:
    """One number in two runs."""

    what: str
    """Model, attack and quantity."""
    before: float | None
    after: float | None
    beyond: bool
    """Whether it moved further than the two intervals together explain."""


def compare(a: Report, b: Report) -> list[Moved]:
    """What differs between two reports; empty where every number is the same.

    Two numbers differ beyond their intervals if they lie further apart than the root of the summed
    squares of the intervals' halves, which is the 95 % interval of a difference of independent
    estimates. A number that only one of the runs has is beyond.
    """
    found = []
    first, second = dict(_numbers(a)), dict(_numbers(b))
    for what in dict.fromkeys([*first, *second]):
        x, y = first.get(what), second.get(what)
        if x == y:
            continue
        found.append(Moved(what, x and x[0], y and y[0], x is None or y is None or _beyond(*x, *y)))
    return found


def _beyond(a: float, ci: Interval, b: float, other: Interval) -> bool:
    # The half towards the other number counts.
    mine = ci[1] - a if b > a else a - ci[0]
    theirs = b - other[0] if b > a else other[1] - b
    return abs(b - a) > math.hypot(mine, theirs) + 1e-12


def _numbers(report: Report) -> Iterator[tuple[str, tuple[float, Interval]]]:
    for model, sets in report.baselines.items():
        for name, found in sets.items():
            yield f"{model}, {name}", (found["accuracy"], _pair(found["accuracy_ci"]))
    for row in report.rows:
        where = f"{row['unlearned']}, {row['attack']}"
        for key in ("accuracy", "difference", "recovery"):
            if row[key] is not None:
                yield f"{where}, {key}", (row[key], _pair(row[f"{key}_ci"]))


def _pair(ci: Sequence[float]) -> Interval:
    return ci[0], ci[1]


@dataclass(frozen=True, slots=True)
class Rerun:
    """A repeated run beside the first one."""

    changes: list[Moved]
    out: Path

    @property
    def agrees(self) -> bool:
        """Whether no number moved beyond its interval."""
        return not any(c.beyond for c in self.changes)


def rerun(card: Mapping[str, Any], out: Path) -> Rerun:
    """Repeat the run that a report or an unlearning RunCard describes.

    Args:
        out: Folder for the new run.

    Raises:
        ValueError: If the data describes neither, or ``out`` holds something else.
    """
    if {"runcard", "rows"} <= set(card):
        first = Report.from_dict(card)
        again = audit(plan_from_data(card["runcard"]["settings"]), out)
        return Rerun(compare(first, Report.from_dict(json.loads(json.dumps(again.to_dict())))), out)
    if {"plan", "accuracy"} <= set(card):
        plain: Any = card["plan"]
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()
        }
        new = unlearn_to(UnlearnPlan(**given), out, resume=True)
        return Rerun(_unlearned(card["accuracy"], new["accuracy"]), out)
    raise ValueError(
        "this describes no run: give an audit's report.json or the runcard.json of an unlearned "
        "model"
    )


def _unlearned(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Moved]:
    return [
        Moved(
            f"{name} after unlearning",
            x["after"],
            y["after"],
            _beyond(x["after"], _pair(x["after_ci"]), y["after"], _pair(y["after_ci"])),
        )
        for name, x in a.items()
        if (y := b[name])["after"] != x["after"]
    ]
