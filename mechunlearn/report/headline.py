"""A verdict, and the three numbers that carry it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mechunlearn.analysis.power import weakest
from mechunlearn.analysis.records import Model, Renamed, Row, Verdict
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import able, deciding
from mechunlearn.analysis.words import name, p_is, percent
from mechunlearn.report.summary import not_meant, sentences


@dataclass(frozen=True, slots=True)
class Number:
    """One number with what it is and what it rests on."""

    value: str
    what: str
    note: str


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page says first about one unlearned model."""

    label: str
    verdict: Verdict
    numbers: tuple[Number, ...]
    means: tuple[str, ...]
    """In three sentences."""
    not_meant: str


def headlines(report: Report) -> list[Headline]:
    """Of every unlearned model that has a verdict."""
    return [
        Headline(
            label=m.label,
            verdict=m.verdict,
            numbers=_numbers(report, m),
            means=sentences(report, m.label),
            not_meant=not_meant(report, m.label),
        )
        for m in report.unlearned
        if m.verdict is not None
    ]


def _numbers(report: Report, model: Model) -> tuple[Number, ...]:
    """Which numbers carry a verdict depends on what the verdict is."""
    rows, category = report.rows_of(model.label), model.verdict and model.verdict.category
    first = _before_after(report, model)
    rows = tuple(able(rows)) or rows
    if not rows:
        return (first,)
    if category in ("intact", "not judged", "openly answered"):
        return first, _gap(rows[0]), _retained(report, model)
    renamed = report.findings_of(model.label).renamed
    if category == "intact, disguised" and renamed is not None:
        return first, _disguise(renamed), _retained(report, model)
    if (best := deciding(rows)) is not None:
        return first, _brought_back(best), _control(best)
    return first, _brought_back(max(rows, key=lambda r: r.difference)), _power(rows)


def _before_after(report: Report, model: Model) -> Number:
    before, after = report.original.sets["forget"], model.sets["forget"]
    return Number(
        f"{before.value:.0%} → {after.value:.0%}",
        "forget questions right, before and after unlearning",
        f"n = {after.n}; guessing gives {report.runcard.task.chance:.0%}",
    )


def _gap(row: Row) -> Number:
    low, high = row.gap_ci
    return Number(
        f"{100 * row.gap:.0f} points",
        "difference that unlearning made",
        f"95 % interval {100 * low:.0f} to {100 * high:.0f}" + ": it may be nothing" * (low <= 0),
    )


def _retained(report: Report, model: Model) -> Number:
    before, after = report.original.sets["retain"], model.sets["retain"]
    return Number(
        f"{before.value:.0%} → {after.value:.0%}",
        "retain questions right, before and after unlearning",
        f"n = {after.n}",
    )


def _disguise(renamed: Renamed) -> Number:
    return Number(
        f"{renamed.value:.0%}",
        "forget questions right once the answer letters are renamed",
        f"{p_is(renamed.p)}; the renaming was fitted on the select fold",
    )


def _brought_back(row: Row) -> Number:
    attack = name(row.attack)
    if row.recovery is None or row.recovery_ci is None:
        value, interval = f"{100 * row.difference:.0f} points", row.difference_ci
        what = f"brought back by {attack}, net of its control"
    else:
        value, interval = f"{row.recovery:.0%}", row.recovery_ci
        what = f"of what was lost comes back by {attack}, net of its control"
    low, high = (100 * x for x in interval)
    note = f"95 % interval {low:.0f} to {high:.0f}; adjusted {p_is(row.p_adjusted)}"
    return Number(value, what, note)


def _control(row: Row) -> Number:
    control = "the hardest of its controls" if row.control is None else "a model that never knew"
    return Number(
        f"{row.compared:.0%}",
        f"right on the control of that attack, {control}",
        f"the attacked model: {percent(row.value)} %",
    )


def _power(rows: Sequence[Row]) -> Number:
    limit = weakest(rows).detectable
    if limit >= 1:
        few = f"at n = {rows[0].n}, with 80 % power; ask more questions"
        return Number("none", "gain so large that it would have been found", few)
    return Number(
        f"{100 * limit:.0f} points",
        "smallest gain that would have been found",
        f"with 80 % power at n = {rows[0].n}; a smaller one may be there",
    )
