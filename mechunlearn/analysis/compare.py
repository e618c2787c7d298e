"""Runs side by side: which numbers moved, whether further than their intervals allow, and why."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import UNSET

from mechunlearn.analysis.columns import COLUMNS, columns
from mechunlearn.analysis.records import Model, ReportFile
from mechunlearn.analysis.words import ROLES
from mechunlearn.audit.records import ModelRole
from mechunlearn.records import Interval, Plain, plain

Number = tuple[float, Interval]
Key = tuple[str, str]
"""A model's role, if that says more than its label, and its label, if the role does not do."""
BESIDE = ("sham", "control", "original", "retain", "p")
"""Keys of the columns that older reports have no interval of."""
REVISION = "questions, texts and prompts"
"""What is said of runs of a task that was changed and kept its name."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One number in two runs."""

    what: str
    """Model, attack and quantity."""
    before: float | None
    after: float | None
    """Both are ``None`` where it is no number but a verdict; ``what`` says the two then."""
    beyond: bool
    """Whether it moved further than the two intervals together explain."""


def compare(a: ReportFile, b: ReportFile) -> list[Moved]:
    """What differs between two reports; empty where every number is the same.

    Two numbers differ beyond their intervals if they lie further apart than the root of the summed
    squares of the intervals' halves, which is the 95 % interval of a difference of independent
    estimates. A number that only one of the runs has is beyond.

    Shams, controls and originals under an attack have no interval in older reports, and get the
    widest that their report has of the same questions; so do retain accuracies. A p is never
    beyond: a verdict that it changes is named, which is always beyond. Where a report is a part of
    a run, whose verdict was of more attacks, verdicts are not compared.
    """
    first, second = dict(_numbers(a)), dict(_numbers(b))
    numbers = [
        moved(what, first.get(what), second.get(what))
        for what in dict.fromkeys([*first, *second])
        if first.get(what) != second.get(what)
    ]
    before, after = _verdicts(a), _verdicts(b)
    verdicts = [
        Moved(f"{label}, verdict: {before[label]}; then: {after[label]}", None, None, True)
        for label in before
        if label in after and before[label] != after[label]
    ]
    return verdicts + numbers


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
        for column in COLUMNS:
            if column.key in BESIDE and (value := column.value(row)) is not None:
                half = _half(report, column.key)
                number = value, (value - half, value + half)
                yield f"{row.model}, {row.attack}, {column.title}", number


def _half(report: ReportFile, key: str) -> float:
    """The half of the interval that a number without one gets."""
    if key == "p":
        return 1.0
    asked = "retain" if key == "retain" else "forget"
    known = [
        (m.sets[asked].value, m.sets[asked].value_ci) for m in report.models if asked in m.sets
    ]
    if asked == "forget":
        known += [(row.value, row.value_ci) for row in report.rows]
    return max((max(value - low, high - value) for value, (low, high) in known), default=0.0)


def _verdicts(report: ReportFile) -> dict[str, str]:
    """Of the models whose verdict is of these very attacks."""
    return {
        model.label: model.verdict.category
        for model in report.unlearned
        if model.verdict is not None
        and {row.attack for row in report.rows_of(model.label)}
        == set(report.findings_of(model.label).tried)
    }


def differences(reports: Sequence[ReportFile]) -> dict[str, list[Plain]]:
    """In what runs differ that decides their numbers: task, plan, versions, machine and weights.

    Numbers that differ between runs of different ``machine: threads`` alone differ in rounding.

    Returns:
        One value a run, ``""`` where it has none, of everything that is not the same everywhere.
    """
    facts = [dict(_facts(*pair)) for pair in zip(reports, alike(reports), strict=True)]
    if not all(REVISION in known for known in facts):  # Older reports do not say.
        facts = [known | {REVISION: ""} for known in facts]
    keys = dict.fromkeys(key for known in facts for key in known)
    values = {key: [known.get(key, "") for known in facts] for key in keys}
    return {key: found for key, found in values.items() if any(x != found[0] for x in found)}


def alike(reports: Sequence[ReportFile]) -> list[dict[Key, Model]]:
    """The models of every report, by what says which of them are the same model.

    The original and the never-knew model go by their roles, as runs may call them differently, and
    the others by their labels. Where a run has several of a role, role and label say it in all.
    """
    roles = [[model.role for model in report.models] for report in reports]
    several = {role for role in ROLES if any(known.count(role) > 1 for known in roles)}
    return [{_key(model, several): model for model in report.models} for report in reports]


def _key(model: Model, several: Collection[ModelRole]) -> Key:
    if model.role not in ROLES:
        return "", model.label
    return ROLES[model.role], model.label if model.role in several else ""


def _facts(report: ReportFile, models: Mapping[Key, Model]) -> Iterator[tuple[str, Plain]]:
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
    for (role, label), model in models.items():
        if (loaded := card.models.get(model.label)) is not None:
            yield f"weights: {' '.join(filter(None, (role, label)))}", loaded.fingerprint
