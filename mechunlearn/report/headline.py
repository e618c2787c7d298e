"""A verdict, and the three numbers that carry it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mechunlearn.analysis.records import Report
from mechunlearn.analysis.verdict import deciding
from mechunlearn.report.words import name, p_is, percent


@dataclass(frozen=True, slots=True)
class Number:
    """One number with what it is and what it rests on."""

    value: str
    what: str
    note: str


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page says first about one unlearned model."""

    model: str
    category: str
    verdict: str
    numbers: tuple[Number, ...]


def tested(report: Report) -> list[str]:
    """Names of the unlearned models that the report judges."""
    return [m for m, d in report.details.items() if isinstance(d, dict) and "verdict" in d]


def headline(report: Report, model: str) -> Headline:
    """The verdict on a model; which numbers carry it depends on what the verdict is."""
    detail = report.details[model]
    rows = [r for r in report.rows if r["unlearned"] == model]
    best = deciding(rows)
    category = detail.get("category") or ("hidden" if best else "no evidence")
    numbers = [_before_after(report, model)]
    if not rows:
        pass
    elif category == "intact":
        numbers += [_gap(rows[0]), _kept(report, model)]
    elif category == "intact, disguised":
        numbers += [_disguise(detail["relabelled"]), _kept(report, model)]
    elif best:
        numbers += [_brought_back(best), _control(best)]
    else:
        numbers += [_brought_back(max(rows, key=lambda r: r["difference"])), _power(rows)]
    return Headline(model, category, detail["verdict"], tuple(numbers))


def _before_after(report: Report, model: str) -> Number:
    before, after = report.baselines["original"]["forget"], report.baselines[model]["forget"]
    task = report.runcard["task"]
    return Number(
        f"{before['accuracy']:.0%} → {after['accuracy']:.0%}",
        "forget questions right, before and after unlearning",
        f"n = {after['n']}; guessing gives {task['chance']:.0%}",
    )


def _gap(row: Mapping[str, Any]) -> Number:
    low, high = row["gap_ci"]
    return Number(
        f"{100 * row['gap']:.0f} points",
        "difference that unlearning made",
        f"95 % interval {100 * low:.0f} to {100 * high:.0f}: it may be nothing",
    )


def _kept(report: Report, model: str) -> Number:
    before, after = report.baselines["original"]["retain"], report.baselines[model]["retain"]
    return Number(
        f"{before['accuracy']:.0%} → {after['accuracy']:.0%}",
        "retain questions right, before and after unlearning",
        f"n = {after['n']}",
    )


def _disguise(renamed: Mapping[str, Any]) -> Number:
    return Number(
        f"{renamed['accuracy']:.0%}",
        "forget questions right once the answer letters are renamed",
        f"{p_is(renamed['p_value'])}; the renaming was fitted on the select fold",
    )


def _brought_back(row: Mapping[str, Any]) -> Number:
    attack = name(row["attack"])
    if row["recovery"] is None:
        value, interval = f"{100 * row['difference']:.0f} points", row["difference_ci"]
        what = f"brought back by {attack}, net of its control"
    else:
        value, interval = f"{row['recovery']:.0%}", row["recovery_ci"]
        what = f"of what was lost comes back by {attack}, net of its control"
    low, high = (100 * x for x in interval)
    note = f"95 % interval {low:.0f} to {high:.0f}; Holm-adjusted {p_is(row['p_holm'])}"
    return Number(value, what, note)


def _control(row: Mapping[str, Any]) -> Number:
    control = "a model that never knew" if row["control"] == "never_knew" else "a sham attack"
    return Number(
        f"{row['control_accuracy']:.0%}",
        f"right on the control of that attack, {control}",
        f"the attacked model: {percent(row['accuracy'])} %",
    )


def _power(rows: list[dict[str, Any]]) -> Number:
    limit = max(r["detectable"] for r in rows)
    return Number(
        f"{100 * limit:.0f} points",
        "smallest gain that would have been found",
        f"with 80 % power at n = {rows[0]['n']}; a smaller one may be there",
    )
