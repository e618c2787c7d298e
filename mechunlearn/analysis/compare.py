"""Runs side by side: which numbers moved, whether further than their intervals allow, and why."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec import UNSET

from mechunlearn.analysis.columns import columns
from mechunlearn.analysis.records import ReportFile
from mechunlearn.analysis.words import ROLES
from mechunlearn.records import Interval, Plain, plain

Number = tuple[float, Interval]
REVISION = "questions, texts and prompts"
"""What is said of runs of a task that was changed and kept its name."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One number in two runs."""

    what: str
    """Model, attack and quantity."""
    before: float | None
    after: float | None
    beyond: bool
    """Whether it moved further than the two intervals together explain."""


def compare(a: ReportFile, b: ReportFile) -> list[Moved]:
    """What differs between two reports; empty where every number is the same.

    Two numbers differ beyond their intervals if they lie further apart than the root of the summed
    squares of the intervals' halves, which is the 95 % interval of a difference of independent
    estimates. A number that only one of the runs has is beyond.
    """
    first, second = dict(_numbers(a)), dict(_numbers(b))
    return [
        moved(what, first.get(what), second.get(what))
        for what in dict.fromkeys([*first, *second])
        if first.get(what) != second.get(what)
    ]


def moved(what: str, before: Number | None, after: Number | None) -> Moved:
    """One number, with its interval, in two runs; ``None`` where a run does not have it."""
    if before is None or after is None:
        return Moved(what, before and before[0], after and after[0], True)
    return Moved(what, before[0], after[0], _beyond(before, after))


def _beyond(before: Number, after: Number) -> bool:
    (a, (a_low, a_high)), (b, (b_low, b_high)) = before, after
    # The half towards the other number counts.
    halves = (a_high - a, b - b_low) if b > a else (a - a_low, b_high - b)
    return abs(b - a) > math.hypot(*halves) + 1e-12


def _numbers(report: ReportFile) -> Iterator[tuple[str, Number]]:
    for model in report.models:
        for name, measured in model.sets.items():
            yield f"{model.label}, {name}", (measured.value, measured.value_ci)
    for row in report.rows:
        for column in columns("diff"):
            value, interval = column.value(row), column.interval(row)
            if value is not None and interval is not None:
                yield f"{row.model}, {row.attack}, {column.title}", (value, interval)


def differences(reports: Sequence[ReportFile]) -> dict[str, list[Plain]]:
    """In what runs differ that decides their numbers: task, plan, versions, machine and weights.

    Numbers that differ between runs of different ``machine: threads`` alone differ in rounding.

    Returns:
        One value a run, ``""`` where it has none, of everything that is not the same everywhere.
    """
    facts = [dict(_facts(report)) for report in reports]
    if not all(REVISION in known for known in facts):  # Older reports do not say.
        facts = [known | {REVISION: ""} for known in facts]
    keys = dict.fromkeys(key for known in facts for key in known)
    values = {key: [known.get(key, "") for known in facts] for key in keys}
    return {key: found for key, found in values.items() if any(x != found[0] for x in found)}


def _facts(report: ReportFile) -> Iterator[tuple[str, Plain]]:
    card = report.runcard
    yield "task", card.task.name
    if card.task.revision is not UNSET:
        yield REVISION, card.task.revision
    yield "forget questions, confirm fold", card.task.n.get("forget, confirm", "")
    for key, value in plain(card.settings).items():
        if key != "attacks":
            yield f"plan: {key}", value
    for package, version in card.versions.items():
        yield f"version: {package}", version
    for key, value in plain(card.machine).items():
        yield f"machine: {key}", value
    for model in report.models:  # Runs may call the original differently.
        if (loaded := card.models.get(model.label)) is not None:
            yield f"weights: {ROLES.get(model.role, model.label)}", loaded.fingerprint
